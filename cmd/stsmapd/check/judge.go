package check

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"strings"
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/term"
	"github.com/stsmapd/stsmapd/resolver/dnsclient"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/mtasts"

	"github.com/stsmapd/stsmapd/resolver/fetch"
)

// judgeRecord turns the TXT records of name into the report's part about the record (RFC 8461 section 3.1).
func judgeRecord(name string, found lookupResult[string]) Record {
	r := Record{Name: name, Status: Found, Texts: notNil(found.answer.Records), Alias: found.answer.Target,
		TTL: seconds(found.answer.TTL)}
	if found.err != nil {
		r.Status, r.Error = NoAnswer, found.err.Error()
		return r
	}
	record, err := mtasts.ParseRecord(found.answer.Records)
	switch {
	case err == nil:
		r.ID = record.ID
		return r
	case errors.Is(err, mtasts.ErrNoRecord):
		r.Status = NoRecord
		if why := nearMiss(r.Texts); why != "" {
			r.Status, err = Malformed, errors.New(why)
		}
	case errors.Is(err, mtasts.ErrMultipleRecords):
		r.Status = Several
	default:
		r.Status = Malformed
	}
	r.Error = err.Error()
	return r
}

// nearMiss says why a text that is meant as an MTA-STS record is none, "" if there is no such text. Senders ignore it,
// as they ignore every TXT record that does not begin with the version (RFC 8461 section 3.1).
func nearMiss(texts []string) string {
	for _, text := range texts {
		bare := strings.Trim(text, "\"'` \t\u00a0\ufeff\u201c\u201d\u201e\u2018\u2019\\")
		if len(bare) < len("v=stsv1") || !strings.EqualFold(bare[:len("v=stsv1")], "v=stsv1") {
			continue
		}
		switch {
		case strings.HasPrefix(text, "\""):
			return "the record's text has quotation marks in it, so senders ignore the record: enter it without " +
				"them, the DNS server or its web page adds those of a zone file"
		case strings.HasPrefix(bare, "v=STSv1\\"):
			return "the record's text has a backslash before the semicolon, so senders ignore the record: enter it " +
				"without backslashes"
		case !strings.HasPrefix(text, bare[:1]):
			return "the record's text begins with another character before v=STSv1, so senders ignore the record: " +
				"remove it"
		}
		return "the record's text does not begin with v=STSv1 and a semicolon, in this case of letters, so senders " +
			"ignore the record"
	}
	return ""
}

// judgePolicy turns a fetch into the report's part about the policy; nil if nothing was fetched.
func judgePolicy(now time.Time, domain dnsname.Name, f *fetchResult) *Policy {
	if f == nil {
		return nil
	}
	in := f.inspection
	p := &Policy{
		URL: fetch.PolicyURL(domain), Host: fetch.PolicyHost(domain), Addresses: term.Texts(f.addresses),
		Via: in.Via,
		TLS: describeTLS(in.TLS, in.Chain), Status: "ok", Text: string(in.Body), Lines: []Line{}, MX: []string{},
	}
	if in.Body != nil {
		p.Lines = describeLines(in.Body)
	}
	if in.Err != nil {
		p.Status, p.Error = "unreachable", in.Err.Error()
		var fail *fetch.Error
		if errors.As(in.Err, &fail) {
			p.Status = fail.Kind.String()
		}
		p.reason = fetchReason(p, in.Err, in.Chain, now)
		return p
	}
	p.Mode, p.MaxAge = in.Policy.Mode.String(), seconds(in.Policy.MaxAge)
	p.MX = term.Texts(in.Policy.MX())
	return p
}

func describeLines(body []byte) []Line {
	explained, _ := mtasts.Explain(body)
	lines := make([]Line, len(explained))
	for i, l := range explained {
		lines[i] = Line{Number: l.Number, Text: l.Text, Verdict: l.Verdict.String(), Error: l.Msg}
	}
	return lines
}

// describeTLS describes a connection, nil if the server sent no certificates.
func describeTLS(state tls.ConnectionState, chain []*x509.Certificate) *TLS {
	if len(chain) == 0 {
		return nil
	}
	t := &TLS{Certificates: make([]Certificate, len(chain))}
	if state.HandshakeComplete {
		t.Version, t.Cipher = tls.VersionName(state.Version), tls.CipherSuiteName(state.CipherSuite)
	}
	for i, c := range chain {
		sum := sha256.Sum256(c.Raw)
		t.Certificates[i] = Certificate{
			Subject: c.Subject.String(), Issuer: c.Issuer.String(), Names: notNil(c.DNSNames),
			NotBefore: c.NotBefore.UTC(), NotAfter: c.NotAfter.UTC(), SHA256: hex.EncodeToString(sum[:]),
		}
	}
	return t
}

