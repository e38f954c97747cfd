package shared

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/cache/shared/enginetest"
	"github.com/stsmapd/stsmapd/cache/store/storetest"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// engines runs a test with each kind of engine.
func engines(t *testing.T, test func(t *testing.T, p enginetest.Program)) {
	for name, program := range map[string]func(testing.TB) enginetest.Program{
		"redis": enginetest.Redis, "valkey": enginetest.Valkey} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, program(t))
		})
	}
}

// TestConformance tests what a Fleet has in common with a store; what it does not promise is in storetest.Values.
func TestConformance(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, p enginetest.Program) {
		e := enginetest.Start(t, p)
		v := valuesOf(t, e)
		for why, entry := range storetest.Samples(storetest.Clock()) {
			if err := v.Put(t.Context(), entry); err != nil {
				t.Fatalf("%s: %v", why, err)
			}
			got, err := v.Get(t.Context(), entry.Domain)
			if err != nil || !storetest.Equal(entry, got) {
				t.Errorf("%s: got %+v, %v", why, got, err)
			}
		}
		e.Do("FLUSHALL")
		storetest.TestReplace(t, v)
		e.Do("FLUSHALL")
		storetest.TestConcurrent(t, v)
	})
}

func TestExpires(t *testing.T) {
	t.Parallel()
	e := enginetest.Start(t, enginetest.Redis(t))
	h := join(t, Options{Endpoint: mustEndpoint(t, "redis://"+e.Addr()), Prefix: "other:"})
	old := fresh(1)
	old.Fetched = old.Fetched.Add(-7*24*time.Hour + time.Minute) // a minute is left
	h.Share(t.Context(), old)
	if left := e.Do("PTTL", "other:{"+old.Domain.String()+"}"); left < "50000" || left > "60000" || len(left) != 5 {
		t.Errorf("the key lives for another %s ms, the policy for a minute", left)
	}
	ahead := fresh(2)
	ahead.Fetched = ahead.Fetched.Add(1000 * time.Hour)
	h.Share(t.Context(), ahead)
	if left := e.Do("PTTL", "other:{"+ahead.Domain.String()+"}"); len(left) > 9 || left > "604800000" {
		t.Errorf("a policy of a clock that runs ahead lives for %s ms, more than its max_age", left)
	}
	h.Share(t.Context(), storetest.Entry(3, storetest.Clock()))
	if e.Do("EXISTS", "other:{"+storetest.Domain(3).String()+"}") != "0" {
		t.Error("an expired policy was shared")
	}
	h.Claim(t.Context(), storetest.Domain(4), first).Fail()
	if left := e.Do("PTTL", "other:{"+storetest.Domain(4).String()+"}try1:1"); left < "280000" || left > "300000" {
		t.Errorf("a failed attempt lives for %s ms", left)
	}
}

func TestTellsOthers(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, p enginetest.Program) {
		e := enginetest.Start(t, p)
		a := join(t, Options{Endpoint: mustEndpoint(t, "redis://"+e.Addr()), Host: "a.example"})
		b := join(t, Options{Endpoint: mustEndpoint(t, "redis://"+e.Addr()), Host: "b.example"})
		a.drain()
		entry := fresh(1)
		a.Share(t.Context(), entry)
		b.hears(t, entry.Domain)
		got := b.Find(t.Context(), entry.Domain).Entry
		if got == nil || got.Origin != "a.example" {
			t.Errorf("b is told %+v, want a policy of a.example", got)
		}
		if mine := a.Find(t.Context(), entry.Domain).Entry; mine == nil || mine.Origin != "" {
			t.Errorf("a is told %+v, want its own policy", mine)
		}
		if err := b.End(t.Context(), entry.Domain, time.Now()); err != nil {
			t.Fatal(err)
		}
		a.hears(t, entry.Domain)
		if got := a.Find(t.Context(), entry.Domain); got.Entry != nil || got.Ended.IsZero() {
			t.Errorf("after the end: %+v", got)
		}
		a.Share(t.Context(), entry) // a push that comes late
		if got := b.Find(t.Context(), entry.Domain); got.Entry != nil {
			t.Errorf("an older push brought back what was forgotten: %+v", got)
		}
		again := fresh(1)
		again.Fetched = again.Fetched.Add(time.Millisecond)
		a.Share(t.Context(), again)
		if !b.has(t, again) {
			t.Error("a policy fetched after the end is not shared")
		}
		select {
		case d := <-a.heard:
			t.Errorf("a hears its own words about %s", d)
		default:
		}
	})
}

