// Package tlsrpt reports failed fetches of MTA-STS policies to a TLSRPT collector.
//
// With TLSRPT (RFC 8460) a domain asks, by a TXT record at `_smtp._tls.<domain>`, for a daily report about TLS in the
// mail sent to it. On the sending host a collector sums up the events of a day: Postfix, built with libtlsrpt, sends
// one for each session. Postfix does not know that a policy could not be fetched, was invalid, or that its host has an
// invalid certificate. Only the daemon that fetches policies can report these failures (RFC 8460 section 4.3.2.2). Like
// libtlsrpt it sends one JSON object in one datagram to the collector's UNIX socket.
//
// A Collector sends the Datagram of a Report. Reports are statistics and must not delay mail: while the collector
// cannot be reached they are dropped and counted. The collector sums up equal texts, so the same failure should always
// have the same text.
package tlsrpt

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"unicode"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// Failure is the collector's number for a result type of RFC 8460 section 4.3.2.2 that is about an MTA-STS policy.
type Failure int

// The failures of a policy fetch.
const (
	FetchError    Failure = 301 // sts-policy-fetch-error: the DNS announces a policy that could not be fetched
	PolicyInvalid Failure = 302 // sts-policy-invalid: the fetched policy is invalid
	WebPKIInvalid Failure = 303 // sts-webpki-invalid: the policy host's certificate is not trusted
)

// String returns the failure's name in RFC 8460.
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

// Report is the report of one failed policy fetch.
type Report struct {
	Domain  dnsname.Name // the policy domain
	Record  string       // its TLSRPT record, from ParseRecord
	Policy  []string     // the lines of the live policy, as sent to Postfix; empty if there is none
	MX      []string     // its MX patterns, wildcards with the asterisk; empty if there is none
	Failure Failure
	// Reason says what happened, for the domain's owner, without ports, times and other changing parts; may be "". It
	// becomes failure-reason-code, which may be any text; additional-information must be a URI (RFC 8460 section 4.4).
	Reason string
}

const (
	policyTypeSTS = 2 // the collector's number for an MTA-STS policy
	finalFailure  = 1 // the collector's number for a failed session, here a failed fetch

	maxDatagram = 64 << 10 // bytes, as many as the largest policy; Linux accepts three times that by default
	maxReason   = 256      // bytes of Reason that are sent
)

// datagram is a datagram of libtlsrpt's protocol, version 1. The collector compares policies as text, so the order of
// keys is libtlsrpt's; like libtlsrpt it leaves out empty lists.
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
	FailureCount int      `json:"t"` // number of Details
	Result       int      `json:"f"`
}

type detail struct {
	Code   Failure `json:"c"`
	Reason string  `json:"f,omitempty"`
}

// Datagram returns the report as one JSON object of at most 64 KiB, in valid UTF-8 with ASCII control characters
// escaped. If it would be longer, the last lines of Policy are left out, then the last of MX. Reason is cut to 256
// bytes, and characters that cannot be printed are replaced. It returns nil if r is invalid: without Domain, with an
// invalid Record, or with an unknown Failure.
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
		r.Policy = prefixThatFits(lines, maxDatagram-bare)
		return r.encode()
	}
	r.MX = nil
	r.MX = prefixThatFits(patterns, maxDatagram-len(r.encode()))
	return r.encode()
}

// encode returns the report as JSON of any length.
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
			Details:      []detail{{Code: r.Failure, Reason: printable(r.Reason)}},
			FailureCount: 1,
			Result:       finalFailure,
		}},
	})
}

// fitting returns the first texts that fit into room bytes as a JSON list with its key.
func prefixThatFits(texts []string, room int) []string {
	room -= len(`"policy-string":[],`)
	for i, text := range texts {
		room -= len(marshal(text)) + len(",")
		if room < 0 {
			return texts[:i]
		}
	}
	return texts
}

// marshal returns v as JSON. v has only strings, numbers and lists, so it cannot fail. Invalid UTF-8 becomes U+FFFD;
// `<`, `>` and `&` are not escaped; DEL, which JSON allows in strings, is escaped like the other control characters.
func marshal(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic("tlsrpt: " + err.Error())
	}
	return bytes.ReplaceAll(bytes.TrimSuffix(b.Bytes(), []byte("\n")), []byte("\x7f"), []byte(`\u007f`))
}

// printable returns s, cut to at most maxReason bytes, with U+FFFD in place of characters that cannot be printed.
func printable(s string) string {
	var b strings.Builder
	for _, r := range s {
		if !unicode.IsPrint(r) {
			r = unicode.ReplacementChar
		}
		if b.Len()+len(string(r)) > maxReason {
			break
		}
		b.WriteRune(r)
	}
	return b.String()
}
