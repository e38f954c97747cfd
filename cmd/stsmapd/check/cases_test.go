package check

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsclient/dnstest"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
)

const (
	mx1 = "mx1.example.org"
	mx2 = "mx2.example.org"
)

// brokenCase is a domain, and the exact last line about it.
type brokenCase struct {
	name string
	set  func(*world)
	ok   bool
	want string // goes on after "mail to example.org would be "
}

// onePolicy publishes a policy that names mx1, with a good mail server there.
func onePolicy(w *world) {
	w.publish(policy("enforce", mx1))
	w.mx(mx1)
	w.mail(mx1, w.good(mx1))
}

// badMX publishes a good policy, and lets the test set up mx1.
func badMX(set func(*world)) func(*world) {
	return func(w *world) {
		w.publish(policy("enforce", mx1))
		w.mx(mx1)
		set(w)
	}
}

// badFile lets the policy host of an otherwise good domain answer so.
func badFile(handler http.HandlerFunc) func(*world) {
	return func(w *world) {
		w.serve(w.ca.issue(w.t, farEnd(), "mta-sts."+testDomain), handler)
		goodMX(w)
	}
}

// badCertificate is a good domain but for the policy host's certificate.
func badCertificate(issue func(*world) *tls.Certificate) func(*world) {
	return func(w *world) {
		w.serve(issue(w), func(http.ResponseWriter, *http.Request) {})
		goodMX(w)
	}
}

func goodMX(w *world) {
	w.mx(mx1)
	w.mail(mx1, w.good(mx1))
}

func file(text string) http.HandlerFunc {
	return func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(rw, text)
	}
}

const without = "delivered as without MTA-STS: "

