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

// judge describes the TLSA records, and whether the certificates that the hosts showed match them.
func judgeDANE(l *looking, in dane.Inspection, seen []seenHost, believed bool) DANE {
	d := DANE{Believed: believed, Status: in.Status.String(), Hosts: []DANEHost{}}
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

// The fields of TLSA records (RFC 7218) that make a difference here; the records are usable ones.
const (
	usageTA      = 2
	selectorSPKI = 1
	matchSHA256  = 1
	matchSHA512  = 2
)

// matchesTLSA reports whether one of the usable records matches the certificates of a host (RFC 7671 section 5). Usage
// 3 pins the host's own certificate or key, whatever else is in it. Usage 2 pins an authority, from which the
// certificate must come, in date and for one of the names (RFC 7672 section 3.2).
func matchesTLSA(now time.Time, records []dnsclient.TLSA, chain []*x509.Certificate, names []string) bool {
	for _, r := range records {
		if r.Usage != usageTA {
			if covers(r, chain[0]) {
				return true
			}
			continue
		}
		anchors := x509.NewCertPool()
		for _, c := range chain {
			if covers(r, c) {
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

// covers reports whether the record is about this certificate or its key (RFC 6698 section 2.1).
func covers(r dnsclient.TLSA, c *x509.Certificate) bool {
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

// What DANE would do with a host, as Host.DANE has it.
const (
	daneVerified  = "verified"  // a usable record matches
	daneEncrypted = "encrypted" // no record is usable: where no policy is enforced, TLS, whatever the certificate
	danePlain     = "plain"     // no records: as without DANE
	daneRefused   = "refused"
	daneUnknown   = "unknown" // a lookup failed: the host must wait
)

// placeDANE tells each MX host what DANE would do with it.
func placeDANE(r *Report) {
	for _, d := range r.DANE.Hosts {
		for i := range r.MX.Hosts {
			if h := &r.MX.Hosts[i]; h.Name == d.Name && h.LookedAt {
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
		return danePlain
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
