package resolver

import (
	"context"
	"crypto/x509"
	"errors"
	"slices"
	"strings"
	"unicode"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
	"github.com/stsmapd/stsmapd/resolver/tlsrpt"

	"github.com/stsmapd/stsmapd/resolver/fetch"
)

// Reporter takes reports of failed policy fetches to a TLSRPT collector; *tlsrpt.Collector is one. Send never blocks.
type Reporter interface{ Send(tlsrpt.Report) }

// report tells the TLSRPT collector of a failed fetch (RFC 8460 section 4.3.2.2), in the background, if there is one
// and the domain publishes a TLSRPT record. known is the live policy, nil for none; of mode none nothing is reported
// (RFC 8460 section 6).
func (s *Service) report(domain dnsname.Name, known *CachedPolicy, err error) {
	to := s.config.Load().Reporter
	if to == nil || (known != nil && known.Entry.Policy.Mode == mtasts.ModeNone) {
		return
	}
	s.inBackground(func(ctx context.Context) {
		answer, lookupErr := s.config.Load().DNS.TXT(ctx, "_smtp._tls."+domain.String())
		if lookupErr != nil {
			return // no record, no report
		}
		record, recordErr := tlsrpt.ParseRecord(answer.Records)
		if recordErr != nil {
			return
		}
		r := tlsrpt.Report{Domain: domain, Record: record, Failure: failureType(err), Info: reportInfo(err)}
		if known != nil {
			r.Policy = ReportLines(known.Entry.Policy)
			for _, p := range known.Entry.Policy.MX {
				r.MX = append(r.MX, p.String())
			}
		}
		to.Send(r)
	})
}

// failureType is what RFC 8460 section 4.3.2.2 calls a failed fetch.
func failureType(err error) tlsrpt.Failure {
	var failed *fetch.Error
	if !errors.As(err, &failed) {
		return tlsrpt.FetchError
	}
	switch failed.Kind {
	case fetch.Certificate:
		return tlsrpt.WebPKIInvalid
	case fetch.Invalid:
		return tlsrpt.PolicyInvalid
	default:
		return tlsrpt.FetchError
	}
}

// reportInfo says what happened to the domain's owner. A collector counts failures as one only while the words are the
// same, so that they hold no address, port or time.
func reportInfo(err error) string {
	var failed *fetch.Error
	if !errors.As(err, &failed) || failed.Kind == fetch.Unreachable {
		return "the policy host could not be reached, or did not answer in time"
	}
	if failed.Kind != fetch.Certificate {
		return failed.Err.Error()
	}
	var (
		name    x509.HostnameError
		unknown x509.UnknownAuthorityError
		invalid x509.CertificateInvalidError
	)
	switch {
	case errors.As(err, &name):
		return "the policy host's certificate is for another name"
	case errors.As(err, &unknown):
		return "the policy host's certificate is from an unknown authority"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the policy host's certificate has expired or is not valid yet"
	default:
		return "the policy host's certificate is invalid"
	}
}

// ReportLines is a policy's lines for reports (RFC 8460 section 4.4), here and through Postfix: a collector takes two
// spellings for two policies. Postfix reads a line between braces, so that one with braces, or with what a log would
// not bear, is left out.
func ReportLines(p mtasts.Policy) []string {
	return slices.DeleteFunc(p.Lines(), func(line string) bool {
		return strings.ContainsFunc(line, func(r rune) bool { return r == '{' || r == '}' || !unicode.IsPrint(r) })
	})
}
