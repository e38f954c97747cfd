package guard

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
)

// expectation is the reply that a command must have.
type expectation uint8

const (
	anything expectation = iota
	helloReply
	pong                // of PING
	subscribed          // a push for each channel, or one error
	unsubscribed        // any number of pushes, or one error
	role                // a list with items
	primaryAddress      // a list of two, or null
	listOfSentinelHosts // a list of maps
)

// command is what a dialogue must know of a command.
type command struct {
	expects  expectation
	channels int  // of SUBSCRIBE
	resp3    bool // HELLO 3
}

// nameWords is the number of words that name a command, and nameBytes how many bytes of each are kept.
const (
	nameWords = 2
	nameBytes = 32
)

// commandReader parses the commands that the library writes, in any pieces.
type commandReader struct {
	line      []byte // an incomplete header
	wordsLeft int    // missing words of the command
	wordCount int    // all words of the command
	bytesLeft int    // missing bytes of the word, with CR LF
	words     [nameWords][]byte
}

var errNoCommand = errors.New("the bytes written are not a command")

// feed parses bytes and calls each for every command that they complete.
func (r *commandReader) feed(b []byte, each func(command)) error {
	for len(b) > 0 {
		if r.bytesLeft > 0 {
			b = r.addBytes(b, each)
			continue
		}
		end := bytes.IndexByte(b, '\n')
		if len(r.line)+max(end, 0) > maxNumber || end < 0 && len(r.line)+len(b) > maxNumber {
			return errNoCommand
		}
		if end < 0 {
			r.line = append(r.line, b...)
			return nil
		}
		r.line = append(r.line, b[:end+1]...)
		b = b[end+1:]
		if err := r.parseHeader(); err != nil {
			return err
		}
	}
	return nil
}

// parseHeader parses the complete line: the number of words, or the length of one.
func (r *commandReader) parseHeader() error {
	want := byte('*')
	if r.wordsLeft > 0 {
		want = '$'
	}
	line := r.line
	r.line = r.line[:0]
	if len(line) < 4 || line[0] != want || line[len(line)-2] != '\r' {
		return errNoCommand
	}
	n, err := strconv.Atoi(string(line[1 : len(line)-2]))
	if err != nil || n < 0 || want == '*' && n == 0 {
		return errNoCommand
	}
	if want == '*' {
		r.wordsLeft, r.wordCount = n, n
		for i := range r.words {
			r.words[i] = r.words[i][:0]
		}
		return nil
	}
	r.bytesLeft = n + 2
	return nil
}

// addBytes adds bytes to a word and returns those after the word.
func (r *commandReader) addBytes(b []byte, each func(command)) (rest []byte) {
	n := min(r.bytesLeft, len(b))
	if i := r.wordCount - r.wordsLeft; i < nameWords {
		r.words[i] = append(r.words[i], b[:min(n, nameBytes-min(nameBytes, len(r.words[i])))]...)
	}
	if r.bytesLeft -= n; r.bytesLeft == 0 {
		if r.wordsLeft--; r.wordsLeft == 0 {
			each(r.result())
		}
	}
	return b[n:]
}

// result returns the command that is complete.
func (r *commandReader) result() command {
	name, second := upper(r.words[0]), ""
	if r.wordCount > 1 {
		second = upper(r.words[1])
	}
	switch name {
	case "HELLO":
		return command{expects: helloReply, resp3: second == "3"}
	case "PING":
		return command{expects: pong}
	case "SUBSCRIBE":
		return command{expects: subscribed, channels: r.wordCount - 1}
	case "UNSUBSCRIBE":
		return command{expects: unsubscribed}
	case "ROLE":
		return command{expects: role}
	case "SENTINEL":
		switch second {
		case "GET-MASTER-ADDR-BY-NAME":
			return command{expects: primaryAddress}
		case "SENTINELS":
			return command{expects: listOfSentinelHosts}
		}
	}
	return command{}
}

func upper(word []byte) string { return strings.ToUpper(strings.TrimSuffix(string(word), "\r\n")) }
