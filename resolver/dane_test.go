package resolver

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stsmapd/stsmapd/resolver/dnsclient"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// daneTest runs f with a judge of twoHosts, in a bubble.
func daneTest(t *testing.T, f func(*testing.T, *daneBench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := newDANEBench(t, twoHosts())
		defer b.close()
		f(t, b)
	})
}

func TestDANERemembered(t *testing.T) {
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
		daneTest(t, func(t *testing.T, b *daneBench) {
			b.dns.zone["MX example.test"] = "mx1.example.test"
			if c.want != time.Hour {
				b.dns.zone["MX example.test"] += " mx2.example.test"
			}
			if c.ttl != nil {
				b.dns.ttl = c.ttl
			}
			b.want(c.why, DANEUsable, 0)
			b.wantMX(c.why+": first", 1)
			after(c.want - time.Second)
			b.want(c.why, DANEUsable, 0)
			synctest.Wait()
			b.wantMX(c.why+": still fresh", 0)
			after(time.Second)
			b.want(c.why, DANEUsable, 0)
			synctest.Wait()
			b.wantMX(c.why+": no longer fresh", 1)
		})
	}
}

// TestDANERenewed: an old finding serves while a lookup in the background finds the new one.
func TestDANERenewed(t *testing.T) {
	daneTest(t, func(t *testing.T, b *daneBench) {
		b.want("first", DANEUsable, 0)
		b.dns.set(func() {
			b.dns.zone["MX example.test"] = "."
			b.dns.slow["MX example.test"] = 2 * time.Second
		})
		b.wantMX("first", 1)
		after(6 * time.Minute)
		for range 100 {
			b.want("while the lookup is under way", DANEUsable, 0)
		}
		after(3 * time.Second)
		b.want("after it", DANENone, 0)
		b.wantMX("100 questions", 1)
		if n := b.log.events("dane_changed"); n != 1 {
			t.Errorf("%d log lines of the change, want 1", n)
		}
	})
}

// TestDANEOutage: a resolver that is down stops no mail to domains asked for before, for an hour; then it must.
func TestDANEOutage(t *testing.T) {
	daneTest(t, func(t *testing.T, b *daneBench) {
		b.want("before", DANEUsable, 0)
		b.dns.set(func() { b.dns.dead = true })
		for range 65*60 - 1 { // TTL 5 minutes, and an hour
			after(time.Second)
			b.want("during the outage", DANEUsable, 0)
		}
		if n := b.log.lines(); n != 0 {
			t.Errorf("%d log lines while no mail is deferred, want none", n)
		}
		synctest.Wait()
		// From 5 min on: after 0, 10, 20 and 40 s, then each minute of the 59 that are left.
		if n := b.dns.count("MX example.test"); n < 55 || n > 65 {
			t.Errorf("%d lookups, want about one a minute", n)
		}
		after(2 * time.Minute)
		for range 100 {
			b.want("after an hour", DANEFailed, 0)
		}
		b.wantMX("after an hour", 1)
		if n := b.log.events("dane_failing"); n != 1 || b.log.lines() != 1 {
			t.Errorf("%d log lines of mail deferred among %d, want 1 and no other", n, b.log.lines())
		}
		b.dns.set(func() { b.dns.dead = false })
		after(maxDANERetry)
		b.want("the resolver is back", DANEUsable, 0)
		if n := b.log.events("dane_recovered"); n != 1 {
			t.Errorf("%d log lines of the recovery, want 1", n)
		}
	})
}