// TestMissed: each time that listening begins, also after the connection was lost, the listener is told that it may
// have missed something.
func TestMissed(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, p enginetest.Program) {
		e := enginetest.Start(t, p)
		h := open(t, Options{Endpoint: mustEndpoint(t, "redis://"+e.Addr())})
		for i := range int64(3) {
			testkit.Eventually(t, patience, "listening begins", func() bool { return h.began.Load() > i })
			e.Do("CLIENT", "KILL", "TYPE", "pubsub")
		}
	})
}

func TestClaim(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, p enginetest.Program) {
		e := enginetest.Start(t, p)
		a, b := join(t, Options{Endpoint: mustEndpoint(t, "redis://"+e.Addr())}),
			join(t, Options{Endpoint: mustEndpoint(t, "redis://"+e.Addr())})
		domain := storetest.Domain(1)
		mine := a.Claim(t.Context(), domain, first)
		if mine.State != resolver.ClaimGranted || mine.Entry != nil {
			t.Fatalf("first claim: %+v", mine)
		}
		begin := time.Now()
		for time.Since(begin) < claimLife+time.Second { // it is prolonged while it is held
			if got := b.Claim(t.Context(), domain, first); got.State != resolver.ClaimTaken {
				t.Fatalf("claim of another host after %v: %+v", time.Since(begin), got)
			}
			<-time.After(100 * time.Millisecond)
		}
		entry := fresh(1)
		a.Share(t.Context(), entry)
		mine.Release()
		second := b.Claim(t.Context(), domain, first)
		if second.State != resolver.ClaimGranted || second.Entry == nil || !second.Entry.Fetched.Equal(entry.Fetched) {
			t.Fatalf("claim after the release: %+v", second)
		}
		b.close() // it dies
		watch, died := testkit.StartWatch(t), time.Now()
		testkit.Eventually(t, patience, "the claim of a dead host ends", func() bool {
			return a.Claim(t.Context(), domain, first).State == resolver.ClaimGranted
		})
		if took := time.Since(died); took > watch.Limit(2*claimLife) {
			t.Errorf("the claim of a dead host took %v to end", took)
		}
	})
}

