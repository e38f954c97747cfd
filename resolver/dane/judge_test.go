package dane

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stsmapd/stsmapd/resolver/dnsclient"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/lookups"
)

// withBench runs f with a judge of twoHosts, in a bubble.
func withBench(t *testing.T, f func(*testing.T, *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, twoHosts())
		defer b.Close()
		f(t, b)
	})
}

func TestRemembered(t *testing.T) {
	for _, c := range []struct {
		why  string
		ttl  map[string]time.Duration
		want time.Duration
	}{
		{"all the same", nil, 5 * time.Minute},
		{"MX", map[string]time.Duration{"MX example.test": 2 * time.Minute}, 2 * time.Minute},
		{"an address", map[string]time.Duration{"A mx2.example.test": 3 * time.Minute}, 3 * time.Minute},
		{"TLSA", map[string]time.Duration{"TLSA _25._tcp.mx1.example.test": 4 * time.Minute}, 4 * time.Minute},
		{"the denial of IPv6 addresses beside IPv4 ones does not count",
			map[string]time.Duration{"AAAA mx2.example.test": 0}, 5 * time.Minute},
		{"at least a minute", map[string]time.Duration{"MX example.test": 5 * time.Second}, time.Minute},
		{"at most an hour", map[string]time.Duration{
			"MX example.test": 24 * time.Hour, "A mx1.example.test": 24 * time.Hour,
			"AAAA mx1.example.test": 24 * time.Hour, "TLSA _25._tcp.mx1.example.test": 24 * time.Hour}, time.Hour},
	} {
		withBench(t, func(t *testing.T, b *bench) {
			b.dns.zone["MX example.test"] = "mx1.example.test"
			if c.want != time.Hour {
				b.dns.zone["MX example.test"] += " mx2.example.test"
			}
			if c.ttl != nil {
				b.dns.ttl = c.ttl
			}
			b.want(c.why, Usable, 0)
			b.wantMX(c.why+": first", 1)
			after(c.want - time.Second)
			b.want(c.why, Usable, 0)
			synctest.Wait()
			b.wantMX(c.why+": still fresh", 0)
			after(time.Second)
			b.want(c.why, Usable, 0)
			synctest.Wait()
			b.wantMX(c.why+": no longer fresh", 1)
		})
	}
}

// TestRenewed: an old finding serves while a lookup in the background finds the new one.
func TestRenewed(t *testing.T) {
	withBench(t, func(t *testing.T, b *bench) {
		b.want("first", Usable, 0)
		b.dns.set(func() {
			b.dns.zone["MX example.test"] = "."
			b.dns.slow["MX example.test"] = 2 * time.Second
		})
		b.wantMX("first", 1)
		after(6 * time.Minute)
		for range 100 {
			b.want("while the lookup is under way", Usable, 0)
		}
		after(3 * time.Second)
		b.want("after it", None, 0)
		b.wantMX("100 questions", 1)
		if n := b.log.Events("dane_changed"); n != 1 {
			t.Errorf("%d log lines of the change, want 1", n)
		}
	})
}

// TestOutage: a resolver that is down stops no mail to domains asked for before, for an hour; then it must.
func TestOutage(t *testing.T) {
	withBench(t, func(t *testing.T, b *bench) {
		b.want("before", Usable, 0)
		b.dns.set(func() { b.dns.dead = true })
		for range 65*60 - 1 { // TTL 5 minutes, and an hour
			after(time.Second)
			b.want("during the outage", Usable, 0)
		}
		if n := len(b.log.Lines()); n != 0 {
			t.Errorf("%d log lines while no mail is deferred, want none", n)
		}
		synctest.Wait()
		// From 5 min on: after 0, 10, 20 and 40 s, then each minute of the 59 that are left.
		if n := b.dns.count("MX example.test"); n < 55 || n > 65 {
			t.Errorf("%d lookups, want about one a minute", n)
		}
		after(2 * time.Minute)
		for range 100 {
			b.want("after an hour", Failed, 0)
		}
		b.wantMX("after an hour", 1)
		if n := b.log.Events("dane_failing"); n != 1 || len(b.log.Lines()) != 1 {
			t.Errorf("%d log lines of mail deferred among %d, want 1 and no other", n, len(b.log.Lines()))
		}
		b.dns.set(func() { b.dns.dead = false })
		after(maxRetry)
		b.want("the resolver is back", Usable, 0)
		if n := b.log.Events("dane_recovered"); n != 1 {
			t.Errorf("%d log lines of the recovery, want 1", n)
		}
	})
}

