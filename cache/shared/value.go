package shared

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/stsmapd/stsmapd/cache/record"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// A value is what the shared engine keeps under a domain's key: a letter, a time in milliseconds since 1970 UTC in
// decimal digits, and a record (package record), with a space after each of the first two. Letter and time are what the
// script at the server decides by (commands.go); what counts here is the record, whose checksum covers the domain
// too.
//
//	P  a policy; the time is that of its fetch
//	F  a fetch that failed, as earlier versions told; it is not read, and the next policy replaces it
//	T  there was a policy, and it was forgotten; the time is up to when it was fetched at most
//
// Package record says what is in the record of each.
const (
	kindPolicy = 'P'
	kindFailed = 'F'
	kindEnded  = 'T'
)

// value is a value and what the script needs to know of it.
type value struct {
	kind byte
	at   time.Time // the time in text
	life time.Duration
	text string
}

func newValue(kind byte, at time.Time, life time.Duration, sealed []byte) value {
	return value{kind, at, life, fmt.Sprintf("%c %d %s", kind, at.UnixMilli(), sealed)}
}

// policyValue is the value of an entry at now; self is the name of this host.
func policyValue(now time.Time, e resolver.Entry, self string) (value, error) {
	if e.Origin == "" {
		e.Origin = self
	}
	text, err := record.Encode(e)
	// It ends with the policy. By the engine's clock that is max_age from now at most, however wrong this host's clock
	// is.
	return newValue(kindPolicy, e.Fetched, min(e.Expires().Sub(now), e.Policy.MaxAge), text), err
}

// endedLife is how long it is remembered that a policy was forgotten: hosts that were cut off may still have it to
// push.
const endedLife = 24 * time.Hour

func endedValue(domain dnsname.Name, upTo time.Time) value {
	return newValue(kindEnded, upTo, endedLife, record.EncodeEnd(domain, upTo))
}

// decodeValue reads a domain's value. It trusts nothing: the record must be whole and be that domain's, and a policy is
// parsed as if it came from the network. The errors are *record.CorruptError and record.ErrVersion.
func decodeValue(domain, text string) (resolver.SharedState, error) {
	bad := func(msg string) (resolver.SharedState, error) {
		return resolver.SharedState{}, &record.CorruptError{Key: domain, Msg: msg}
	}
	kind, rest, _ := strings.Cut(text, " ")
	digits, sealed, found := strings.Cut(rest, " ")
	millis, err := strconv.ParseInt(digits, 10, 64)
	if !found || len(kind) != 1 || err != nil || strconv.FormatInt(millis, 10) != digits {
		return bad("no letter and time before it")
	}
	var t resolver.SharedState
	var at time.Time
	switch kind[0] {
	case kindPolicy:
		e, err := record.Decode(domain, []byte(sealed))
		if err != nil {
			return t, err
		}
		t.Entry, at = &e, e.Fetched
	case kindFailed:
		return t, record.ErrVersion
	case kindEnded:
		if t.Ended, err = record.DecodeEnd(domain, []byte(sealed)); err != nil {
			return resolver.SharedState{}, err
		}
		at = t.Ended
	default:
		return bad("an unknown letter before it")
	}
	if at.UnixMilli() != millis {
		return bad("another time before it than in it")
	}
	return t, nil
}

// A message tells the other hosts that a domain's value has changed; they read it themselves. It is the version, the
// sender and the domain, with spaces between them.
const messageVersion = "1"

// errMessage: what came over the channel is no message. The caller counts and drops it.
var errMessage = errors.New("no message of a stsmapd")

func message(sender string, domain dnsname.Name) string {
	return messageVersion + " " + sender + " " + domain.String()
}

// parseMessage is the inverse of message, for what may come from anyone.
func parseMessage(text string) (sender string, domain dnsname.Name, err error) {
	version, rest, _ := strings.Cut(text, " ")
	sender, name, found := strings.Cut(rest, " ")
	if !found || version != messageVersion || len(sender) != senderSize {
		return "", domain, errMessage
	}
	if domain, err = dnsname.Parse(name); err != nil || domain.String() != name {
		return "", dnsname.Name{}, errMessage
	}
	return sender, domain, nil
}

// senderSize is the length of a sender: 64 random bits in hexadecimal digits.
const senderSize = 16

func senderName(random uint64) string {
	return fmt.Sprintf("%016x", random)
}
