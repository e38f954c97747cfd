package check

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dane"
	"github.com/stsmapd/stsmapd/resolver/dnsclient/dnstest"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// waitCase is a kind of domain whose policy would keep mail back; want is the reason.
type waitCase struct {
	name string
	host func(w *world, mx string) // what is at the MX host, which is mx1.DOMAIN; the policy names it and *.DOMAIN
	want string
}

func certified(issue func(w *world, mx string) *tls.Certificate) func(*world, string) {
	return func(w *world, mx string) {
		w.mail(mx, &tls.Config{Certificates: []tls.Certificate{*issue(w, mx)}})
	}
}

// waitCases are the twelve reasons.
var waitCases = []waitCase{
	{"expired", certified(func(w *world, mx string) *tls.Certificate { return w.ca.issue(w.t, pastEnd(), mx) }),
		"MX has a certificate that expired on 2021-03-01"},
	{"not-yet-valid", certified(func(w *world, mx string) *tls.Certificate {
		return w.ca.issueFrom(w.t, testNow().AddDate(0, 1, 0), mx)
	}), "MX has a certificate that is valid only from 2080-07-01"},
	{"unknown-ca", certified(func(w *world, mx string) *tls.Certificate { return w.unknown.issue(w.t, farEnd(), mx) }),
		"MX has a certificate of no trusted authority: it is from CN=Unknown CA,O=Test"},
	{"self-signed", certified(func(w *world, mx string) *tls.Certificate { return selfSigned(w.t, mx) }),
		"MX has a certificate of no trusted authority: it is self-signed"},
	{"other-name", certified(func(w *world, mx string) *tls.Certificate {
		return w.ca.issue(w.t, farEnd(), "www.example.net")
	}), "MX has a certificate for www.example.net, not its own name"},
	{"no-starttls", func(w *world, mx string) { w.mail(mx, nil) }, "MX offers no STARTTLS"},
	{"starttls-refused", func(w *world, mx string) {
		w.script(mx, lines("220 mx1 ESMTP\r\n", "250-mx1\r\n250 STARTTLS\r\n", "454 4.7.0 TLS not available\r\n",
			"221 bye\r\n"))
	}, `MX refuses STARTTLS: "454 4.7.0 TLS not available"`},
	{"handshake", func(w *world, mx string) {
		w.script(mx, lines("220 mx1 ESMTP\r\n", "250-mx1\r\n250 STARTTLS\r\n", "220 go ahead\r\n"))
	}, "MX fails in the TLS handshake: the connection was closed"},
	{"old-tls", func(w *world, mx string) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader) // TLS 1.1 knows no Ed25519
		if err != nil {
			w.t.Fatal(err)
		}
		w.mail(mx, &tls.Config{Certificates: []tls.Certificate{*w.ca.issueFor(w.t, key, farEnd(), mx)},
			MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
	}, "MX speaks TLS 1.1, and TLS 1.2 is required"},
	{"outside", func(w *world, mx string) {
		other := strings.Replace(mx, "mx1.", "a.b.", 1) // two labels below the domain
		w.dns.Set(w.domain, dns.TypeMX, fmt.Sprintf("%s. 300 IN MX 10 %s.", w.domain, other))
		w.mail(other, w.good(other))
	}, "a.b.DOMAIN is not in the policy"},
	{"client-certificate", func(w *world, mx string) {
		cfg := w.good(mx)
		cfg.ClientAuth = tls.RequireAnyClientCert
		w.mail(mx, cfg)
	}, "MX closes the connection after the TLS handshake: remote error: tls: certificate required"},
	{"no-ehlo", func(w *world, mx string) {
		w.script(mx, lines("220 mx1\r\n", "502 5.5.1 HELO only\r\n", "221 bye\r\n"))
	}, `MX refuses EHLO: "502 5.5.1 HELO only"`},
}

// issueFrom makes a server's certificate that begins then.
func (a *authority) issueFrom(t testing.TB, begin time.Time, name string) *tls.Certificate {
	t.Helper()
	return a.issueBetween(t, keyOf(name), [2]time.Time{begin, farEnd()}, name)
}

// selfSigned makes a certificate that a server has signed itself.
func selfSigned(t testing.TB, name string) *tls.Certificate {
	t.Helper()
	self := newAuthority(t, name)
	return &tls.Certificate{Certificate: [][]byte{self.cert.Raw}, PrivateKey: self.key}
}