var policyCases = []brokenCase{
	{"good", onePolicy, true, "delivered, verified"},
	{"good by a wildcard", func(w *world) {
		w.publish(policy("enforce", "mail.elsewhere.example", "*.example.org"))
		goodMX(w)
	}, true, "delivered, verified"},
	{"no record", goodMX, false, without + "it has no policy"},
	{"two records", func(w *world) { onePolicy(w); w.record("v=STSv1; id=2") }, false,
		without + "it has more than one MTA-STS record, so all are ignored"},
	{"malformed record", func(w *world) { goodMX(w); w.record("v=STSv1; id=2080-01-01") }, false,
		without +
			`its MTA-STS record is malformed: the MTA-STS record's id is "2080-01-01", not 1 to 32 letters and digits`},
	{"record cannot be looked up", func(w *world) {
		onePolicy(w)
		w.dns.On("_mta-sts.example.org", dns.TypeTXT, dnstest.ServFail)
	}, false, without + "the DNS answered SERVFAIL when asked for _mta-sts.example.org"},
	{"policy host without an address", func(w *world) { goodMX(w); w.record("v=STSv1; id=1") }, false,
		without + "its policy cannot be fetched: mta-sts.example.org: no address in the DNS"},
	{"policy host refuses", func(w *world) {
		goodMX(w)
		w.record("v=STSv1; id=1")
		w.address("mta-sts.example.org")
	}, false, without + "its policy cannot be fetched: mta-sts.example.org cannot be reached: connection refused"},
	{"policy host at home", func(w *world) {
		goodMX(w)
		w.record("v=STSv1; id=1")
		w.dns.Add("mta-sts.example.org. 300 IN A 10.0.0.1")
	}, false, without + "its policy cannot be fetched: mta-sts.example.org: its address 10.0.0.1 is not public: " +
		"refused, unless fetch.allow_private_addresses is set"},
	{"policy host silent", func(w *world) {
		goodMX(w)
		w.record("v=STSv1; id=1")
		w.lead(w.address("mta-sts.example.org"), 443, "")
		w.opts.Fetch.Timeout = 300 * time.Millisecond
	}, false, without + "its policy cannot be fetched: not finished within 300ms"},
	{"policy host's certificate expired",
		badCertificate(func(w *world) *tls.Certificate { return w.ca.issue(w.t, pastEnd(), "mta-sts.example.org") }),
		false,
		without + "its policy cannot be fetched: mta-sts.example.org has a certificate that expired on 2021-03-01"},
	{"policy host's certificate from nobody",
		badCertificate(func(w *world) *tls.Certificate {
			return w.unknown.issue(w.t, farEnd(), "mta-sts.example.org")
		}), false,
		without + "its policy cannot be fetched: mta-sts.example.org has a certificate of no trusted authority: it " +
			"is from CN=Unknown CA,O=Test"},
	{"policy host's certificate for another",
		badCertificate(func(w *world) *tls.Certificate {
			return w.ca.issue(w.t, farEnd(), "example.org", "www.example.org")
		}), false,
		without + "its policy cannot be fetched: mta-sts.example.org has a certificate for example.org, " +
			"www.example.org, not its own name"},
	{"no file", badFile(http.NotFound), false, without + "its policy cannot be fetched: HTTP status 404, not 200"},
	{"redirect", badFile(http.RedirectHandler("https://www.example.org/", http.StatusFound).ServeHTTP), false,
		without + "its policy cannot be fetched: HTTP status 302, not 200 (RFC 8461 section 3.3 forbids to follow " +
			"redirects)"},
	{"text/html", badFile(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(rw, policy("enforce", mx1))
	}), false, without + `its policy cannot be fetched: media type "text/html; charset=utf-8", not text/plain`},
	{"too large", badFile(file(policy("enforce", mx1) + strings.Repeat("x: y\n", 20_000))), false,
		without + "its policy cannot be fetched: the policy is larger than 65536 bytes"},
	{"invalid policy", badFile(file("version: STSv1\nmode: enforced\nmx: mx1.example.org\nmax_age: 86400\n")), false,
		without + `its policy is invalid: line 2: mode is "enforced", not enforce, testing or none`},
	{"policy without mx", badFile(file("version: STSv1\nmode: enforce\nmax_age: 86400\n")), false,
		without + "its policy is invalid: the policy has no mx field, which mode enforce needs"},
	{"mode none", func(w *world) { w.publish(policy("none")); goodMX(w) }, false,
		without + "the policy is in mode none"},
	{"mode testing", func(w *world) { w.publish(policy("testing", mx1)); goodMX(w) }, true,
		without + "the policy is in mode testing; enforced, it would be delivered, verified"},
	{"mode testing, not ready", func(w *world) {
		w.publish(policy("testing", mx1))
		w.mx(mx1)
		w.mail(mx1, nil)
	}, false, without + "the policy is in mode testing; enforced, it would be deferred: mx1.example.org offers no " +
		"STARTTLS"},
	{"no SMTP", func(w *world) { onePolicy(w); w.opts.NoSMTP = true }, true,
		"delivered to mx1.example.org only with a valid certificate, which was not checked (--no-smtp)"},
	{"no SMTP, not in the policy",
		func(w *world) { w.publish(policy("enforce", mx2)); goodMX(w); w.opts.NoSMTP = true }, false,
		"deferred: mx1.example.org is not in the policy"},
	{"ignored by an override", func(w *world) {
		onePolicy(w)
		w.override(resolver.Override{Action: resolver.ActionIgnore, Reason: "ticket 4711"})
	}, false, without + "an override of this stsmapd ignores its policy (ticket 4711)"},
	{"enforced by an override", func(w *world) {
		goodMX(w)
		pattern, _ := mtasts.ParsePattern(mx1)
		w.override(resolver.Override{Action: resolver.ActionEnforce, MX: []mtasts.Pattern{pattern}})
	}, true, "delivered, verified"},
	{"strict by an override", func(w *world) {
		w.publish(policy("testing", mx2))
		goodMX(w)
		w.override(resolver.Override{Action: resolver.ActionStrict})
	}, false, "deferred: mx1.example.org is not in the policy"},
}

func (w *world) override(o resolver.Override) {
	o.Domain = dnsname.MustParse(w.domain)
	set, err := resolver.NewOverrides([]resolver.Override{o})
	if err != nil {
		w.t.Fatal(err)
	}
	w.opts.Overrides = set
}

