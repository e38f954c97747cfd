package check

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"flag"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/miekg/dns"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/term"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsclient/dnstest"
	"github.com/stsmapd/stsmapd/resolver/dnsname"

	"github.com/stsmapd/stsmapd/resolver/dane"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares a text with a file of testdata. Which cipher TLS 1.3 takes depends on the processor, the port of the
// DNS server on chance, and the policy host's certificate is verified by the real clock.
func golden(t *testing.T, name, got string) {
	t.Helper()
	got = regexp.MustCompile(`TLS_(AES|CHACHA)\w+`).ReplaceAllString(got, "TLS_CIPHER")
	got = regexp.MustCompile(`127\.0\.0\.1:\d+`).ReplaceAllString(got, "127.0.0.1:5353")
	got = regexp.MustCompile(`current time [0-9T:-]+Z`).ReplaceAllString(got, "current time NOW")
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s (-update rewrites it):\n%s\nwant:\n%s", file, got, want)
	}
}

// pages are domains whose whole output is kept.
var pages = []struct {
	name string
	set  func(*world)
}{
	{"good", func(w *world) {
		w.dns.SetAD(true)
		w.publish(policy("enforce", mx1, "*.example.org"))
		w.mx(mx1, mx2)
		for _, name := range []string{mx1, mx2} {
			cfg := w.good(name)
			w.tlsa(name, cfg)
			w.mail(name, cfg)
		}
		w.dns.Add(`_smtp._tls.example.org. 300 IN TXT "v=TLSRPTv1; rua=mailto:tls@example.org"`)
	}},
	{"advice", func(w *world) {
		soon := testNow().Add(9*24*time.Hour + time.Hour)
		w.serve(w.ca.issue(w.t, soon, "mta-sts.example.org"), file("version: STSv1\n\nmode: enforce\nmode: testing\n"+
			"mx: mx1.example.org\nmax_age: 3600\nx-contact: \u202epostmaster\nmax_age: 99999999\n"))
		w.mx(mx1, mx2)
		w.mail(mx1, &tls.Config{Certificates: []tls.Certificate{*w.ca.issue(w.t, testNow().Add(30*time.Hour), mx1)}})
		w.mail(mx2, w.good(mx1)) // that name is in the policy
		w.opts.CachedPolicy = remembers("20800101", policy("enforce", mx1))
	}},
	{"invalid", func(w *world) {
		w.serve(w.ca.issue(w.t, farEnd(), "mta-sts.example.org"),
			file("version: STSv1\nmode: enforced\nmx: [192.0.2.1]\nmx: mx1.example.org\nmax_age: a day\n"))
		w.dns.Add("example.org. 300 IN MX 10 mx1.example.org.")
		w.dns.Add("mx1.example.org. 300 IN AAAA 2a00::1")
		w.mail(mx1, nil)
		w.record("something else")
		w.dns.Add(`_smtp._tls.example.org. 300 IN TXT "v=TLSRPTv1;"`)
	}},
	{"broken", func(w *world) {
		w.serve(w.ca.issue(w.t, pastEnd(), "mta-sts.example.org"), func(http.ResponseWriter, *http.Request) {})
		w.mx(mx1)
		w.address(mx1)
		w.dns.On("_smtp._tls.example.org", dns.TypeTXT, dnstest.ServFail)
		w.opts.ADTrusted = false
	}},
	{"nothing", func(w *world) { w.opts.NoSMTP = true; w.dns.Add("example.org. 300 IN A 5.0.0.1") }},
	{"dane", func(w *world) {
		w.dns.SetAD(true)
		w.publish(policy("enforce", mx1, mx2))
		w.mx(mx1, mx2)
		w.tlsa(mx1, w.good(mx2))
		w.mail(mx1, w.good(mx1))
		w.mail(mx2, w.good(mx2))
		w.dns.Add("_25._tcp.mx2.example.org. 300 IN TLSA 1 1 1 " + strings.Repeat("00", 32))
		w.override(resolver.Override{Action: resolver.ActionStrict, Reason: "until they enforce"})
	}},
}

func remembers(id, text string) func(ctx context.Context, _ dnsname.Name) (string, string, bool) {
	return func(context.Context, dnsname.Name) (string, string, bool) { return id, text, true }
}

func TestText(t *testing.T) {
	for _, p := range pages {
		t.Run(p.name, func(t *testing.T) {
			w := newWorld(t)
			p.set(w)
			var out bytes.Buffer
			text := NewText(&out, nil)
			r := New(w.opts).Check(t.Context(), w.destination(), text)
			if err := text.Err; err != nil {
				t.Fatal(err)
			}
			golden(t, p.name+".txt", out.String())
			if !strings.HasSuffix(out.String(), "\n"+r.Result.Summary+"\n") {
				t.Errorf("the last line is not %q", r.Result.Summary)
			}
			readable(t, out.String(), r.Result.Summary)
		})
	}
}