// rehearsed is the world of 300 domains: each kind, how many there are, and how to set one up.
func rehearsed() []struct {
	kind string
	n    int
	set  func(w *world, mx string)
} {
	good := func(w *world, mx string) { w.publish(policy("enforce", mx)); w.mx(mx); w.mail(mx, w.good(mx)) }
	plain := func(w *world, mx string) { w.mx(mx); w.mail(mx, nil) }
	return []struct {
		kind string
		n    int
		set  func(w *world, mx string)
	}{
		{"good", 40, good},
		{"second-mx", 5, func(w *world, mx string) {
			backup := "backup." + w.domain
			w.publish(policy("enforce", mx, backup))
			w.mx(mx, backup)
			w.mail(mx, nil)
			w.mail(backup, w.good(backup))
		}},
		{"testing", 6, func(w *world, mx string) { w.publish(policy("testing", mx)); plain(w, mx) }},
		{"none", 3, func(w *world, mx string) { w.publish(policy("none")); plain(w, mx) }},
		{"gone", 4, func(w *world, mx string) {
			w.serve(w.ca.issue(w.t, farEnd(), "mta-sts."+w.domain), http.NotFound)
			plain(w, mx)
		}},
		{"down", 2, func(w *world, mx string) { w.publish(policy("enforce", mx)); w.mx(mx); w.address(mx) }},
		{"away", 1, func(w *world, mx string) {
			w.publish(policy("enforce", mx))
			w.mx(mx)
			w.script(mx, lines("554 5.7.1 not you\r\n", "221 bye\r\n"))
		}},
		{"null", 2, func(w *world, mx string) {
			w.publish(policy("enforce", mx))
			w.dns.Add(w.domain + ". 300 IN MX 0 .")
		}},
		{"malformed", 3, func(w *world, mx string) { w.record("v=STSv1; id=2080-01-01"); plain(w, mx) }},
		{"servfail", 4, func(w *world, mx string) {
			good(w, mx)
			w.dns.On("_mta-sts."+w.domain, dns.TypeTXT, dnstest.ServFail)
		}},
		{"ignored", 1, func(w *world, mx string) { w.publish(policy("enforce", mx)); plain(w, mx) }},
		{"nothing", 217, func(w *world, mx string) {
			w.mx(mx)
			w.dns.Add(mx + ". 300 IN A 5.255.0.1") // no host is there, and none is to be probed
		}},
	}
}

// TestRehearsal: among 300 domains that mail went to, those whose mail would wait are named, with the right reason,
// and no others.
func TestRehearsal(t *testing.T) {
	w := newWorld(t)
	var traffic []Traffic
	set := func(name string, recipients int, f func(w *world, mx string)) {
		w.domain = name
		f(w, "mx1."+name)
		traffic = append(traffic, Traffic{dnsname.MustParse(name), recipients})
	}
	for i, c := range waitCases {
		set(c.name+".example", 100+i, func(w *world, mx string) {
			w.publish(policy("enforce", mx, "*."+w.domain))
			w.mx(mx)
			c.host(w, mx)
		})
	}
	for _, kind := range rehearsed() {
		for i := range kind.n {
			set(fmt.Sprintf("%s-%d.example", kind.kind, i), 10, kind.set)
		}
	}
	if len(traffic) != 300 {
		t.Fatalf("%d domains", len(traffic))
	}
	w.domain = "ignored-0.example"
	w.override(resolver.Override{Action: resolver.ActionIgnore})

	checker, lookedUp := New(w.opts), 0
	announcing, unknown := checker.Announcing(t.Context(), traffic, func() { lookedUp++ })
	sum := NewRehearsal(traffic, 30*24*time.Hour, unknown)
	var to []dane.Destination
	for _, a := range announcing {
		to = append(to, dane.Destination{Domain: a.Domain})
	}
	checker.All(t.Context(), to, sum.Add)

	if lookedUp != 300 || len(announcing) != 76 || sum.Enforce != 62 || sum.Verified != 45 || sum.Unknown != 4 ||
		sum.Testing != 6 || sum.None != 3 || sum.Unfetched != 4 || sum.Ignored != 1 || sum.Returned != 2 ||
		len(sum.Down) != 3 || len(sum.WaitsWithDANE) != 0 || sum.Announce != 76 {
		t.Errorf("%d looked up, %d announce: %+v", lookedUp, len(announcing), sum)
	}
	got := map[string]WouldWait{}
	for _, wait := range sum.Waits {
		got[wait.Domain] = wait
	}
	messages := 0
	for i, c := range waitCases {
		domain := c.name + ".example"
		want := strings.NewReplacer("MX", "mx1."+domain, "DOMAIN", domain).Replace(c.want)
		wait := got[domain]
		override := fmt.Sprintf("[[override]]\ndomain = %q\naction = \"ignore\"\nuntil = 2080-07-01\nreason = %q\n",
			domain,
			want)
		if wait.Reason != want || wait.Recipients != 100+i || wait.Override != override {
			t.Errorf("%s: %+v, want %q", domain, wait, want)
		}
		messages += 100 + i
		delete(got, domain)
	}
	if len(got) > 0 || sum.WaitingRecipients != messages {
		t.Errorf("%d messages would wait, want %d; and %v", sum.WaitingRecipients, messages, got)
	}
	var out bytes.Buffer
	if err := sum.Print(&out); err != nil {
		t.Error(err)
	}
	golden(t, "rehearsal.txt", out.String())
}