// TestPoison: nothing that somebody else wrote is believed or stays, and nothing of it reaches a question.
func TestPoison(t *testing.T) {
	t.Parallel()
	e := enginetest.Start(t, enginetest.Redis(t))
	h := join(t, Options{Endpoint: mustEndpoint(t, "redis://"+e.Addr())})
	good, err := policyValue(time.Now(), fresh(1), "a.example")
	if err != nil {
		t.Fatal(err)
	}
	elsewhere, err := policyValue(time.Now(), fresh(2), "a.example")
	if err != nil {
		t.Fatal(err)
	}
	domain := storetest.Domain(1)
	for _, c := range []struct{ why, value string }{
		{"no value", "hello"},
		{"empty but for its head", "P 1 "},
		{"a policy of another domain", elsewhere.text},
		{"a flipped bit", good.text[:len(good.text)-3] + "X" + good.text[len(good.text)-2:]},
		{"another time before the record than in it", "P 1" + good.text[2:]},
		{"a number with a zero before it", "P 0" + good.text[2:]},
		{"an unknown letter", "Q" + good.text[1:]},
		{"a policy said to be a failure", "F" + good.text[1:]},
		{"a policy said to be the end of one", "T" + good.text[1:]},
	} {
		key := "stsmapd:{" + domain.String() + "}"
		e.Do("SET", key, c.value)
		// What says that it is another version's is left alone.
		got := h.Find(t.Context(), domain)
		if got.Entry != nil || !got.Ended.IsZero() {
			t.Errorf("%s: believed: %+v", c.why, got)
		}
		if versioned := c.value[0] == 'F' || c.value[0] == 'T'; !versioned && e.Do("EXISTS", key) != "0" {
			t.Errorf("%s: it is still there", c.why)
		}
	}
	if h.Stats().Poisoned < 7 || len(h.log.Lines("event=shared_poisoned")) != 1 {
		t.Errorf("%d poisoned values, %d lines", h.Stats().Poisoned, len(h.log.Lines("event=shared_poisoned")))
	}
	for _, text := range []string{
		"", "hello", "1 short a.example", "1 0123456789abcdef no name", "2 0123456789abcdef a.example"} {
		e.Do("PUBLISH", "stsmapd:news", text)
	}
	testkit.Eventually(t, patience, "bad messages are counted", func() bool { return h.Stats().BadMessages == 5 })
}

// exercise has two hosts do all that hosts do.
func exercise(t *testing.T, a, b *testHost) {
	t.Helper()
	before := a.Stats()
	for i := range 20 { // in a cluster: on all nodes
		entry := fresh(i)
		c := a.Claim(t.Context(), entry.Domain, first)
		if c.State != resolver.ClaimGranted {
			t.Fatalf("claim of %s: %+v, log %v", entry.Domain, c, a.log.Lines("event="))
		}
		other := holding{claims: a.claims, slots: a.engine.commands.slotKeys(entry.Domain, first.ID), text: "not mine"}
		if other.become(other.text, claimLife) {
			t.Error("another host prolonged the claim")
		}
		a.Share(t.Context(), entry)
		c.Release()
		b.hears(t, entry.Domain)
		if !b.has(t, entry) {
			t.Fatalf("b does not know %s", entry.Domain)
		}
		if again := b.Claim(t.Context(), entry.Domain, first); again.State != resolver.ClaimGranted ||
			again.Entry == nil {
			t.Fatalf("claim of %s by b: %+v", entry.Domain, again)
		} else {
			again.Release()
		}
		if err := b.End(t.Context(), entry.Domain, time.Now()); err != nil {
			t.Fatal(err)
		}
		a.hears(t, entry.Domain)
		dead := resolver.Attempt{ID: senderName(rand.Uint64()), Limit: resolver.MaxAttempts}
		a.Claim(t.Context(), storetest.Domain(100+i), dead).Fail()
		c = b.Claim(t.Context(), storetest.Domain(100+i), dead)
		if c.State != resolver.ClaimGranted || len(c.Failed) != 1 {
			t.Fatalf("a failure is not told: %+v", c)
		}
		c.Release()
		if err := a.Offer(t.Context(), fresh(200+i)); err != nil {
			t.Fatal(err)
		}
	}
	if s := a.Stats(); s.Unwritten+s.Failed+s.Skipped+s.Unclaimed > before.Unwritten+before.Failed+before.Skipped+
		before.Unclaimed ||
		s.Poisoned+s.BadMessages+uint64(s.Queued) != 0 {
		t.Errorf("%+v, before %+v", s, before)
	}
}

func TestCluster(t *testing.T) {
	t.Parallel()
	nodes := enginetest.Cluster(t, enginetest.Redis(t))
	endpoint := mustEndpoint(t, "redis+cluster://"+enginetest.Addrs(nodes[:2]))
	a, b := join(t, Options{Endpoint: endpoint}), join(t, Options{Endpoint: endpoint})
	exercise(t, a, b)
	for i, n := range nodes {
		if n.Do("DBSIZE") == "0" {
			t.Errorf("node %d holds nothing", i)
		}
	}
}