// readable checks that a text fits 80 columns, but for words that cannot be broken and the last line, and cannot harm a
// terminal.
func readable(t *testing.T, text string, except string) {
	t.Helper()
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if utf8.RuneCountInString(line) > 80 && line != except &&
			strings.Contains(strings.TrimLeft(line[labelWidth:], " "), " ") {
			t.Errorf("more than 80 columns: %q", line)
		}
		if line != term.Clean(line) {
			t.Errorf("a line for a terminal has %q", line)
		}
	}
}

func TestJSON(t *testing.T) {
	for _, name := range []string{"good", "broken", "nothing"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			for _, p := range pages {
				if p.name == name {
					p.set(w)
				}
			}
			var line, pretty bytes.Buffer
			if err := term.NewJSONLines(&line).Encode(w.check()); err != nil {
				t.Fatal(err)
			}
			if strings.Count(line.String(), "\n") != 1 {
				t.Errorf("not one line: %q", line.String())
			}
			if err := json.Indent(&pretty, line.Bytes(), "", "  "); err != nil {
				t.Fatal(err)
			}
			golden(t, name+".json", pretty.String())
		})
	}
}

func TestTable(t *testing.T) {
	w := newWorld(t)
	onePolicy(w)
	var names []string
	var to []dane.Destination
	for _, name := range []string{
		testDomain, "a-very-long-name-that-has-no-room.department.example", "nowhere.example"} {
		d := dane.Destination{Domain: dnsname.MustParse(name)}
		to, names = append(to, d), append(names, d.String())
	}
	w.dns.Add(`
		_mta-sts.a-very-long-name-that-has-no-room.department.example 300 TXT "v=STSv1; id=1"
		a-very-long-name-that-has-no-room.department.example 300 MX 10 ` + mx1)
	var out bytes.Buffer
	table := NewTable(&out, names)
	New(w.opts).All(t.Context(), to, func(r *Report) {
		if err := table.Add(r); err != nil {
			t.Fatal(err)
		}
	})
	if err := table.Close(); err != nil {
		t.Fatal(err)
	}
	golden(t, "table.txt", out.String())
}

// TestAllInOrder: many domains, of which the first is the slowest, are reported in their order, each completely.
func TestAllInOrder(t *testing.T) {
	w := newWorld(t)
	onePolicy(w)
	w.dns.On("_mta-sts.slow.example", dns.TypeTXT, dnstest.After(300*time.Millisecond, dnstest.Answer))
	to := append([]dane.Destination{{Domain: dnsname.MustParse("slow.example")}}, manyTimes(w.destination(), 30)...)
	var got []string
	New(w.opts).All(t.Context(), to, func(r *Report) { got = append(got, r.Domain+" "+string(r.Result.Delivery)) })
	if len(got) != len(to) || got[0] != "slow.example returned" {
		t.Fatalf("%d reports, the first %q", len(got), got)
	}
	for _, g := range got[1:] {
		if g != "example.org verified" {
			t.Errorf("report %q", g)
		}
	}
}

func manyTimes(d dane.Destination, n int) []dane.Destination {
	var many []dane.Destination
	for range n {
		many = append(many, d)
	}
	return many
}

// TestNextHops: a smart host's name is the policy domain (RFC 8461 section 3.4), and its port is talked to.
func TestNextHops(t *testing.T) {
	w := newWorld(t)
	w.publish(policy("enforce", testDomain))
	w.mx("mail.elsewhere.example")
	w.lead(w.mail(testDomain, w.good(testDomain)), 587, "")
	w.mu.Lock()
	for to, listener := range w.routes {
		if to.Port() == 25 {
			delete(w.routes, to)
			to = netip.AddrPortFrom(to.Addr(), 587)
			w.routes[to] = listener
		}
	}
	w.mu.Unlock()
	to := w.destination()
	to.Port, to.Direct = 587, true
	r := New(w.opts).Check(t.Context(), to, nil)
	if want := "mail to [example.org]:587 would be delivered, verified"; r.Result.Summary != want ||
		r.MX.Status != MXDirect {
		t.Errorf("%v %q, want %q", r.MX.Status, r.Result.Summary, want)
	}
}

// TestCachedPolicy: only another file under the same id is a mistake.
func TestCachedPolicy(t *testing.T) {
	for _, c := range []struct {
		id, text string
		want     bool
	}{
		{"20800101", policy("enforce", mx2), true},
		{"20800101", policy("enforce", mx1), false},
		{"20790101", policy("enforce", mx2), false},
	} {
		t.Run(c.id, func(t *testing.T) {
			w := newWorld(t)
			onePolicy(w)
			w.opts.CachedPolicy = remembers(c.id, c.text)
			w.opts.NoSMTP = true
			advice := w.check().Advice
			if got := len(advice) == 1 && advice[0].Code == AdviceSameID; got != c.want || len(advice) > 1 {
				t.Errorf("remembered %s: %v", c.id, advice)
			}
		})
	}
}