// TestBackoff: a domain that cannot be looked up is not looked up by each question.
func TestBackoff(t *testing.T) {
	withBench(t, func(t *testing.T, b *bench) {
		b.dns.zone["MX example.test"] = "SERVFAIL"
		var at []time.Duration
		begin := time.Now()
		for range 300 {
			if f := b.want("broken", Failed, 0); !errors.Is(f.Err, errServFail) {
				t.Errorf("reason %v, want the lookup's", f.Err)
			}
			if b.dns.count("MX example.test") > 0 {
				at = append(at, time.Since(begin))
			}
			after(time.Second)
		}
		want := "[0s 10s 30s 1m10s 2m10s 3m10s 4m10s]"
		if got := fmt.Sprint(at); got != want {
			t.Errorf("looked up at %v, want %v", got, want)
		}
		after(24 * time.Hour)
		b.want("a day later", Failed, 0)
		if n := b.log.Events("dane_failing"); n != 2 {
			t.Errorf("%d log lines in a day and five minutes, want 2", n)
		}
	})
}

func TestSlow(t *testing.T) {
	const mx2 = "mx2.example.test"
	t.Run("one MX host", func(t *testing.T) {
		for _, key := range []string{"A " + mx2, "TLSA _25._tcp." + mx2} {
			withBench(t, func(t *testing.T, b *bench) {
				b.dns.slow[key] = time.Hour
				b.want(key+" slow, the other host has DANE", Usable, lookupLimit)
				b.want("remembered", Usable, 0)
				after(2 * time.Minute)
				b.want("old", Usable, 0)
			})
		}
	})
	t.Run("one MX host, the other without TLSA", func(t *testing.T) {
		withBench(t, func(t *testing.T, b *bench) {
			b.dns.slow["TLSA _25._tcp."+mx2] = time.Hour
			b.dns.zone["TLSA _25._tcp.mx1.example.test"] = "NXDOMAIN"
			if f := b.want("slow", Failed, lookupLimit); !errors.Is(f.Err, context.DeadlineExceeded) {
				t.Errorf("reason %v, want the time", f.Err)
			}
		})
	})
	t.Run("the MX records", func(t *testing.T) {
		withBench(t, func(t *testing.T, b *bench) {
			b.dns.slow["MX example.test"] = time.Hour
			b.want("slow", Failed, lookupLimit)
		})
	})
	t.Run("a DNS client that ignores its context", func(t *testing.T) {
		withBench(t, func(t *testing.T, b *bench) {
			b.dns.slow["MX example.test"], b.dns.deaf = time.Minute, true
			b.want("slow and deaf", Failed, questionLimit)
		})
	})
}

