package dane

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/lookups"
)

func TestOneLookupForAll(t *testing.T) {
	withBench(t, func(t *testing.T, b *bench) {
		b.dns.slow["MX example.test"] = time.Second
		var all sync.WaitGroup
		for range 200 {
			all.Go(func() { b.want("one of 200 at once", Usable, time.Second) })
		}
		all.Wait()
		// of a question that looked at the memory before there was a finding
		<-b.lookups.Start(exampleTest, lookups.Question).Done()
		b.wantMX("200 questions at once, and a late one", 1)
	})
}

// TestAskerGone: the question ends with the asker, the lookup does not.
func TestAskerGone(t *testing.T) {
	withBench(t, func(t *testing.T, b *bench) {
		b.dns.slow["MX example.test"] = 2 * time.Second
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin := time.Now()
		if f := b.Find(ctx, exampleTest); f.Status != Failed || !errors.Is(f.Err, context.DeadlineExceeded) {
			t.Errorf("asker gone: %v (%v)", f.Status, f.Err)
		}
		if took := time.Since(begin); took != time.Second {
			t.Errorf("returned after %v, want 1s", took)
		}
		after(2 * time.Second)
		b.want("the next asker", Usable, 0)
		b.wantMX("two askers", 1)
	})
}

// manyDomains names domains, which all have no MX host.
func manyDomains(b *bench, n int, slow time.Duration) []Destination {
	var domains []Destination
	for i := range n {
		d := fmt.Sprintf("d%d.test", i)
		domains = append(domains, Destination{Domain: dnsname.MustParse(d)})
		b.dns.zone["MX "+d], b.dns.slow["MX "+d] = ".", slow
	}
	return domains
}

// TestLookupsBounded: too many at once wait for their turn, as long as a question may.
func TestLookupsBounded(t *testing.T) {
	withBench(t, func(t *testing.T, b *bench) {
		var all sync.WaitGroup
		for _, d := range manyDomains(b, 2*maxLookups, 3*time.Second) {
			all.Go(func() {
				if f := b.Find(context.Background(), d); f.Status != None {
					t.Errorf("%s: %v (%v)", d, f.Status, f.Err)
				}
			})
		}
		all.Wait()
		if b.dns.most != maxLookups {
			t.Errorf("%d lookups at once, want %d", b.dns.most, maxLookups)
		}
	})
	withBench(t, func(t *testing.T, b *bench) {
		domains := manyDomains(b, maxLookups+1, 20*time.Second)
		b.dns.deaf = true
		for _, d := range domains[1:] {
			b.lookups.Start(d, lookups.Question)
		}
		synctest.Wait()
		begin := time.Now()
		f := b.Find(context.Background(), domains[0])
		if f.Status != Failed || !strings.Contains(f.Err.Error(), "in progress already") {
			t.Errorf("all turns taken: %v (%v)", f.Status, f.Err)
		}
		if took := time.Since(begin); took != lookupLimit {
			t.Errorf("returned after %v, want %v", took, lookupLimit)
		}
	})
}

// TestRenewalsBounded: old findings of many domains, asked for at once, leave the DNS to questions that wait.
func TestRenewalsBounded(t *testing.T) {
	withBench(t, func(t *testing.T, b *bench) {
		domains := manyDomains(b, 3*maxRenewals, 0)
		for _, d := range domains {
			b.Find(context.Background(), d)
		}
		b.dns.most = 0
		after(10 * time.Minute)
		for _, d := range domains {
			b.dns.slow["MX "+d.String()] = 5 * time.Second
		}
		for range 3 {
			for _, d := range domains {
				if f := b.Find(context.Background(), d); f.Status != None {
					t.Errorf("%s: %v (%v)", d, f.Status, f.Err)
				}
			}
			after(6 * time.Second)
		}
		if b.dns.most != maxRenewals {
			t.Errorf("%d renewals at once, want %d", b.dns.most, maxRenewals)
		}
		for _, d := range domains {
			if n := b.dns.count("MX " + d.String()); n != 2 {
				t.Errorf("%s: %d lookups, want 2: the first and one renewal", d, n)
			}
		}
	})
}

// TestRenewalOnce: many questions for one old finding take one turn, not the turns of other domains.
func TestRenewalOnce(t *testing.T) {
	withBench(t, func(t *testing.T, b *bench) {
		domains := manyDomains(b, 2, 0)
		for _, d := range domains {
			b.Find(context.Background(), d)
		}
		after(10 * time.Minute)
		b.dns.slow["MX d0.test"] = 5 * time.Second
		for range 2 * maxRenewals {
			b.Find(context.Background(), domains[0])
		}
		b.Find(context.Background(), domains[1])
		synctest.Wait()
		if n := b.dns.count("MX d1.test"); n != 2 {
			t.Errorf("%d lookups of the other domain, want 2: the first and one renewal", n)
		}
	})
}

// TestForgotten: a finding that memory has dropped is not renewed, but looked up by the next question.
func TestForgotten(t *testing.T) {
	withBench(t, func(t *testing.T, b *bench) {
		b.want("first", Usable, 0)
		b.memory.forget(exampleTest)
		if b.claimRenewal(exampleTest) || b.memory.len() != 0 {
			t.Error("claimed a destination that is not remembered: it would be an entry without bound")
		}
		b.want("dropped", Usable, 0)
		b.wantMX("in all", 2)
	})
}