var mxCases = []brokenCase{
	{"no STARTTLS", badMX(func(w *world) { w.mail(mx1, nil) }), false, "deferred: mx1.example.org offers no STARTTLS"},
	{"STARTTLS refused", badMX(func(w *world) {
		w.script(mx1, lines("220 mx1 ESMTP\r\n", "250-mx1\r\n250 STARTTLS\r\n", "454 4.7.0 TLS not available\r\n",
			"221 bye\r\n"))
	}), false, `deferred: mx1.example.org refuses STARTTLS: "454 4.7.0 TLS not available"`},
	{"handshake broken off", badMX(func(w *world) {
		w.script(mx1, lines("220 mx1 ESMTP\r\n", "250-mx1\r\n250 STARTTLS\r\n", "220 go ahead\r\n"))
	}), false, "deferred: mx1.example.org fails in the TLS handshake: the connection was closed"},
	{"handshake is no TLS", badMX(func(w *world) {
		w.script(mx1, lines("220 mx1 ESMTP\r\n", "250-mx1\r\n250 STARTTLS\r\n", "220 go ahead\r\n", "500 what?\r\n"))
	}), false, "deferred: mx1.example.org fails in the TLS handshake: first record does not look like a TLS handshake"},
	{"certificate wanted", badMX(func(w *world) {
		cfg := w.good(mx1)
		cfg.ClientAuth = tls.RequireAnyClientCert
		w.mail(mx1, cfg)
	}), false, "deferred: mx1.example.org closes the connection after the TLS handshake: remote error: tls: " +
		"certificate required"},
	{"TLS 1.1", badMX(func(w *world) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader) // TLS 1.1 knows no Ed25519
		if err != nil {
			w.t.Fatal(err)
		}
		w.mail(mx1, &tls.Config{
			Certificates: []tls.Certificate{*w.ca.issueFor(w.t, key, farEnd(), mx1)}, MinVersion: tls.VersionTLS10,
			MaxVersion: tls.VersionTLS11})
	}), false, "deferred: mx1.example.org speaks TLS 1.1, and TLS 1.2 is required"},
	{"expired", badMX(func(w *world) {
		w.mail(mx1, &tls.Config{Certificates: []tls.Certificate{*w.ca.issue(w.t, pastEnd(), mx1)}})
	}), false, "deferred: mx1.example.org has a certificate that expired on 2021-03-01"},
	{"untrusted", badMX(func(w *world) {
		w.mail(mx1, &tls.Config{Certificates: []tls.Certificate{*w.unknown.issue(w.t, farEnd(), mx1)}})
	}), false, "deferred: mx1.example.org has a certificate of no trusted authority: it is from CN=Unknown CA,O=Test"},
	{"wrong name", badMX(func(w *world) { w.mail(mx1, w.good("a.example", "b.example", "c.example", "d.example")) }),
		false,
		"deferred: mx1.example.org has a certificate for a.example, b.example, c.example and 1 more names, " +
			"not its own"},
	{"not in the policy", func(w *world) {
		w.publish(policy("enforce", mx1))
		w.mx("mail.elsewhere.example")
		w.mail("mail.elsewhere.example", w.good("mail.elsewhere.example"))
	}, false, "deferred: mail.elsewhere.example is not in the policy"},
	{"wildcard, two labels", func(w *world) {
		w.publish(policy("enforce", "*.example.org"))
		w.mx("a.b.example.org")
		w.mail("a.b.example.org", w.good("a.b.example.org"))
	}, false, "deferred: a.b.example.org is not in the policy"},
	{"second passes", func(w *world) {
		w.publish(policy("enforce", mx1, mx2))
		w.mx(mx1, mx2)
		w.mail(mx1, nil)
		w.mail(mx2, w.good(mx2))
	}, true, "delivered, verified, to mx2.example.org, after mx1.example.org without success: " +
		"mx1.example.org offers no STARTTLS"},
	{"fallback does not pass", func(w *world) {
		w.publish(policy("enforce", mx1))
		w.mx(mx1, mx2)
		w.mail(mx1, w.good(mx1))
		w.mail(mx2, w.good(mx2))
	}, true, "delivered, verified, to mx1.example.org, never to mx2.example.org: mx2.example.org is not in the policy"},
	{"none of many passes", func(w *world) {
		w.publish(policy("enforce", "*.example.org"))
		for i := range 5 {
			name := fmt.Sprintf("m%d.example.org", i)
			w.mail(name, nil)
			w.dns.Add(fmt.Sprintf("example.org. 300 IN MX 10 %s.", name))
		}
	}, false, "deferred: m0.example.org offers no STARTTLS; m1.example.org offers no STARTTLS; m2.example.org offers " +
		"no STARTTLS; and 2 more"},
	{"sent away", badMX(func(w *world) { w.script(mx1, lines("554 5.7.1 not you\x1b[2J\r\n", "221 bye\r\n")) }), false,
		`deferred: mx1.example.org refuses the session: "554 5.7.1 not you?[2J"`},
	{"silent", badMX(func(w *world) { w.script(mx1, until); w.opts.Step = 200 * time.Millisecond }), false,
		"deferred: mx1.example.org sends no greeting within 200ms"},
	{"closes at once", badMX(func(w *world) { w.script(mx1, func(net.Conn) {}) }), false,
		"deferred: mx1.example.org closes the connection without a greeting"},
	{"no SMTP at all", badMX(func(w *world) { w.script(mx1, lines("SSH-2.0-OpenSSH_9.9\r\n")) }), false,
		`deferred: mx1.example.org does not speak SMTP: it sends "SSH-2.0-OpenSSH_9.9"`},
	{"endless greeting", badMX(func(w *world) {
		w.script(mx1, func(c net.Conn) {
			for {
				if _, err := io.WriteString(c, "220-more\r\n"); err != nil {
					return
				}
			}
		})
	}), false, `deferred: mx1.example.org does not speak SMTP: it sends "a reply of more than 100 lines"`},
	{"EHLO refused", badMX(func(w *world) {
		w.script(mx1, lines("220 mx1\r\n", "502 5.5.1 HELO only\r\n", "221 bye\r\n"))
	}), false,
		`deferred: mx1.example.org refuses EHLO: "502 5.5.1 HELO only"`},
	{"refused", badMX(func(w *world) { w.address(mx1) }), false,
		"deferred: mx1.example.org cannot be reached on port 25: connection refused"},
	{"black hole", badMX(func(w *world) { w.lead(w.address(mx1), 25, ""); w.opts.Step = 200 * time.Millisecond }),
		false,
		"deferred: mx1.example.org cannot be reached on port 25: no answer within 200ms"},
	{"out of time", badMX(func(w *world) { w.lead(w.address(mx1), 25, ""); w.opts.Timeout = 3 * time.Second }), false,
		"deferred: mx1.example.org cannot be reached on port 25: not finished within 3s, the limit of --timeout"},
	{"second address answers", badMX(func(w *world) { w.address(mx1); w.mail(mx1, w.good(mx1)) }), true,
		"delivered, verified"},
	{"second family answers", badMX(func(w *world) {
		w.dns.Add("mx1.example.org. 300 IN AAAA 2a00::1")
		w.mail(mx1, w.good(mx1))
	}), true, "delivered, verified"},
	{"IPv6 alone", badMX(func(w *world) {
		w.dns.Add("mx1.example.org. 300 IN AAAA 2a00::1")
		w.mailAt(netip.MustParseAddr("2a00::1"), mx1, w.good(mx1))
	}), true, "delivered, verified"},
	{"no address", badMX(func(*world) {}), false, "returned: mx1.example.org has no address in the DNS"},
	{"no address of any host", func(w *world) { w.publish(policy("enforce", mx1)); w.mx(mx1, mx2) }, false,
		"returned: no MX host has an address in the DNS"},
	{"no address of one host",
		func(w *world) { w.publish(policy("enforce", mx1, mx2)); w.mx(mx1, mx2); w.mail(mx2, nil) }, false,
		"deferred: mx1.example.org has no address in the DNS; mx2.example.org offers no STARTTLS"},
	{"address cannot be looked up", badMX(func(w *world) { w.dns.On(mx1, dns.TypeANY, dnstest.ServFail) }), false,
		"deferred: mx1.example.org has addresses that cannot be looked up: the DNS answered SERVFAIL"},
	{"MX cannot be looked up", func(w *world) { onePolicy(w); w.dns.On(testDomain, dns.TypeMX, dnstest.ServFail) },
		false,
		"deferred: the MX records cannot be looked up"},
	{"null MX", func(w *world) { w.publish(policy("enforce", mx1)); w.dns.Add("example.org. 300 IN MX 0 .") }, false,
		"returned: the domain takes no mail (null MX)"},
	{"no such domain", func(*world) {}, false, "returned: the domain does not exist"},
	{"its own host", func(w *world) {
		w.publish(policy("enforce", testDomain))
		w.mail(testDomain, w.good(testDomain))
	}, true, "delivered, verified"},
}