// TestDANEBackoff: a domain that cannot be looked up is not looked up by each question.
func TestDANEBackoff(t *testing.T) {
	daneTest(t, func(t *testing.T, b *daneBench) {
		b.dns.zone["MX example.test"] = "SERVFAIL"
		var at []time.Duration
		begin := time.Now()
		for range 300 {
			if f := b.want("broken", DANEFailed, 0); !errors.Is(f.Err, errServFail) {
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
		b.want("a day later", DANEFailed, 0)
		if n := b.log.events("dane_failing"); n != 2 {
			t.Errorf("%d log lines in a day and five minutes, want 2", n)
		}
	})
}

func TestDANESlow(t *testing.T) {
	const mx2 = "mx2.example.test"
	t.Run("one MX host", func(t *testing.T) {
		for _, key := range []string{"A " + mx2, "TLSA _25._tcp." + mx2} {
			daneTest(t, func(t *testing.T, b *daneBench) {
				b.dns.slow[key] = time.Hour
				b.want(key+" slow, the other host has DANE", DANEUsable, daneLookupLimit)
				b.want("remembered", DANEUsable, 0)
				after(2 * time.Minute)
				b.want("old", DANEUsable, 0)
			})
		}
	})
	t.Run("one MX host, the other without TLSA", func(t *testing.T) {
		daneTest(t, func(t *testing.T, b *daneBench) {
			b.dns.slow["TLSA _25._tcp."+mx2] = time.Hour
			b.dns.zone["TLSA _25._tcp.mx1.example.test"] = "NXDOMAIN"
			if f := b.want("slow", DANEFailed, daneLookupLimit); !errors.Is(f.Err, context.DeadlineExceeded) {
				t.Errorf("reason %v, want the time", f.Err)
			}
		})
	})
	t.Run("the MX records", func(t *testing.T) {
		daneTest(t, func(t *testing.T, b *daneBench) {
			b.dns.slow["MX example.test"] = time.Hour
			b.want("slow", DANEFailed, daneLookupLimit)
		})
	})
	t.Run("a DNS client that does not heed its context", func(t *testing.T) {
		daneTest(t, func(t *testing.T, b *daneBench) {
			b.dns.slow["MX example.test"], b.dns.deaf = time.Minute, true
			b.want("slow and deaf", DANEFailed, daneQuestionLimit)
		})
	})
}

// TestDANEHalfFinding: a host that cannot be looked up leaves what was found before where it might change that, for an
// hour.
func TestDANEHalfFinding(t *testing.T) {
	tlsa1, tlsa2 := "TLSA _25._tcp.mx1.example.test", "TLSA _25._tcp.mx2.example.test"
	for _, c := range []struct {
		why           string
		before, after daneZone
		old           DANEStatus // before, and for an hour
		then          DANEStatus
	}{
		{"the only host with records fails", daneZone{tlsa2: "NXDOMAIN"}, daneZone{tlsa1: "SERVFAIL"}, DANEUsable,
			DANEFailed},
		{"a host fails that had no records", daneZone{tlsa1: "NXDOMAIN", tlsa2: ""}, daneZone{tlsa2: "SERVFAIL"},
			DANENone, DANEFailed},
		{"a host fails beside one with records", nil, daneZone{tlsa2: "SERVFAIL"}, DANEUsable, DANEUsable},
	} {
		daneTest(t, func(t *testing.T, b *daneBench) {
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
	daneTest(t, func(t *testing.T, b *daneBench) {
		b.dns.zone[tlsa1], b.dns.zone[tlsa2] = "NXDOMAIN", "NXDOMAIN"
		b.want("none", DANENone, 0)
		b.dns.set(func() { b.dns.zone[tlsa1], b.dns.zone[tlsa2] = "3-1-1", "SERVFAIL" })
		after(6 * time.Minute)
		b.want("old", DANENone, 0)
		synctest.Wait()
		b.want("records at one host, the other fails: that is enough to know", DANEUsable, 0)
	})
}

func TestDANEClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newDANEBench(t, twoHosts())
		other := Destination{Domain: dnsname.MustParse("known.test")}
		b.dns.zone["MX known.test"] = "."
		b.find(context.Background(), other)
		b.dns.slow["MX example.test"], b.dns.slow["MX known.test"] = 5*time.Second, 5*time.Second
		after(10 * time.Minute)
		b.find(context.Background(), other) // a renewal is under way
		asked := make(chan DANEFinding)
		go func() { asked <- b.find(context.Background(), exampleTest) }()
		after(time.Second)
		begin := time.Now()
		b.close()
		if took := time.Since(begin); took != 0 {
			t.Errorf("close took %v", took)
		}
		if f := <-asked; f.Status != DANEFailed || !errors.Is(f.Err, errDANEClosed) {
			t.Errorf("a question that waited: %v (%v), want the closing as reason", f.Status, f.Err)
		}
		if f := b.find(context.Background(), exampleTest); f.Status != DANEFailed || !errors.Is(f.Err, errDANEClosed) {
			t.Errorf("a question after it: %v (%v), want the closing as reason", f.Status, f.Err)
		}
		if f := b.find(context.Background(), other); f.Status != DANENone {
			t.Errorf("a question that memory answers: %v (%v)", f.Status, f.Err)
		}
		if b.log.lines() != 0 {
			t.Error("the closing was logged as a failure of the DNS")
		}
	})
}

func TestDANEClockSet(t *testing.T) {
	daneTest(t, func(t *testing.T, b *daneBench) {
		b.set = 30 * 24 * time.Hour
		b.want("by a clock that is a month ahead", DANEUsable, 0)
		b.set = 0
		b.dns.zone["MX example.test"] = "."
		b.want("the clock is set right: the finding is not from the future", DANENone, 0)

		b.dns.zone["MX example.test"] = "SERVFAIL"
		b.set = 2 * time.Hour
		b.want("set forward: too old", DANEFailed, 0)
		b.wantMX("in all", 3)
		b.set = 0
		b.dns.zone["MX example.test"] = "mx1.example.test"
		b.want("set back again: as it was", DANENone, 0)

		b.set = -30 * time.Second
		b.want("a small step back", DANENone, 0)
		b.wantMX("in all", 0)
	})
	daneTest(t, func(t *testing.T, b *daneBench) {
		b.dns.zone["MX example.test"] = "SERVFAIL"
		b.set = 24 * time.Hour
		b.want("a failure by a clock that is a day ahead", DANEFailed, 0)
		b.set = 0
		b.dns.zone["MX example.test"] = "mx1.example.test"
		b.want("the clock is set right: the failure does not hold the lookup back", DANEUsable, 0)
	})
}

// TestDANEReload: the DNS that is in force is asked, not the one of the start.
func TestDANEReload(t *testing.T) {
	daneTest(t, func(t *testing.T, b *daneBench) {
		b.dns.zone["MX example.test"] = "SERVFAIL"
		b.want("by the old DNS", DANEFailed, 0)
		b.dns = newDANEDNS(t, twoHosts())
		after(maxDANERetry)
		b.want("by the new DNS", DANEUsable, 0)
	})
}

// faultyDNS is a DNS with a bug.
type faultyDNS struct{ DNS }

func (faultyDNS) TLSA(context.Context, string) (dnsclient.Answer[dnsclient.TLSA], error) {
	panic("bug")
}

// TestDANEFault: what one domain's records break must not end the daemon.
func TestDANEFault(t *testing.T) {
	daneTest(t, func(t *testing.T, b *daneBench) {
		b.daneJudge.dns = func() DNS { return faultyDNS{b.dns} }
		b.want("a bug in a host's lookup", DANEFailed, 0)
		b.daneJudge.dns = func() DNS { panic("bug") }
		after(maxDANERetry)
		b.want("a bug elsewhere", DANEFailed, 0)
		if n := b.log.events("panic"); n != 3 { // two hosts, and the other
			t.Errorf("%d log lines of faults, want 3", n)
		}
	})
}
