package socketmap

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/stsmapd/stsmapd/socketmap/netstring"
)

// Limits of the protocol as Postfix implements it.
const (
	// MaxRequest is the most bytes of a request's payload: map name, space and key.
	MaxRequest = 10_000
	// MaxReplyFrame is the most bytes of a reply on the wire, its length, colon and comma included. Postfix
	// allows as much for the payload alone; we stay within it with the whole frame.
	MaxReplyFrame = 100_000
	// MaxData is the most bytes that OK can carry.
	MaxData = maxReplyPayload - len("OK ")

	maxReplyPayload = MaxReplyFrame - len("99999:,")
	maxReason       = 1_000 // bytes; Postfix logs the first 200
)

// Status is the first word of a reply: what became of the question.
type Status uint8

// The zero Status is StatusTemp: a Reply that nobody filled in must make the mail wait, not go out unprotected.
const (
	StatusTemp     Status = iota // try again later
	StatusOK                     // found
	StatusNotFound               // there is no such key
	StatusTimeout                // what the server had to ask was too slow; try again later
	StatusPerm                   // trying again is no use until somebody changes something
	StatusHangup                 // no reply at all, the connection ends; never on the wire
)

// String is the word on the wire, or "HANGUP" for StatusHangup.
func (s Status) String() string {
	switch s {
	case StatusOK:
		return "OK"
	case StatusNotFound:
		return "NOTFOUND"
	case StatusTemp:
		return "TEMP"
	case StatusTimeout:
		return "TIMEOUT"
	case StatusPerm:
		return "PERM"
	case StatusHangup:
		return "HANGUP"
	}
	return fmt.Sprintf("Status(%d)", uint8(s))
}

// Reply answers one Request. Replies are made by OK, NotFound, Temp, Timeout, Perm and Hangup, and may be compared
// with ==. The zero Reply is a TEMP without a reason. Whatever its content, a Reply makes a sound frame of at most
// MaxReplyFrame bytes.
type Reply struct {
	status Status
	data   string
}

// OK is the reply for a key that was found. Data of more than MaxData bytes cannot be sent: the reply is then TEMP
// and says so.
func OK(data string) Reply {
	if len(data) > MaxData {
		return Temp(fmt.Sprintf("the answer has %d bytes, a socketmap reply carries at most %d", len(data), MaxData))
	}
	return Reply{status: StatusOK, data: data}
}

// NotFound is the reply for a key that is not in the map.
func NotFound() Reply { return Reply{status: StatusNotFound} }

// Temp is the reply when the question cannot be answered now. Postfix defers the mail and logs the first 200 bytes
// of the reason. Reasons, here and below, are cut to 1,000 bytes and stripped of what does not print.
func Temp(reason string) Reply { return Reply{status: StatusTemp, data: cleanReason(reason)} }

// Timeout is the reply when somebody whom the server had to ask was too slow. Postfix treats it like Temp.
func Timeout(reason string) Reply { return Reply{status: StatusTimeout, data: cleanReason(reason)} }

// Perm is the reply to a question that will never have an answer, such as one for an unknown map.
func Perm(reason string) Reply { return Reply{status: StatusPerm, data: cleanReason(reason)} }

// Hangup closes the connection without an answer. The asking Postfix connects again and asks again. It is for a
// server on its way out, which has no true answer any more.
func Hangup() Reply { return Reply{status: StatusHangup} }

// Status is the reply's kind.
func (r Reply) Status() Status { return r.status }

// Data is what follows the status: the value of OK, the reason of TEMP, TIMEOUT and PERM, "" for the others.
func (r Reply) Data() string {
	if r.data == "" && r.needsReason() {
		return "no reason was given"
	}
	return r.data
}

func (r Reply) needsReason() bool {
	return r.status == StatusTemp || r.status == StatusTimeout || r.status == StatusPerm
}

// String is the reply as a log shows it: status, space, data.
func (r Reply) String() string { return r.status.String() + " " + r.Data() }

// AppendTo appends the reply's netstring to dst and returns the longer slice. Hangup appends nothing.
func (r Reply) AppendTo(dst []byte) []byte {
	if r.status == StatusHangup {
		return dst
	}
	return netstring.Append(dst, r.status.String(), " ", r.Data())
}

// parseReply reads a reply's payload. The error is a *ReplyError.
func parseReply(payload []byte) (Reply, error) {
	word, data, _ := strings.Cut(string(payload), " ")
	switch word {
	case "OK":
		if len(data) > MaxData {
			return Reply{}, &ReplyError{Msg: fmt.Sprintf("%d bytes of data, more than %d", len(data), MaxData)}
		}
		return OK(data), nil
	case "NOTFOUND":
		return NotFound(), nil
	case "TEMP":
		return Temp(data), nil
	case "TIMEOUT":
		return Timeout(data), nil
	case "PERM":
		return Perm(data), nil
	}
	return Reply{}, &ReplyError{Msg: fmt.Sprintf("unknown status %.40q", word)}
}

// cleanReason makes a reason fit for a log line: at most maxReason bytes of printable UTF-8.
func cleanReason(reason string) string {
	reason = cutReason(reason)
	return strings.Map(func(r rune) rune {
		switch {
		case r == utf8.RuneError:
			return '?'
		case unicode.IsPrint(r):
			return r
		case unicode.IsControl(r), unicode.IsSpace(r):
			return ' '
		default:
			return '?' // direction marks and the like, which make a log line read as something else
		}
	}, reason)
}

// cutReason shortens a reason, never inside of a character, and marks the cut.
func cutReason(reason string) string {
	const mark = "..."
	if len(reason) <= maxReason {
		return reason
	}
	end := maxReason - len(mark)
	for back := 0; back < utf8.UTFMax-1 && !utf8.RuneStart(reason[end]); back++ {
		end--
	}
	return reason[:end] + mark
}
