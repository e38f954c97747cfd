package guard

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
)

// expectation is what a command is answered by.
type expectation uint8

const (
	anything expectation = iota
	helloReply
	pong                // of PING
	subscribed          // a push for each channel, or one error
	unsubscribed        // pushes, which are not counted, or one error
	role                // a list that is not empty
	primaryAddress      // a list of two, or null
	listOfSentinelHosts // a list of maps
)

// command is what the guard must know of a command that is written.
type command struct {
	expects  expectation
	channels int  // of SUBSCRIBE
	resp3    bool // HELLO 3
}

// keepWords is how many words of a command name it, and keepBytes how long they may be.
const (
	keepWords = 2
	keepBytes = 32
)

// commandReader finds the commands in what the library writes, in any pieces.
type commandReader struct {
	line  []byte // of a header that is incomplete
	left  int    // words of the command still to come
	count int    // words of the command in all
	body  int    // bytes of the word still to come, with CR LF
	words [keepWords][]byte
}

var errNoCommand = errors.New("what was written is no command")

// read takes in bytes, and calls each for each command that they complete.
func (r *commandReader) read(b []byte, each func(command)) error {
	for len(b) > 0 {
		if r.body > 0 {
			b = r.word(b, each)
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
		if err := r.header(); err != nil {
			return err
		}
	}
	return nil
}

// header takes in a complete line: the number of words, or the length of one.
func (r *commandReader) header() error {
	want := byte('*')
	if r.left > 0 {
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
		r.left, r.count = n, n
		for i := range r.words {
			r.words[i] = r.words[i][:0]
		}
		return nil
	}
	r.body = n + 2
	return nil
}

// word takes in bytes of a word, and returns those behind it.
func (r *commandReader) word(b []byte, each func(command)) (rest []byte) {
	n := min(r.body, len(b))
	if i := r.count - r.left; i < keepWords {
		r.words[i] = append(r.words[i], b[:min(n, keepBytes-min(keepBytes, len(r.words[i])))]...)
	}
	if r.body -= n; r.body == 0 {
		if r.left--; r.left == 0 {
			each(r.command())
		}
	}
	return b[n:]
}

func (r *commandReader) command() command {
	name, second := upper(r.words[0]), ""
	if r.count > 1 {
		second = upper(r.words[1])
	}
	switch name {
	case "HELLO":
		return command{expects: helloReply, resp3: second == "3"}
	case "PING":
		return command{expects: pong}
	case "SUBSCRIBE":
		return command{expects: subscribed, channels: r.count - 1}
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
