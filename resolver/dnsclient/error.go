package dnsclient

import (
	"fmt"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Kind says why a lookup has no answer.
type Kind uint8

// The kinds of errors.
const (
	// Timeout: the server sent no answer within Config.Timeout. Check that it runs and that no firewall blocks it.
	Timeout Kind = iota + 1
	// ServerFailure: the server answered with Error.Rcode: mostly SERVFAIL, if the domain's DNS or DNSSEC is broken, or
	// REFUSED, if the server does not serve this host.
	ServerFailure
	// Network: the server could not be reached, or closed the connection. fault.Of says whether that is a fault of this
	// host.
	Network
	// Malformed: the server's answer contradicts itself or cannot be parsed.
	Malformed
	// Lame: the server sent a referral; it is not a recursive resolver.
	Lame
	// CNAMELoop: the domain's CNAME records form a loop, or a chain of more than 8 links.
	CNAMELoop
	// Cancelled: the caller's context ended first. Unwrap returns its error.
	Cancelled
)

// String returns the kind in one or two words, for logs and metric labels.
func (k Kind) String() string {
	names := [...]string{Timeout: "timeout", ServerFailure: "server failure", Network: "network",
		Malformed: "malformed", Lame: "lame", CNAMELoop: "cname loop", Cancelled: "cancelled"}
	if int(k) < len(names) && k > 0 {
		return names[k]
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// Error means that a lookup has no answer. Every error of a lookup is an *Error.
//
// The caller should treat every Kind as temporary: keep what it has cached, and look up again later. It must never
// treat an Error as "no record".
type Error struct {
	Name     string // as asked, without the final dot
	Type     string // "TXT"
	Target   string // the CNAME target that was asked for; "" if it was Name
	Server   string // last server asked, "192.0.2.53:53"; "" if none
	Attempts int    // number of times a server was asked for the last name of the CNAME chain
	Kind     Kind
	Rcode    int           // for ServerFailure
	Waited   time.Duration // for Timeout: the time waited for the last server
	Detail   string        // more for people; may be ""
	Err      error         // from the network or the context; may be nil
}

// Error implements error.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Type + " " + e.Name + ": ")
	if e.Target != "" {
		b.WriteString("at its CNAME target " + e.Target + ": ")
	}
	b.WriteString(e.reason())
	if e.Detail != "" {
		b.WriteString(" (" + e.Detail + ")")
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	if e.Attempts > 1 {
		fmt.Fprintf(&b, "; %d attempts", e.Attempts)
	}
	return b.String()
}

func (e *Error) reason() string {
	server := e.Server
	if server == "" {
		server = "the DNS server"
	}
	switch e.Kind {
	case Timeout:
		return fmt.Sprintf("no answer within %v from %s", e.Waited, server)
	case ServerFailure:
		return rcodeText(e.Rcode) + " from " + server
	case Network:
		return "cannot talk to " + server
	case Malformed:
		return "unusable answer from " + server
	case Lame:
		return server + " is not a recursive resolver: it answered with a referral"
	case CNAMELoop:
		return "CNAME loop or chain of more than 8 links"
	case Cancelled:
		return "cancelled while waiting for " + server
	}
	return "no answer from " + server
}

// Unwrap returns the error of the network or the context, or nil.
func (e *Error) Unwrap() error { return e.Err }

func rcodeText(rcode int) string {
	if s, ok := dns.RcodeToString[rcode]; ok {
		return s
	}
	return fmt.Sprintf("rcode %d", rcode)
}
