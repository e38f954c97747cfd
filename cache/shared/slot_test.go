package shared

import (
	"fmt"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/cache/record"
	"github.com/stsmapd/stsmapd/cache/shared/enginetest"
	"github.com/stsmapd/stsmapd/cache/store/storetest"
	"github.com/stsmapd/stsmapd/resolver"
)

// first is the fetch of a host that has not failed, under the id 1.
var first = resolver.Attempt{ID: "1", Limit: resolver.MaxAttempts}

// TestAttempts: one host fetches at a time, and three may fail.
func TestAttempts(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, p enginetest.Program) {
		e := enginetest.Start(t, p)
		var hosts []*testHost
		for i := range 4 {
			opt := Options{Endpoint: mustEndpoint(t, "redis://"+e.Addr()), Host: fmt.Sprintf("mail-%d", i)}
			hosts = append(hosts, join(t, opt))
		}
		domain := storetest.Domain(1)
		claim := func(host int, a resolver.Attempt, want resolver.ClaimState, failed int) resolver.Claim {
			t.Helper()
			c := hosts[host].Claim(t.Context(), domain, a)
			if c.State != want || len(c.Failed) != failed || (c.Fail == nil) != (want != resolver.ClaimGranted) {
				t.Fatalf("host %d's claim: %+v, want %v after %d failures", host, c, want, failed)
			}
			return c
		}
		beside, again := first, first
		beside.Beside, again.Limit = true, resolver.MaxAttempts-1

		mine := claim(0, first, resolver.ClaimGranted, 0)
		claim(1, first, resolver.ClaimTaken, 0)
		claim(1, resolver.Attempt{ID: "2", Limit: 1}, resolver.ClaimGranted, 0).Release() // another id
		mine.Fail()
		mine.Fail() // it counts once
		mine.Release()
		two, three := claim(1, first, resolver.ClaimGranted, 1), claim(2, beside, resolver.ClaimGranted, 1)
		claim(3, beside, resolver.ClaimTaken, 1) // no fourth one, and two are under way
		claim(3, again, resolver.ClaimTaken, 1)
		two.Fail()
		claim(3, first, resolver.ClaimTaken, 2)
		three.Release()
		claim(0, again, resolver.ClaimRefused, 2)
		three = claim(3, first, resolver.ClaimGranted, 2)
		three.Fail()
		got := claim(2, beside, resolver.ClaimRefused, 3)
		names := ""
		for _, f := range got.Failed {
			names += f.Host + " "
			if age := time.Since(f.At); age < 0 || age > time.Minute {
				t.Errorf("%s failed %v ago", f.Host, age)
			}
		}
		if names != "mail-0 mail-1 mail-3 " {
			t.Errorf("failed on %s", names)
		}
		if s := hosts[0].Stats(); s.Refused != 1 || s.Granted != 1 {
			t.Errorf("%+v", s)
		}
		e.Do("DEL", hosts[0].engine.commands.slotKeys(domain, "1")[1]) // the engine's clock has ended it
		claim(2, first, resolver.ClaimGranted, 2)
	})
}

// TestSlotsOfOthers: what this version has not written, or not lately, keeps nobody from fetching.
func TestSlotsOfOthers(t *testing.T) {
	t.Parallel()
	e := enginetest.Start(t, enginetest.Redis(t))
	h := join(t, Options{Endpoint: mustEndpoint(t, "redis://"+e.Addr())})
	domain := storetest.Domain(1)
	text := func(state byte, age time.Duration) string {
		return slot{state, time.Now().Add(-age), "mail-a"}.String()
	}
	for _, c := range []struct {
		why, text string
		state     resolver.ClaimState
	}{
		{"a claim", text(slotClaim, time.Minute), resolver.ClaimTaken},
		{"a failure", text(slotFailed, time.Minute), resolver.ClaimRefused},
		{"of a clock that runs ahead a little", text(slotFailed, -time.Minute), resolver.ClaimRefused},
		{"of a clock that runs ahead", text(slotFailed, -time.Hour), resolver.ClaimGranted},
		{"a failure that was kept for longer than it counts", text(slotFailed, 6*time.Minute), resolver.ClaimGranted},
		{"a claim that nobody ends", text(slotClaim, 6*time.Minute), resolver.ClaimGranted},
		{"another version", "2" + text(slotFailed, 0)[1:], resolver.ClaimGranted},
		{"garbage", "garbage", resolver.ClaimGranted},
		{"empty", "", resolver.ClaimGranted},
	} {
		for _, key := range h.engine.commands.slotKeys(domain, "1") {
			e.Do("SET", key, c.text)
		}
		got := h.Claim(t.Context(), domain, first)
		if got.State != c.state {
			t.Errorf("%s: %+v, want %v", c.why, got, c.state)
		}
		if got.Release != nil {
			got.Release()
		}
	}
}

// TestOldFailure: a failure that an earlier version of stsmapd has written is not read, not called garbage, and
// is replaced.
func TestOldFailure(t *testing.T) {
	t.Parallel()
	e := enginetest.Start(t, enginetest.Redis(t))
	h := join(t, Options{Endpoint: mustEndpoint(t, "redis://"+e.Addr())})
	entry := fresh(1)
	old, err := record.Encode(entry) // sealed as a record, with the version of a failure
	if err != nil {
		t.Fatal(err)
	}
	old[1] = 0x81
	record.Seal(entry.Domain.String(), old)
	key := "stsmapd:{" + entry.Domain.String() + "}"
	e.Do("SET", key, fmt.Sprintf("F %d %s", entry.Fetched.UnixMilli(), old))
	if got := h.Find(t.Context(), entry.Domain); got != (resolver.SharedState{}) {
		t.Errorf("it is read as %+v", got)
	}
	c := h.Claim(t.Context(), entry.Domain, first)
	if c.State != resolver.ClaimGranted || e.Do("EXISTS", key) != "1" || h.Stats().Poisoned != 0 {
		t.Errorf("claim %+v, %d values called garbage", c, h.Stats().Poisoned)
	}
	h.Share(t.Context(), entry)
	c.Release()
	if !h.has(t, entry) {
		t.Error("a policy does not replace it")
	}
}
