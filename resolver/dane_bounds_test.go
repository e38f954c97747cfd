package resolver

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
)

func TestDANEOneLookupForAll(t *testing.T) {
	daneTest(t, func(t *testing.T, b *daneBench) {
		b.dns.slow["MX example.test"] = time.Second
		var all sync.WaitGroup
		for range 200 {
			all.Go(func() { b.want("one of 200 at once", DANEUsable, time.Second) })
		}
		all.Wait()
		<-b.advance(exampleTest) // of a question that looked at the memory before there was a finding
		b.wantMX("200 questions at once, and a late one", 1)
	})
}

// TestDANEAskerGone: the question ends with the asker, the lookup does not.
func TestDANEAskerGone(t *testing.T) {
	daneTest(t, func(t *testing.T, b *daneBench) {
		b.dns.slow["MX example.test"] = 2 * time.Second
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin := time.Now()
		if f := b.find(ctx, exampleTest); f.Status != DANEFailed || !errors.Is(f.Err, context.DeadlineExceeded) {
			t.Errorf("asker gone: %v (%v)", f.Status, f.Err)
		}
		if took := time.Since(begin); took != time.Second {
			t.Errorf("returned after %v, want 1s", took)
		}
		after(2 * time.Second)
		b.want("the next asker", DANEUsable, 0)
		b.wantMX("two askers", 1)
	})
}

// manyDomains names domains, which all have no MX host.
func manyDomains(b *daneBench, n int, slow time.Duration) []Destination {
	var domains []Destination
	for i := range n {
		d := fmt.Sprintf("d%d.test", i)
		domains = append(domains, Destination{Domain: dnsname.MustParse(d)})
		b.dns.zone["MX "+d], b.dns.slow["MX "+d] = ".", slow
	}
	return domains
}

// TestDANELookupsBounded: too many at once wait for their turn, as long as a question may.
func TestDANELookupsBounded(t *testing.T) {
	daneTest(t, func(t *testing.T, b *daneBench) {
		var all sync.WaitGroup
		for _, d := range manyDomains(b, 2*maxDANELookups, 3*time.Second) {
			all.Go(func() {
				if f := b.find(context.Background(), d); f.Status != DANENone {
					t.Errorf("%s: %v (%v)", d, f.Status, f.Err)
				}
			})
		}
		all.Wait()
		if b.dns.most != maxDANELookups {
			t.Errorf("%d lookups at once, want %d", b.dns.most, maxDANELookups)
		}
	})
	daneTest(t, func(t *testing.T, b *daneBench) {
		domains := manyDomains(b, maxDANELookups+1, 20*time.Second)
		b.dns.deaf = true
		for _, d := range domains[1:] {
			b.advance(d)
		}
		synctest.Wait()
		begin := time.Now()
		f := b.find(context.Background(), domains[0])
		if f.Status != DANEFailed || !strings.Contains(f.Err.Error(), "under way already") {
			t.Errorf("all turns taken: %v (%v)", f.Status, f.Err)
		}
		if took := time.Since(begin); took != daneLookupLimit {
			t.Errorf("returned after %v, want %v", took, daneLookupLimit)
		}
	})
}

// TestDANERenewalsBounded: old findings of many domains, asked for at once, leave the DNS to questions that wait.
func TestDANERenewalsBounded(t *testing.T) {
	daneTest(t, func(t *testing.T, b *daneBench) {
		domains := manyDomains(b, 3*maxDANERenewals, 0)
		for _, d := range domains {
			b.find(context.Background(), d)
		}
		b.dns.most = 0
		after(10 * time.Minute)
		for _, d := range domains {
			b.dns.slow["MX "+d.String()] = 5 * time.Second
		}
		for range 3 {
			for _, d := range domains {
				if f := b.find(context.Background(), d); f.Status != DANENone {
					t.Errorf("%s: %v (%v)", d, f.Status, f.Err)
				}
			}
			after(6 * time.Second)
		}
		if b.dns.most != maxDANERenewals {
			t.Errorf("%d renewals at once, want %d", b.dns.most, maxDANERenewals)
		}
		for _, d := range domains {
			if n := b.dns.count("MX " + d.String()); n != 2 {
				t.Errorf("%s: %d lookups, want 2: the first and one renewal", d, n)
			}
		}
	})
}

// TestDANERenewalOnce: many questions for one old finding take one turn, not the turns of other domains.
func TestDANERenewalOnce(t *testing.T) {
	daneTest(t, func(t *testing.T, b *daneBench) {
		domains := manyDomains(b, 2, 0)
		for _, d := range domains {
			b.find(context.Background(), d)
		}
		after(10 * time.Minute)
		b.dns.slow["MX d0.test"] = 5 * time.Second
		for range 2 * maxDANERenewals {
			b.find(context.Background(), domains[0])
		}
		b.find(context.Background(), domains[1])
		synctest.Wait()
		if n := b.dns.count("MX d1.test"); n != 2 {
			t.Errorf("%d lookups of the other domain, want 2: the first and one renewal", n)
		}
	})
}

func TestDANEMemoryBounded(t *testing.T) {
	m := newDANEShard(3)
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	names := map[Destination]bool{}
	for i := range 100 {
		d := Destination{Domain: dnsname.MustParse(fmt.Sprintf("d%d.test", i))}
		names[d] = true
		m.put(d, daneEntry{status: DANENone, found: now, ttl: time.Minute})
		if m.get(d).status != DANENone {
			t.Errorf("%s is not remembered", d)
		}
		// no new domain: nothing is forgotten for it
		m.put(d, daneEntry{status: DANEUsable, found: now, ttl: time.Minute})
		if want := min(i+1, 3); len(m.entries) != want {
			t.Errorf("%d entries after %d domains, want %d", len(m.entries), i+1, want)
		}
	}
	if m.claim(Destination{Domain: dnsname.MustParse("never.test")}, now) {
		t.Error("claimed a domain that is not remembered: it would be an entry without bound")
	}
}
