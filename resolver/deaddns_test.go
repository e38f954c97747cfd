package resolver_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsclient"
	"github.com/stsmapd/stsmapd/resolver/dnsclient/dnstest"
	"github.com/stsmapd/stsmapd/resolver/memorytest"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// TestDeadDNS: three domains in a row whose lookups fail are no fault of these domains. It is told once, and once
// that it is over; what failed meanwhile is then looked up again by the next question, whatever its backoff was.
func TestDeadDNS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for _, domain := range []string{"a.test", "b.test", "c.test", "d.test"} {
			w.publish(domain, "1", body("enforce", day, "mx."+domain))
		}
		s := w.start()
		s.Reconfigure(resolver.Settings{DNS: w, Fetcher: w,
			ProbeDNS: func(context.Context) error { return nil }}) // the root is in the resolver's cache
		stop := runUpkeep(s)
		defer stop()
		w.set(func() { w.mute = true })
		wantOutcome(t, "a.test", s, "a.test", resolver.Unknown)
		wantOutcome(t, "b.test", s, "b.test", resolver.Unknown)
		pass(20 * minute)
		wantOutcome(t, "a.test", s, "a.test", resolver.Unknown)
		wantDNSFault(t, s, "two domains may both be broken", false)
		wantOutcome(t, "c.test", s, "c.test", resolver.Unknown)
		wantOutcome(t, "d.test", s, "d.test", resolver.Unknown)
		wantDNSFault(t, s, "four domains in a row", true)
		pass(minute)
		if n := w.events("host_fault"); n != 1 {
			t.Errorf("%d log lines say that the DNS is dead, want 1:\n%s", n, w.log.String())
		}

		w.set(func() { w.mute = false })
		pass(6 * time.Second)
		wantDNSFault(t, s, "lookups work again, and no question was needed to find that out", false)
		for _, domain := range []string{"a.test", "b.test", "c.test", "d.test"} {
			wantOutcome(t, domain, s, domain, resolver.Enforce)
		}
		if n := w.events("host_recovered"); n != 1 {
			t.Errorf("%d log lines say that the DNS is back, want 1:\n%s", n, w.log.String())
		}
	})
}

// TestOneBrokenDomainIsNoDeadDNS: failures of the same domain, and failures between which another lookup works.
func TestOneBrokenDomainIsNoDeadDNS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s, stop := w.run()
		defer stop()
		for _, broken := range []string{"a.test", "b.test", "a.test", "c.test", "d.test"} {
			w.set(func() { w.mute = true })
			wantOutcome(t, broken, s, broken, resolver.Unknown)
			w.set(func() { w.mute = false })
			wantOutcome(t, "good-", s, "good-"+broken, resolver.Absent)
			pass(16 * minute)
		}
		wantDNSFault(t, s, "a lookup worked after each failure", false)
		if n := w.events("host_fault"); n != 0 {
			t.Errorf("%d log lines say that the DNS is dead:\n%s", n, w.log.String())
		}
	})
}

// TestDeadDNSServer asks a real server, which dies. One domain is enough, since the server does not answer for the root
// either; at the start, none is needed where no server answers.
func TestDeadDNSServer(t *testing.T) {
	for _, c := range []struct {
		why     string
		dead    dnstest.Hook
		atStart bool
	}{
		{"it drops every question", dnstest.Drop, true},
		{"it answers SERVFAIL to every question", dnstest.ServFail, false},
		{"it refuses this host", dnstest.Rcode(dns.RcodeRefused), false},
	} {
		t.Run(c.why, func(t *testing.T) {
			t.Parallel()
			srv := dnstest.New(t, dnstest.Config{Zone: `_mta-sts.a.test TXT "v=STSv1; id=1"`})
			client, err := dnsclient.New(dnsclient.Config{
				Servers: []string{srv.Addr()}, Timeout: 200 * time.Millisecond, Attempts: 1})
			if err != nil {
				t.Fatal(err)
			}
			w := newWorld(t)
			w.publish("a.test", "1", body("enforce", day, "mx.a.test"))
			s := resolver.NewService(resolver.Options{
				DANEMemory: &memorytest.Findings{}, Now: w.now, Store: w, Memory: memorytest.New(),
				Settings: resolver.Settings{DNS: client, ProbeDNS: client.Probe, Fetcher: w},
				Logger:   slog.New(slog.NewTextHandler(&w.log, nil)),
			})
			srv.On("*", dns.TypeANY, c.dead)
			stop := runUpkeep(s)
			defer stop()
			if c.atStart {
				testkit.Eventually(t, testkit.Hang, "the probe at the start finds the DNS dead",
					func() bool { return s.Admin().Activity().DNSFailing })
			}
			wantOutcome(t, "a.test", s, "a.test", resolver.Unknown)
			testkit.Eventually(t, testkit.Hang, "a probe after a failed lookup finds the DNS dead",
				func() bool { return s.Admin().Activity().DNSFailing })
			list := s.Admin().Status().HostFaults
			if len(list) != 1 || !strings.Contains(list[0].String(), "dns.servers") {
				t.Errorf("the status has %v", list)
			}
			srv.On("*", dns.TypeANY)
			testkit.Eventually(t, testkit.Hang, "the end of the outage",
				func() bool { return !s.Admin().Activity().DNSFailing })
			wantOutcome(t, "a.test", s, "a.test", resolver.Enforce)
		})
	}
}

// TestAddressLookupsForgotten: the TXT record came from a cache, and the addresses of the policy host could not be
// looked up; the backoff of that fetch ends with the outage.
func TestAddressLookupsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a := &ailing{world: w}
		s := a.start(nil)
		defer s.Close()
		w.publish("a.test", "1", body("enforce", day, "mx.a.test"))
		a.set(nil, &dnsclient.Error{Name: "mta-sts.a.test", Type: "A", Kind: dnsclient.Timeout})
		wantOutcome(t, "a.test", s, "a.test", resolver.Unfetched)
		a.set(errNoRoute, nil)
		wantOutcome(t, "b.test", s, "b.test", resolver.Unable)
		a.set(nil, nil)
		wantOutcome(t, "c.test", s, "c.test", resolver.Absent)
		wantOutcome(t, "a.test", s, "a.test", resolver.Enforce)
		wantOutcome(t, "b.test", s, "b.test", resolver.Absent)
	})
}

func wantDNSFault(t *testing.T, s *resolver.Service, why string, want bool) {
	t.Helper()
	if got := s.Admin().Activity().DNSFailing; got != want || got != (len(s.Admin().HostFaults()) > 0) {
		t.Errorf("%s: the DNS is dead: %v, %v; want %v", why, got, s.Admin().HostFaults(), want)
	}
}

// TestForwarderWithoutRoot: a forwarder that refuses questions for the root, and looks up domains, is not dead.
func TestForwarderWithoutRoot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := w.start()
		s.Reconfigure(resolver.Settings{DNS: w, Fetcher: w, ProbeDNS: func(context.Context) error {
			return &dnsclient.Error{Name: ".", Type: "NS", Kind: dnsclient.ServerFailure, Rcode: dns.RcodeRefused}
		}})
		defer runUpkeep(s)()
		for _, domain := range []string{"a.test", "b.test", "c.test"} {
			wantOutcome(t, domain, s, domain, resolver.Absent)
			pass(minute)
		}
		wantDNSFault(t, s, "lookups work", false)
		if n := w.events("host_fault"); n != 0 {
			t.Errorf("%d log lines say that the DNS is dead:\n%s", n, w.log.String())
		}
	})
}
