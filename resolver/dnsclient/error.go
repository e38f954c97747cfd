package dnsclient

import (
	"fmt"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Kind says why there was no answer.
type Kind uint8

// The reasons for having no answer.
const (
	Timeout Kind = iota + 1 // the server was silent for Config.Timeout: is it up, does a firewall stand between?
	// the server answered with Error.Rcode, mostly SERVFAIL (the domain's DNS or DNSSEC is broken) or REFUSED (it does
	// not serve us)
	ServerFailure
	// the server could not be asked or reached (Unwrap says whose fault that is), or ended the connection
	Network
	Malformed // the server's answer contradicts itself or cannot be read
	Lame      // the server only referred to others: it is no recursive resolver
	CNAMELoop // the domain's CNAME records lead in a circle, or over more than 8 links
	Cancelled // the caller's context ended first; Unwrap gives its error
)

// String returns the kind in a word or two, for logs and metric labels.
func (k Kind) String() string {
	switch k {
	case Timeout:
		return "timeout"
	case ServerFailure:
		return "server failure"
	case Network:
		return "network"
	case Malformed:
		return "malformed"
	case Lame:
		return "lame"
	case CNAMELoop:
		return "cname loop"
	case Cancelled:
		return "cancelled"
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// Error says that there is no answer. Every error of a lookup is an *Error.
//
// Treat it as temporary whatever its Kind, keep what is remembered, and ask again later; never take it for "no record".
type Error struct {
	Name     string // as asked, without the final dot
	Type     string // "TXT"
	Target   string // where CNAMEs had led from Name when it happened; "" if nowhere
	Server   string // last server asked, "192.0.2.53:53"; "" if none was
	Attempts int    // how often a server was asked, for the last name of the chain
	Kind     Kind
	Rcode    int           // for ServerFailure
	Waited   time.Duration // for Timeout: how long for the last server
	Detail   string        // what else is known, for people; may be ""
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
		return server + " is no recursive resolver: it answered with a referral"
	case CNAMELoop:
		return "CNAME loop or chain of more than 8 links"
	case Cancelled:
		return "given up while waiting for " + server
	}
	return "no answer from " + server
}

// Unwrap returns the error of the network or the context, if there was one.
func (e *Error) Unwrap() error { return e.Err }

func rcodeText(rcode int) string {
	if s, ok := dns.RcodeToString[rcode]; ok {
		return s
	}
	return fmt.Sprintf("rcode %d", rcode)
}
