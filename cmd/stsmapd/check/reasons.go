package check

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/miekg/dns"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/term"
	"github.com/stsmapd/stsmapd/resolver/dnsclient"
	"github.com/stsmapd/stsmapd/resolver/fault"

	"github.com/stsmapd/stsmapd/resolver/fetch"
)

// cut shortens a text to about limit bytes, not inside of a character, and cleans it.
func cut(s string, limit int) string {
	if len(s) > limit {
		for limit > 0 && !utf8.RuneStart(s[limit]) {
			limit--
		}
		s = s[:limit] + "…"
	}
	return term.Clean(s)
}

// quoted returns the beginning of a server's reply in quotation marks.
func quoted(s string) string { return strconv.Quote(cut(s, 100)) }

func isTimeout(err error) bool {
	var n net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) || errors.As(err, &n) &&
		n.Timeout()
}

// connReason describes an error of a connection, without the addresses that Go's errors contain.
func connReason(err error) string {
	var errno syscall.Errno
	switch {
	case errors.As(err, &errno):
		return errno.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection was closed"
	case isTimeout(err):
		return "no answer in time"
	}
	return err.Error()
}

// dnsReason describes why a lookup failed. The text continues "the DNS".
func dnsReason(err error) string {
	var fail *dnsclient.Error
	if !errors.As(err, &fail) {
		return "did not answer: " + cut(err.Error(), 160)
	}
	switch fail.Kind {
	case dnsclient.Timeout, dnsclient.Cancelled:
		return "did not answer in time"
	case dnsclient.ServerFailure:
		if name, ok := dns.RcodeToString[fail.Rcode]; ok {
			return "answered " + name
		}
		return fmt.Sprintf("answered error %d", fail.Rcode)
	case dnsclient.Network:
		return "could not be reached"
	case dnsclient.CNAMELoop:
		return "has a CNAME loop there"
	}
	return "gave no usable answer"
}

// fetchReason describes why a policy cannot be fetched. The text continues "its policy".
func fetchReason(p *Policy, err error, chain []*x509.Certificate, now time.Time) string {
	var fail *fetch.Error
	if !errors.As(err, &fail) {
		return "cannot be fetched: " + cut(err.Error(), 200)
	}
	switch fail.Kind {
	case fetch.Invalid:
		return "is invalid: " + cut(fail.Err.Error(), 200)
	case fetch.Certificate:
		return "cannot be fetched: " + p.Host + " " + certificateProblem(fail.Err, chain, now).Text
	case fetch.HostFault:
		return "cannot be fetched by this host: " + hostReason(fail)
	case fetch.Unreachable:
		var errno syscall.Errno
		if errors.As(fail.Err, &errno) {
			return "cannot be fetched: " + p.Host + " cannot be reached: " + errno.Error()
		}
	}
	return "cannot be fetched: " + cut(fail.Err.Error(), 200)
}

// hostReason describes a fault of this host.
func hostReason(err error) string {
	if cure := fault.Judge(err).Cure; cure != "" {
		return cure
	}
	var fail *fetch.Error
	if errors.As(err, &fail) {
		err = fail.Err
	}
	return cut(err.Error(), 200)
}

// certificateProblem describes the error of a certificate's verification. chain is what the server sent.
func certificateProblem(err error, chain []*x509.Certificate, now time.Time) Problem {
	var (
		leaf    *x509.Certificate
		name    x509.HostnameError
		unknown x509.UnknownAuthorityError
		invalid x509.CertificateInvalidError
	)
	if len(chain) > 0 {
		leaf = chain[0]
	}
	switch {
	case errors.As(err, &name):
		return Problem{ProblemWrongName, "has a certificate for " + namesText(leaf)}
	case errors.As(err, &unknown) && missingIssuer(chain) != "":
		return Problem{ProblemNoIssuer, "sends no certificate of " + cut(missingIssuer(chain), 80) + ", which issued " +
			"its own and is no trusted root: its intermediate certificate is missing; the server must send the full " +
			"chain"}
	case errors.As(err, &unknown):
		return Problem{ProblemUntrusted, "has a certificate of no trusted authority" + issuedBy(leaf)}
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		whose := "has a certificate that"
		bad := invalid.Cert
		if bad == nil {
			bad = leaf
		}
		if leaf != nil && !bad.Equal(leaf) {
			whose = "has a certificate of an authority whose own"
		}
		if now.Before(bad.NotBefore) {
			return Problem{ProblemExpired, whose + " is valid only from " + day(bad.NotBefore)}
		}
		return Problem{ProblemExpired, whose + " expired on " + day(bad.NotAfter)}
	}
	return Problem{ProblemUntrusted,
		"has a certificate that is not valid: " + cut(strings.TrimPrefix(err.Error(), "x509: "), 160)}
}

// missingIssuer returns the issuer of the last certificate that the server sent in its chain, "" if that one is
// self-signed, so that none is missing.
func missingIssuer(chain []*x509.Certificate) string {
	if len(chain) == 0 {
		return ""
	}
	last := chain[0]
	for range chain { // the certificates may be in any order
		i := slices.IndexFunc(chain, func(c *x509.Certificate) bool {
			return c != last && c.Subject.String() == last.Issuer.String()
		})
		if i < 0 {
			break
		}
		last = chain[i]
	}
	if last.Subject.String() == last.Issuer.String() {
		return ""
	}
	return last.Issuer.String()
}

func issuedBy(leaf *x509.Certificate) string {
	switch {
	case leaf == nil:
		return ""
	case leaf.CheckSignatureFrom(leaf) == nil || leaf.Issuer.String() == leaf.Subject.String():
		return ": it is self-signed"
	}
	return ": it is from " + cut(leaf.Issuer.String(), 80)
}

// namesText lists the first names of a certificate.
func namesText(leaf *x509.Certificate) string {
	if leaf == nil || len(leaf.DNSNames) == 0 {
		return "no DNS name"
	}
	const most = 3
	if more := len(leaf.DNSNames) - most; more > 0 {
		return fmt.Sprintf("%s and %d more names, not its own", cut(strings.Join(leaf.DNSNames[:most], ", "), 200),
			more)
	}
	return cut(strings.Join(leaf.DNSNames, ", "), 200) + ", not its own name"
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }
