package cache

import (
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/cache/store/storetest"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/clock"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// until is that there is no policy until then, in whole seconds as a Memory keeps it.
func until(t time.Time) resolver.Negative {
	return resolver.NoPolicyUntil(inSeconds(clock.Ticks(t)))
}

// inSeconds is a number of clock.Ticks rounded up to a second.
func inSeconds(ticks int64) int64 {
	const second = int64(time.Second)
	return (ticks + second - 1) / second * second
}

// failed is a failure that is worth keeping until then.
func failed(t time.Time) resolver.Negative {
	a := &resolver.LookupFailed{Failures: 1}
	a.RetryAt = t.Add(-a.Expires().Sub(a.RetryAt))
	return a
}

func held(i int, fetched time.Time) *resolver.CachedPolicy {
	return resolver.NewCachedPolicy(storetest.Entry(i, fetched), time.Time{})
}

func TestMemoryHolds(t *testing.T) {
	now := storetest.Clock()
	m := NewMemory(MemoryOptions{})
	a, b := storetest.Domain(1), storetest.Domain(2)
	expect := func(why string, domain dnsname.Name, policy *resolver.CachedPolicy, negative resolver.Negative) {
		t.Helper()
		if h, ok := m.Policy(domain); h != policy || ok != (policy != nil) {
			t.Errorf("%s: Policy(%s) = %v %v", why, domain, h, ok)
		}
		if x, ok := m.Negative(domain); x != negative || ok != (negative != nil) {
			t.Errorf("%s: Negative(%s) = %v %v", why, domain, x, ok)
		}
	}
	expect("empty", a, nil, nil)
	gone := until(now.Add(time.Minute))
	m.PutNegative(now, a, gone)
	expect("negative put", a, nil, gone)
	expect("another domain", b, nil, nil)
	lost := &resolver.LookupFailed{Failures: 1, RetryAt: now}
	m.PutNegative(now, a, lost)
	expect("another negative put", a, nil, lost)
	h := held(1, now)
	m.PutPolicy(h)
	expect("a policy takes its negative away", a, h, nil)
	m.PutNegative(now, a, gone)
	expect("a negative leaves the policy", a, h, gone)
	h2 := held(1, now.Add(time.Hour))
	m.PutPolicy(h2)
	expect("another policy", a, h2, nil)
	m.ForgetPolicy(a)
	expect("forgotten", a, nil, nil)
	m.ForgetPolicy(a)
	m.ForgetPolicy(b)
	old := failed(now.Add(-time.Hour))
	m.PutNegative(now, b, old)
	expect("expired: it still tells how often something failed", b, nil, old)
	if m.Policies() != 0 || m.Negatives() != 1 {
		t.Errorf("%d policies, %d negatives", m.Policies(), m.Negatives())
	}
}

// TestMemoryIsBounded: whatever is put, no table outgrows its bound.
func TestMemoryIsBounded(t *testing.T) {
	now := storetest.Clock()
	for _, bound := range []int{1, 2, 63, 848, 849, 1000, 5000} {
		m := NewMemory(MemoryOptions{MaxNegative: bound, MaxPolicies: bound})
		for i := range 3 * bound {
			m.PutNegative(now, storetest.Domain(i), until(now.Add(time.Minute)))
			m.PutPolicy(held(3*bound+i, now))
			if m.Negatives() > bound || m.Policies() > bound {
				t.Fatalf("bound %d: %d negatives, %d policies", bound, m.Negatives(), m.Policies())
			}
		}
		if least := bound * 9 / 10; m.Negatives() < least || m.Policies() < least {
			t.Errorf("bound %d: only %d negatives, %d policies", bound, m.Negatives(), m.Policies())
		}
		if _, ok := m.Negative(storetest.Domain(3*bound - 1)); !ok {
			t.Errorf("bound %d: the last one put is gone", bound)
		}
		checkNegatives(t, m.negatives)
	}
}

// TestMemoryForgetsAndTakesAgain: the keys do not pile up when the same domains come and go.
func TestMemoryForgetsAndTakesAgain(t *testing.T) {
	now := storetest.Clock()
	m := NewMemory(MemoryOptions{MaxNegative: 100, MaxPolicies: 100})
	for i := range 5000 {
		m.PutNegative(now, storetest.Domain(i%7), until(now.Add(time.Hour)))
		m.PutPolicy(held(i%7, now))
		m.ForgetPolicy(storetest.Domain(i % 7))
	}
	m.PutPolicy(held(1, now))
	checkNegatives(t, m.negatives)
	if m.Policies() != 1 || m.Negatives() != 0 {
		t.Errorf("%d policies, %d negatives", m.Policies(), m.Negatives())
	}
}

// TestMemoryDropsTheExpiredFirst: with enough that has expired, nothing that lives is dropped.
func TestMemoryDropsTheExpiredFirst(t *testing.T) {
	now := storetest.Clock()
	m := NewMemory(MemoryOptions{MaxNegative: 10_000})
	for i := range 8000 {
		m.PutNegative(now, storetest.Domain(i), until(now.Add(time.Minute)))
	}
	later := now.Add(time.Hour)
	for i := range 5000 {
		m.PutNegative(later, storetest.Domain(10_000+i), until(later.Add(time.Minute)))
	}
	for i := range 5000 {
		if _, ok := m.Negative(storetest.Domain(10_000 + i)); !ok {
			t.Fatalf("the %d-th live negative was dropped though thousands have expired", i)
		}
	}
	if n := m.Negatives(); n > 8000 {
		t.Errorf("%d are left of 8000 expired and 5000 live ones: the sweep does not keep up", n)
	}
}

// TestMemoryPrefersVictims: at the bound, what matters less goes more often than what matters more.
func TestMemoryPrefersVictims(t *testing.T) {
	now := storetest.Clock()
	const n = 4096
	m := NewMemory(MemoryOptions{MaxNegative: n, MaxPolicies: n})
	for i := range n {
		age := time.Duration(i%2) * 24 * time.Hour // every other one is old, or ends soon
		m.PutNegative(now, storetest.Domain(i), until(now.Add(48*time.Hour-age)))
		m.PutPolicy(held(n+i, now.Add(-age)))
	}
	for i := range n / 4 {
		m.PutNegative(now, storetest.Domain(2*n+i), until(now.Add(48*time.Hour)))
		m.PutPolicy(held(3*n+i, now))
	}
	var policies, negatives [2]int
	for i := range n {
		if _, ok := m.Negative(storetest.Domain(i)); ok {
			negatives[i%2]++
		}
		if _, ok := m.Policy(storetest.Domain(n + i)); ok {
			policies[i%2]++
		}
	}
	t.Logf("left of %d each: negatives %d long %d short, policies %d new %d old", n/2, negatives[0], negatives[1],
		policies[0], policies[1])
	for _, left := range [][2]int{negatives, policies} {
		if left[0] < n/2*9/10 || left[1] > left[0]*3/4 {
			t.Errorf("of those that matter %d are left, of the others %d", left[0], left[1])
		}
	}
}

func TestMemoryConcurrently(t *testing.T) {
	now := storetest.Clock()
	m := NewMemory(MemoryOptions{MaxNegative: 300, MaxPolicies: 300})
	var group sync.WaitGroup
	for w := range 8 {
		group.Go(func() {
			for i := range 3000 {
				n := (i*7 + w) % 500
				domain := storetest.Domain(n)
				switch i % 5 {
				case 0:
					m.PutPolicy(held(n, now))
				case 1:
					m.ForgetPolicy(domain)
				case 2:
					m.PutNegative(now, domain, failed(now.Add(time.Minute)))
				case 3:
					m.PutNegative(now.Add(time.Duration(i)*time.Second), domain,
						until(now.Add(time.Duration(i)*time.Second+time.Minute)))
				}
				if h, ok := m.Policy(domain); ok && h.Entry().Domain != domain {
					t.Errorf("the policy of %s for %s", h.Entry().Domain, domain)
				}
				m.Negative(domain)
			}
		})
	}
	group.Wait()
	checkNegatives(t, m.negatives)
	// Failures and domains without a policy have a bound each.
	if m.negatives.len() > 300 || m.failures.Len() > 300 || m.Policies() > 300 {
		t.Errorf("%d domains without a policy, %d failures, %d policies", m.negatives.len(), m.failures.Len(),
			m.Policies())
	}
}

// TestMemoryOfAMillion measures what a negative costs.
func TestMemoryOfAMillion(t *testing.T) {
	const most = 24
	n := testkit.Sample(t, "negatives in memory", 1_000_000, 200_000)
	now := storetest.Clock()
	before := heap()
	m := NewMemory(MemoryOptions{MaxNegative: n})
	empty := heap() - before
	for round, step := range []int{1, 10} { // the second time those put are known
		for i := 0; i < n; i += step {
			m.PutNegative(now, million(i), until(now.Add(time.Duration(1+round)*time.Hour)))
		}
		each := float64(heap()-before) / float64(m.Negatives())
		t.Logf("round %d: %d negatives, %.0f bytes each; an empty memory takes %d bytes", round, m.Negatives(), each,
			empty)
		if each > most || m.Negatives() < n*95/100 {
			t.Errorf("%.0f bytes for each of %d negatives, want %d at most", each, m.Negatives(), most)
		}
	}
	runtime.KeepAlive(m)
}

// TestMemoryOfPolicies measures what a policy costs that was answered once. As one from the store, each has strings of
// its own.
func TestMemoryOfPolicies(t *testing.T) {
	const most = 500
	n := testkit.Sample(t, "policies in memory", 100_000, 30_000)
	now := storetest.Clock()
	policy := func(i int) *resolver.CachedPolicy {
		domain := million(i)
		name := domain.String()
		text := "version: STSv1\r\nmode: enforce\r\nmx: mx1." + name + "\r\nmx: *.mail." + name +
			"\r\nmax_age: 604800\r\n"
		p, err := mtasts.ParsePolicy([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		h := resolver.NewCachedPolicy(resolver.Entry{
			Domain: domain, ID: "20260101T000000", Policy: p, Fetched: now, Checked: now, Used: now}, now)
		h.Rendered(0, func() string {
			return "secure match=mx1." + name + ":.mail." + name + " servername=hostname"
		})
		return h
	}
	before := heap()
	m := NewMemory(MemoryOptions{MaxPolicies: 2 * n})
	for i := range n {
		m.PutPolicy(policy(i))
	}
	each := float64(heap()-before) / float64(n)
	t.Logf("%d policies, %.0f bytes each", m.Policies(), each)
	if each > most || m.Policies() != n {
		t.Errorf("%.0f bytes for each of %d policies, want %d at most", each, m.Policies(), most)
	}
	runtime.KeepAlive(m)
}

func million(i int) dnsname.Name { return dnsname.MustParse(fmt.Sprintf("mail-%06d.example.com", i)) }

// heap is how many bytes are in use after a collection.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return int64(s.HeapAlloc)
}

// TestFailuresHaveTheirOwnBound: they are remembered with their reasons, and a dead DNS fails for every domain.
func TestFailuresHaveTheirOwnBound(t *testing.T) {
	now := storetest.Clock()
	m := NewMemory(MemoryOptions{MaxNegative: 300_000})
	for i := range 1000 {
		m.PutNegative(now, storetest.Domain(i), until(now.Add(time.Hour)))
	}
	for i := range 250_000 {
		m.PutNegative(now, storetest.Domain(1000+i),
			&resolver.LookupFailed{Failures: 1, At: now, RetryAt: now.Add(time.Minute)})
	}
	for i := range 1000 {
		if _, ok := m.Negative(storetest.Domain(i)); !ok {
			t.Fatalf("failures pushed out a domain without a policy, number %d", i)
		}
	}
	if n := m.Negatives() - 1000; n > maxFailures || n < maxFailures*9/10 {
		t.Errorf("%d failures are remembered, want at most %d and not much less", n, maxFailures)
	}
}

// TestBytesBoundMemory: what Bytes says of a policy is what it takes with all that is kept of it, or some more, whether
// it is of the usual size or the largest one with the most mx lines. So a flood of such policies takes what the Memory
// may take, and no policy that was asked for on several days.
func TestBytesBoundMemory(t *testing.T) {
	lines := func(line string) string {
		return strings.Repeat(line, (64<<10-64)/len(line))
	}
	for _, c := range []struct {
		why  string
		mx   string
		n    int
		most float64 // of what Bytes says, as a multiple of what it takes
	}{
		{"usual", "mx: mx1.example.com\nmx: *.mail.example.com\n", 20_000, 2},
		{"short mx lines", lines("mx:a.b\n"), 200, 1.7},
		{"short mx lines in capitals", lines("mx:A.B\n"), 200, 1.6},
		{"long mx lines", lines("mx: " + strings.Repeat("a.", 100) + "example.com\n"), 200, 2.2},
		{"one mx line, much else", "mx: mx.example.com\n" + lines("x: y\n"), 200, 1.6},
	} {
		text := "version: STSv1\nmode: enforce\nmax_age: 604800\n" + c.mx
		before := heap()
		m := NewMemory(MemoryOptions{MaxBytes: 1 << 30})
		for i := range c.n {
			p, err := mtasts.ParsePolicy([]byte(text))
			if err != nil {
				t.Fatal(err)
			}
			h := resolver.NewCachedPolicy(resolver.Entry{Domain: million(i), Policy: p}, time.Time{})
			for slot := range resolver.Slots {
				h.Rendered(slot, func() string { return strings.Repeat("r", len(text)/2) })
			}
			m.PutPolicy(h)
		}
		took, told := float64(heap()-before), float64(m.policies.Cost())
		t.Logf("%s: %.0f bytes each, %.0f are told", c.why, took/float64(c.n), told/float64(c.n))
		if told < took*0.95 || told > took*c.most {
			t.Errorf("%s: %.0f bytes each, but Bytes says %.0f", c.why, took/float64(c.n), told/float64(c.n))
		}
		runtime.KeepAlive(m)
	}
}

// TestLargePoliciesEvictThemselves: policies of 64 KiB that were asked for once fill the memory, and push out none that
// is in use; it is logged once.
func TestLargePoliciesEvictThemselves(t *testing.T) {
	var log strings.Builder
	const bound = 16 << 20
	m := NewMemory(MemoryOptions{MaxBytes: bound, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	now := storetest.Clock()
	for i := range 1000 {
		m.PutPolicy(resolver.NewCachedPolicy(resolver.Entry{Domain: million(i), Policy: storetest.Policy(0),
			Fetched: now, Used: now, UsedDays: 2}, now))
	}
	large := storetest.Policy(64000)
	for i := range 1000 {
		m.PutPolicy(resolver.NewCachedPolicy(resolver.Entry{Domain: million(1000 + i), Policy: large,
			Fetched: now.Add(time.Hour), Used: now.Add(time.Hour), UsedDays: 1}, now))
		if cost := m.policies.Cost(); cost > bound {
			t.Fatalf("%d bytes after %d large policies", cost, i)
		}
	}
	lost := 0
	for i := range 1000 {
		if _, ok := m.Policy(million(i)); !ok {
			lost++
		}
	}
	if lost > 0 {
		t.Errorf("%d of 1000 policies in use are gone", lost)
	}
	if n := strings.Count(log.String(), "event=memory_full"); n != 1 {
		t.Errorf("%d lines, want 1:\n%s", n, log.String())
	}
	m.SetMaxBytes(1 << 20)
	if cost := m.policies.Cost(); cost > 1<<20 {
		t.Errorf("%d bytes after the bound was lowered to 1 MiB", cost)
	}
}
