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
	// maxRequest is the largest payload of a request in bytes: map name, space and key.
	maxRequest = 10_000
	// maxReplyFrame is the largest reply on the wire in bytes, with length, colon and comma. Postfix accepts that
	// many for the payload alone.
	maxReplyFrame = 100_000
	// MaxData is the largest value of an OK reply in bytes.
	MaxData = maxReplyPayload - len("OK ")

	maxReplyPayload = maxReplyFrame - len("99999:,")
	maxReason       = 1_000 // bytes; Postfix logs the first 200
)

// Status is the first word of a reply.
type Status uint8

// The zero Status is StatusTemp: a Reply that was never set must defer the mail, not let it out unprotected.
const (
	StatusTemp     Status = iota // try again later
	StatusOK                     // found
	StatusNotFound               // the key is not in the map
	StatusTimeout                // a service that the server needs was too slow; try again later
	StatusPerm                   // trying again is useless until the configuration is changed
	StatusHangup                 // the connection is closed without a reply; never on the wire
)

// String returns the word on the wire, or "HANGUP" for StatusHangup.
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

// Reply is the reply to one Request. It is made by OK, NotFound, Temp, Timeout, Perm and Hangup, and may be compared
// with ==. The zero Reply is a TEMP without a reason. Every Reply makes a valid frame of at most 100,000 bytes.
type Reply struct {
	status Status
	data   string
	last   bool
}

// OK returns the reply for a key that was found. If data has more than MaxData bytes, the reply is a TEMP that says
// so.
func OK(data string) Reply {
	if len(data) > MaxData {
		return Temp(fmt.Sprintf("the answer has %d bytes, a socketmap reply carries at most %d", len(data), MaxData))
	}
	return Reply{status: StatusOK, data: data}
}

// NotFound returns the reply for a key that is not in the map.
func NotFound() Reply { return Reply{status: StatusNotFound} }

// Temp returns the reply to a request that cannot be answered now. Postfix defers the mail and logs the first 200 bytes
// of the reason. The reason is cut to 1,000 bytes, and characters that cannot be printed are replaced.
func Temp(reason string) Reply { return Reply{status: StatusTemp, data: cleanReason(reason)} }

// Timeout returns the reply when a service that the server needs was too slow. Postfix treats it like Temp. The reason
// is treated as in Temp.
func Timeout(reason string) Reply { return Reply{status: StatusTimeout, data: cleanReason(reason)} }

// Perm returns the reply to a request that can never be answered, such as one for an unknown map. The reason is
// treated as in Temp.
func Perm(reason string) Reply { return Reply{status: StatusPerm, data: cleanReason(reason)} }

// Hangup returns the reply that closes the connection without sending anything. Postfix connects and asks again. It is
// for a server that is shutting down and cannot find the true answer any more.
func Hangup() Reply { return Reply{status: StatusHangup} }

// Last returns the reply as the last one of its connection, which is closed after it. It is for clients that do not
// know how long a reply is, and read to the end.
func (r Reply) Last() Reply {
	r.last = true
	return r
}

// Status returns the reply's status.
func (r Reply) Status() Status { return r.status }

// Data returns what follows the status: the value of OK, the reason of TEMP, TIMEOUT and PERM, "" for the others.
func (r Reply) Data() string {
	if r.data == "" && r.needsReason() {
		return "no reason was given"
	}
	return r.data
}

func (r Reply) needsReason() bool {
	return r.status == StatusTemp || r.status == StatusTimeout || r.status == StatusPerm
}

// String returns the reply as log lines show it: status, space, data.
func (r Reply) String() string { return r.status.String() + " " + r.Data() }

// AppendTo appends the reply's netstring to dst and returns the extended slice. Hangup appends nothing.
func (r Reply) AppendTo(dst []byte) []byte {
	if r.status == StatusHangup {
		return dst
	}
	return netstring.Append(dst, r.status.String(), " ", r.Data())
}

// parseReply parses the payload of a reply. The error is a *replyError.
func parseReply(payload []byte) (Reply, error) {
	word, data, _ := strings.Cut(string(payload), " ")
	switch word {
	case "OK":
		if len(data) > MaxData {
			return Reply{}, &replyError{Msg: fmt.Sprintf("%d bytes of data, more than %d", len(data), MaxData)}
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
	return Reply{}, &replyError{Msg: fmt.Sprintf("unknown status %.40q", word)}
}

// cleanReason returns the reason as at most maxReason bytes of printable UTF-8.
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
			return '?' // direction marks and the like, which change how a log line is displayed
		}
	}, reason)
}

// cutReason cuts a reason to maxReason bytes, never inside a character, and marks the cut.
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
