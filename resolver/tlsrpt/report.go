// Package tlsrpt tells a TLSRPT collector which MTA-STS policies could not be had.
//
// With TLSRPT (RFC 8460) a domain asks, by a TXT record at `_smtp._tls.<domain>`, for a daily report of how TLS went
// for the mail sent to it. On the sending host a collector adds up the events of the day: Postfix, built with
// libtlsrpt, sends it one for each session. But Postfix never sees that a policy file could not be fetched, was
// invalid, or stood on a host with a bad certificate; these failures (RFC 8460 section 4.3.2.2) only the daemon that
// fetches policies can report. It does so as libtlsrpt does: one JSON object in one datagram to the collector's UNIX
// socket.
//
// A Report becomes a Datagram; a Collector sends it. Reports are statistics, and nothing here is worth making mail
// wait: while the collector is away they are dropped and counted. The collector adds up what is equal, by its text, so
// everything in a Report should be worded the same each time the same thing happens.
package tlsrpt

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"unicode"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// Failure is a result type of RFC 8460 section 4.3.2.2 that concerns an MTA-STS policy, as the collector's number for
// it.
type Failure int

// The failures of fetching a policy.
const (
	FetchError    Failure = 301 // sts-policy-fetch-error: DNS said that there is a policy, but it could not be fetched
	PolicyInvalid Failure = 302 // sts-policy-invalid: it was fetched, but is no valid policy
	WebPKIInvalid Failure = 303 // sts-webpki-invalid: the policy host's certificate is not to be trusted
)

// String returns the name that RFC 8460 gives to the failure.
func (f Failure) String() string {
	switch f {
	case FetchError:
		return "sts-policy-fetch-error"
	case PolicyInvalid:
		return "sts-policy-invalid"
	case WebPKIInvalid:
		return "sts-webpki-invalid"
	}
	return "failure " + strconv.Itoa(int(f))
}

// Report is one failed attempt to fetch a domain's policy.
type Report struct {
	Domain  dnsname.Name // the policy domain
	Record  string       // its TLSRPT record, from ParseRecord
	Policy  []string     // the lines of the live policy, as Postfix is told them; none if none is live
	MX      []string     // its MX patterns, wildcards with their asterisk; none if none is live
	Failure Failure
	// what happened, for the domain's owner; worded without ports, times and the like. "" = nothing to add
	Info string
}

const (
	policyTypeSTS = 2 // the collector's number for a policy by MTA-STS
	finalFailure  = 1 // the collector's number for a session, here an attempt, that failed

	maxDatagram = 64 << 10 // bytes; the largest policy has as many. Linux carries three times that by default
	maxInfo     = 256      // bytes of Info that are sent
)

// datagram is the form of libtlsrpt's datagrams, protocol version 1, in its order. The collector tells policies apart
// by their text, order of keys included; a list that is empty is left out, as libtlsrpt does.
type datagram struct {
	Version  string   `json:"dpv"`
	Domain   string   `json:"d"`
	Record   string   `json:"pr"`
	Policies []policy `json:"policies"`
}

type policy struct {
	Type         int      `json:"policy-type"`
	Domain       string   `json:"policy-domain"`
	Lines        []string `json:"policy-string,omitempty"`
	MX           []string `json:"mx-host,omitempty"`
	Details      []detail `json:"failure-details"`
	FailureCount int      `json:"t"` // how many details there are
	Result       int      `json:"f"`
}

type detail struct {
	Code Failure `json:"c"`
	Info string  `json:"a,omitempty"`
}

// Datagram returns the report as the collector reads it: one JSON object of at most 64 KiB, in valid UTF-8, its ASCII
// control characters escaped. To keep that bound the last lines of Policy are left out, then the last of MX; Info is
// cut to 256 bytes and what is not printable in it is replaced. It returns nil if r is no report: without Domain, with
// a Record that ParseRecord does not return, or with an unknown Failure.
func (r Report) Datagram() []byte {
	if _, err := ParseRecord([]string{r.Record}); err != nil || r.Domain.IsZero() {
		return nil
	}
	switch r.Failure {
	case FetchError, PolicyInvalid, WebPKIInvalid:
	default:
		return nil
	}
	if b := r.encode(); len(b) <= maxDatagram {
		return b
	}
	lines, patterns := r.Policy, r.MX
	r.Policy = nil
	if bare := len(r.encode()); bare <= maxDatagram {
		r.Policy = fitting(lines, maxDatagram-bare)
		return r.encode()
	}
	r.MX = nil
	r.MX = fitting(patterns, maxDatagram-len(r.encode()))
	return r.encode()
}

// encode returns the report as JSON, however long.
func (r Report) encode() []byte {
	return marshal(datagram{
		Version: "1",
		Domain:  r.Domain.String(),
		Record:  r.Record,
		Policies: []policy{{
			Type:         policyTypeSTS,
			Domain:       r.Domain.String(),
			Lines:        r.Policy,
			MX:           r.MX,
			Details:      []detail{{Code: r.Failure, Info: printable(r.Info)}},
			FailureCount: 1,
			Result:       finalFailure,
		}},
	})
}

// fitting returns as many of the first texts as fit, as a list in JSON with its key, in so many bytes.
func fitting(texts []string, room int) []string {
	room -= len(`"policy-string":[],`)
	for i, text := range texts {
		room -= len(marshal(text)) + len(",")
		if room < 0 {
			return texts[:i]
		}
	}
	return texts
}

// marshal encodes a value of types that always can be. Invalid UTF-8 becomes U+FFFD; `<`, `>` and `&` stay as they are;
// DEL, which JSON allows in strings, is escaped like the other control characters.
func marshal(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		// strings, numbers and lists of them: only a change of the types above could do it
		panic("tlsrpt: " + err.Error())
	}
	return bytes.ReplaceAll(bytes.TrimSuffix(b.Bytes(), []byte("\n")), []byte("\x7f"), []byte(`\u007f`))
}

// printable returns the beginning of s, at most maxInfo bytes, with U+FFFD for what is not printable.
func printable(s string) string {
	var b strings.Builder
	for _, r := range s {
		if !unicode.IsPrint(r) {
			r = unicode.ReplacementChar
		}
		if b.Len()+len(string(r)) > maxInfo {
			break
		}
		b.WriteRune(r)
	}
	return b.String()
}