// signed makes the DNS say that all is proven, and an MX host with TLSA records.
func signed(set func(*world)) func(*world) {
	return func(w *world) { w.dns.SetAD(true); set(w) }
}

var daneCases = []brokenCase{
	{"DANE too", signed(func(w *world) {
		w.publish(policy("enforce", mx1))
		w.mx(mx1)
		cfg := w.good(mx1)
		w.tlsa(mx1, cfg)
		w.mail(mx1, cfg)
	}), true, "delivered, verified"},
	{"DANE alone", signed(func(w *world) {
		w.publish(policy("enforce", mx1))
		w.mx(mx1)
		cfg := &tls.Config{Certificates: []tls.Certificate{*w.unknown.issue(w.t, farEnd(), mx1)}}
		w.tlsa(mx1, cfg)
		w.mail(mx1, cfg)
	}), false,
		"deferred: mx1.example.org has a certificate of no trusted authority: it is from CN=Unknown CA,O=Test; " +
			"by a Postfix with DANE delivered, verified"},
	{"DANE of another certificate", signed(func(w *world) {
		onePolicy(w)
		w.tlsa(mx1, w.good(mx2))
	}), false, "delivered, verified; by a Postfix with DANE deferred: mx1.example.org has a certificate that none of " +
		"its TLSA records matches"},
	{"DANE without STARTTLS", signed(func(w *world) {
		w.publish(policy("enforce", mx1))
		w.mx(mx1)
		w.tlsa(mx1, w.good(mx1))
		w.mail(mx1, nil)
	}), false, "deferred: mx1.example.org offers no STARTTLS"},
	{"DANE cannot be looked up", signed(func(w *world) {
		onePolicy(w)
		w.dns.On("_25._tcp.mx1.example.org", dns.TypeTLSA, dnstest.ServFail)
	}), false, "delivered, verified; by a Postfix with DANE deferred: the TLSA records of the MX hosts cannot be " +
		"looked up"},
	{"DANE of one host", signed(func(w *world) {
		w.publish(policy("enforce", mx1, mx2))
		w.mx(mx1, mx2)
		cfg := w.good(mx1)
		w.tlsa(mx1, cfg)
		w.mail(mx1, cfg)
		w.mail(mx2, w.good(mx2))
	}), true, "delivered, verified"},
	{"DANE of a host that is down, and one without STARTTLS", signed(func(w *world) {
		w.publish(policy("enforce", mx1, mx2))
		w.mx(mx1, mx2)
		w.tlsa(mx1, w.good(mx1))
		w.address(mx1)
		w.mail(mx2, nil)
	}), false, "deferred: mx1.example.org cannot be reached on port 25: connection refused; mx2.example.org offers " +
		"no STARTTLS"},
	{"DANE of an authority", signed(func(w *world) {
		onePolicy(w)
		w.dns.Add(fmt.Sprintf("_25._tcp.mx1.example.org. 300 IN TLSA 2 0 0 %X", w.ca.cert.Raw))
	}), true, "delivered, verified"},
	{"DANE unproven", func(w *world) {
		onePolicy(w)
		w.tlsa(mx1, w.good(mx2))
	}, true, "delivered, verified"},
	{"DANE without a policy", signed(func(w *world) {
		w.mx(mx1)
		cfg := w.good(mx1)
		w.tlsa(mx1, cfg)
		w.mail(mx1, cfg)
	}), false, without + "it has no policy; by a Postfix with DANE delivered, verified"},
	{"broken DANE beside mode testing", signed(func(w *world) {
		w.publish(policy("testing", mx1))
		goodMX(w)
		w.tlsa(mx1, w.good(mx2))
	}), false, without + "the policy is in mode testing; enforced, it would be delivered, verified; " +
		"by a Postfix with DANE deferred: mx1.example.org has a certificate that none of its TLSA records matches"},
	{"DANE unusable", signed(func(w *world) {
		onePolicy(w)
		w.dns.Add("_25._tcp.mx1.example.org. 300 IN TLSA 0 1 1 " + strings.Repeat("00", 32))
	}), true, "delivered, verified"},
	{"DANE unusable, and a certificate of an unknown authority", signed(func(w *world) {
		w.publish(policy("enforce", mx1))
		w.mx(mx1)
		w.mail(mx1, &tls.Config{Certificates: []tls.Certificate{*w.unknown.issue(w.t, farEnd(), mx1)}})
		w.dns.Add("_25._tcp.mx1.example.org. 300 IN TLSA 9 9 9 " + strings.Repeat("00", 32))
	}), false, "deferred: mx1.example.org has a certificate of no trusted authority: it is from CN=Unknown CA,O=Test"},
}

func TestLastLine(t *testing.T) {
	for kind, cases := range map[string][]brokenCase{"policy": policyCases, "mx": mxCases, "dane": daneCases} {
		for _, c := range cases {
			t.Run(kind+"/"+c.name, func(t *testing.T) {
				w := newWorld(t)
				c.set(w)
				r := w.check()
				if want := "mail to example.org would be " + c.want; r.Result.Summary != want || r.Result.OK != c.ok {
					t.Errorf("\n got %v %q\nwant %v %q", r.Result.OK, r.Result.Summary, c.ok, want)
				}
			})
		}
	}
}