// hostJudge judges MX hosts.
type hostJudge struct {
	now    time.Time
	roots  *x509.CertPool
	policy *mtasts.Policy // nil: none
}

// judge turns the probe of a host into the report's part about it.
func (j hostJudge) judge(m dnsclient.MX, p probe) Host {
	h := Host{
		Name: m.Host, Preference: int(m.Preference), Addresses: term.Texts(p.addresses), Probed: p.probed,
		Failed:   notNil(p.failed),
		Greeting: p.greeting, StartTLS: p.starttls, RequireTLS: p.requiretls, Problems: []Problem{},
	}
	if p.address.IsValid() {
		h.Address = p.address.String()
	}
	if j.policy != nil && len(j.policy.MX()) > 0 {
		pattern, in := matching(*j.policy, m.Host)
		h.Pattern, h.InPolicy = pattern, &in
		if !in {
			h.Problems = append(h.Problems, Problem{ProblemNotInPolicy, "is not in the policy"})
		}
	}
	if p.tls != nil {
		h.TLS = describeTLS(*p.tls, p.tls.PeerCertificates)
		h.Problems = append(h.Problems, j.tlsProblems(m.Host, *p.tls)...)
	}
	if p.problem != nil {
		h.Problems = append(h.Problems, *p.problem)
	}
	h.Passes = h.Probed && len(h.Problems) == 0
	h.PassesMatch = p.tls != nil && j.policy != nil && onlyNames(h.Problems) &&
		matchesAsPostfix(p.tls.PeerCertificates[0].DNSNames, j.policy.MX())
	return h
}

// matching returns the first pattern of the policy that matches the host (RFC 8461 section 4.1), and whether there is
// one.
func matching(policy mtasts.Policy, host string) (string, bool) {
	name, err := dnsname.ParseHost(host)
	if err != nil {
		return "", false
	}
	for _, p := range policy.MX() {
		if p.Matches(name) {
			return p.String(), true
		}
	}
	return "", false
}

// tlsProblems returns the problems of a connection whose handshake succeeded.
func (j hostJudge) tlsProblems(host string, state tls.ConnectionState) []Problem {
	var problems []Problem
	if state.Version < tls.VersionTLS12 {
		problems = append(problems,
			Problem{ProblemTLSVersion, "speaks " + tls.VersionName(state.Version) + ", and TLS 1.2 is required"})
	}
	chain := state.PeerCertificates
	if _, err := chain[0].Verify(
		x509.VerifyOptions{Roots: j.roots, Intermediates: pool(chain[1:]), CurrentTime: j.now}); err != nil {
		problems = append(problems, certificateProblem(err, chain, j.now))
	}
	if err := chain[0].VerifyHostname(host); err != nil {
		problems = append(problems, certificateProblem(err, chain, j.now))
	}
	return problems
}

func pool(certs []*x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	for _, c := range certs {
		p.AddCert(c)
	}
	return p
}

// onlyNames reports whether there are problems, and all of them are names that do not match.
func onlyNames(problems []Problem) bool {
	for _, p := range problems {
		if p.Code != ProblemNotInPolicy && p.Code != ProblemWrongName {
			return false
		}
	}
	return len(problems) > 0
}

// matchesAsPostfix reports whether Postfix's `match=` with these patterns accepts a certificate with these names. A
// name matches a pattern that is equal to it; a name at any depth matches a wildcard pattern above it; a wildcard name
// matches a pattern one label below it.
func matchesAsPostfix(names []string, patterns []mtasts.Pattern) bool {
	for _, name := range names {
		name = strings.ToLower(strings.TrimSuffix(name, "."))
		for _, p := range patterns {
			host := p.Host.String()
			_, parent, _ := strings.Cut(host, ".")
			if p.Wildcard && strings.HasSuffix(name, "."+host) || !p.Wildcard && (name == host || name == "*."+parent) {
				return true
			}
		}
	}
	return false
}

// notNil returns the list, or an empty one for nil.
func notNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func seconds(d time.Duration) int { return int(d / time.Second) }