// TestHalfFinding: a host that cannot be looked up leaves what was found before where it might change that, for an
// hour.
func TestHalfFinding(t *testing.T) {
	tlsa1, tlsa2 := "TLSA _25._tcp.mx1.example.test", "TLSA _25._tcp.mx2.example.test"
	for _, c := range []struct {
		why           string
		before, after testZone
		old           Status // before, and for an hour
		then          Status
	}{
		{"the only host with records fails", testZone{tlsa2: "NXDOMAIN"}, testZone{tlsa1: "SERVFAIL"}, Usable,
			Failed},
		{"a host fails that had no records", testZone{tlsa1: "NXDOMAIN", tlsa2: ""}, testZone{tlsa2: "SERVFAIL"},
			None, Failed},
		{"a host fails beside one with records", nil, testZone{tlsa2: "SERVFAIL"}, Usable, Usable},
	} {
		withBench(t, func(t *testing.T, b *bench) {
			b.dns.zone = b.dns.zone.with(c.before)
			b.want(c.why+": before", c.old, 0)
			b.dns.set(func() { b.dns.zone = b.dns.zone.with(c.after) })
			for range 64 { // TTL 5 minutes, and an hour
				after(time.Minute)
				b.want(c.why+": in the hour", c.old, 0)
			}
			after(2 * time.Minute)
			b.want(c.why+": later", c.then, 0)
		})
	}
	withBench(t, func(t *testing.T, b *bench) {
		b.dns.zone[tlsa1], b.dns.zone[tlsa2] = "NXDOMAIN", "NXDOMAIN"
		b.want("none", None, 0)
		b.dns.set(func() { b.dns.zone[tlsa1], b.dns.zone[tlsa2] = "3-1-1", "SERVFAIL" })
		after(6 * time.Minute)
		b.want("old", None, 0)
		synctest.Wait()
		b.want("records at one host, the other fails: that is enough to know", Usable, 0)
	})
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, twoHosts())
		other := Destination{Domain: dnsname.MustParse("known.test")}
		b.dns.zone["MX known.test"] = "."
		b.Find(context.Background(), other)
		b.dns.slow["MX example.test"], b.dns.slow["MX known.test"] = 5*time.Second, 5*time.Second
		after(10 * time.Minute)
		b.Find(context.Background(), other) // a renewal is under way
		asked := make(chan Finding)
		go func() { asked <- b.Find(context.Background(), exampleTest) }()
		after(time.Second)
		begin := time.Now()
		b.Close()
		if took := time.Since(begin); took != 0 {
			t.Errorf("close took %v", took)
		}
		if f := <-asked; f.Status != Failed || !errors.Is(f.Err, lookups.ErrClosed) {
			t.Errorf("a question that waited: %v (%v), want the closing as reason", f.Status, f.Err)
		}
		if f := b.Find(context.Background(), exampleTest); f.Status != Failed || !errors.Is(f.Err, lookups.ErrClosed) {
			t.Errorf("a question after it: %v (%v), want the closing as reason", f.Status, f.Err)
		}
		if f := b.Find(context.Background(), other); f.Status != None {
			t.Errorf("a question that memory answers: %v (%v)", f.Status, f.Err)
		}
		if len(b.log.Lines()) != 0 {
			t.Error("the closing was logged as a failure of the DNS")
		}
	})
}

// TestReload: the DNS that is in force is asked, not the one of the start.
func TestReload(t *testing.T) {
	withBench(t, func(t *testing.T, b *bench) {
		b.dns.zone["MX example.test"] = "SERVFAIL"
		b.want("by the old DNS", Failed, 0)
		b.dns = newFakeDNS(t, twoHosts())
		after(maxRetry)
		b.want("by the new DNS", Usable, 0)
	})
}

// faultyDNS is a DNS with a bug.
type faultyDNS struct{ DNS }

func (faultyDNS) TLSA(context.Context, string) (dnsclient.Answer[dnsclient.TLSA], error) {
	panic("bug")
}

// TestFault: what one domain's records break must not end the daemon.
func TestFault(t *testing.T) {
	withBench(t, func(t *testing.T, b *bench) {
		b.DNS = func() DNS { return faultyDNS{b.dns} }
		b.want("a bug in a host's lookup", Failed, 0)
		b.DNS = func() DNS { panic("bug") }
		after(maxRetry)
		b.want("a bug elsewhere", Failed, 0)
		if n := b.log.Events("panic"); n != 3 { // two hosts, and the other
			t.Errorf("%d log lines of faults, want 3", n)
		}
	})
}
