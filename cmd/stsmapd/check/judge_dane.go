package check

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/hex"
	"time"

	"github.com/stsmapd/stsmapd/resolver/dnsclient"

	"github.com/stsmapd/stsmapd/resolver/dane"
)

// judgeDANE describes the TLSA records, and whether the hosts' certificates match them.
func judgeDANE(l *checkRun, in dane.Inspection, seen []seenHost, believed bool) DANE {
	d := DANE{ADTrusted: believed, Status: in.Status.String(), Hosts: []DANEHost{}}
	if in.Err != nil {
		d.Error = in.Err.Error()
	}
	chains := map[string][]*x509.Certificate{}
	for _, s := range seen {
		chains[s.name] = s.chain
	}
	for _, h := range in.Hosts {
		host := DANEHost{Name: h.Name, State: h.State.String(), InReach: h.InReach, At: h.At, Records: []TLSA{}}
		if h.Err != nil {
			host.Error = h.Err.Error()
		}
		var usable []dnsclient.TLSA
		for _, r := range h.Records {
			ok := h.Usable(r)
			if ok {
				usable = append(usable, r)
			}
			host.Records = append(host.Records,
				TLSA{int(r.Usage), int(r.Selector), int(r.MatchingType), hex.EncodeToString(r.Data), ok})
		}
		if chain := chains[h.Name]; chain != nil && len(usable) > 0 {
			matches := matchesTLSA(l.at, usable, chain, []string{h.Name, l.to.Domain.String()})
			host.Matches = &matches
		}
		d.Hosts = append(d.Hosts, host)
	}
	return d
}

// Values of the fields of usable TLSA records (RFC 7218).
const (
	usageTA      = 2
	selectorSPKI = 1
	matchSHA256  = 1
	matchSHA512  = 2
)

// matchesTLSA reports whether one of the usable records matches the certificate chain of a host (RFC 7671 section 5).
// Usage 3 pins the host's own certificate or key, without regard to names and dates. Usage 2 pins an authority, which
// must have issued the certificate; dates must be valid, and one of names must match (RFC 7672 section 3.2).
func matchesTLSA(now time.Time, records []dnsclient.TLSA, chain []*x509.Certificate, names []string) bool {
	for _, r := range records {
		if r.Usage != usageTA {
			if matchesRecord(r, chain[0]) {
				return true
			}
			continue
		}
		anchors := x509.NewCertPool()
		for _, c := range chain {
			if matchesRecord(r, c) {
				anchors.AddCert(c)
			}
		}
		if whole, err := x509.ParseCertificate(r.Data); err == nil {
			anchors.AddCert(whole)
		}
		for _, name := range names {
			if _, err := chain[0].Verify(
				x509.VerifyOptions{Roots: anchors, Intermediates: pool(chain[1:]), CurrentTime: now,
					DNSName: name}); err == nil {
				return true
			}
		}
	}
	return false
}

// matchesRecord reports whether the record pins this certificate or its key (RFC 6698 section 2.1).
func matchesRecord(r dnsclient.TLSA, c *x509.Certificate) bool {
	data := c.Raw
	if r.Selector == selectorSPKI {
		data = c.RawSubjectPublicKeyInfo
	}
	switch r.MatchingType {
	case matchSHA256:
		sum := sha256.Sum256(data)
		data = sum[:]
	case matchSHA512:
		sum := sha512.Sum512(data)
		data = sum[:]
	}
	return bytes.Equal(data, r.Data)
}

// The values of Host.DANE: how Postfix's level dane would treat a host.
const (
	daneVerified  = "verified"  // a usable record matches
	daneEncrypted = "encrypted" // no record is usable: TLS with any certificate, if no policy is enforced
	daneNone      = "plain"     // no records: DANE does not apply
	daneRefused   = "refused"
	daneUnknown   = "unknown" // a lookup failed: mail to the host is deferred
)

// setHostDANE sets Host.DANE of each probed MX host.
func setHostDANE(r *Report) {
	for _, d := range r.DANE.Hosts {
		for i := range r.MX.Hosts {
			if h := &r.MX.Hosts[i]; h.Name == d.Name && h.Probed {
				h.DANE = daneOf(*h, d)
			}
		}
	}
}

func daneOf(h Host, d DANEHost) string {
	encrypted := h.TLS != nil && !h.has(ProblemSession)
	switch d.State {
	case dane.HostUsable.String():
		if encrypted && d.Matches != nil && *d.Matches {
			return daneVerified
		}
		return daneRefused
	case dane.HostUnusable.String():
		if encrypted {
			return daneEncrypted
		}
		return daneRefused
	case dane.HostPlain.String():
		return daneNone
	case dane.HostUnknown.String():
		return daneUnknown
	}
	return ""
}

func (h Host) has(codes ...ProblemCode) bool {
	for _, p := range h.Problems {
		for _, code := range codes {
			if p.Code == code {
				return true
			}
		}
	}
	return false
}
