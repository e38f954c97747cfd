package resolver

import (
	"errors"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/resolver/fault"
)

// TestPlan holds every rule of a policy's life that needs no I/O.
func TestPlan(t *testing.T) {
	now := decideAt
	day := 24 * time.Hour
	live := func(mode string, age time.Duration, failures FetchFailures) *CachedPolicy {
		e := heldPolicy(t, mode, age).Entry()
		e.Policy, e.Failures = policy(t, mode, 30*day), failures
		return NewCachedPolicy(e, now)
	}
	failing := func(id string, retry time.Duration) FetchFailures {
		return FetchFailures{Count: 1, ID: id, Since: now, RetryAt: now.Add(retry)}
	}
	errDNS := errors.New("SERVFAIL")
	same, other := announced{"1", time.Minute, now}, announced{"2", time.Minute, now}
	gone, mute := unannounced{ttl: 10 * time.Minute, at: now}, undiscovered{errDNS}
	waiting := &FetchFailed{Failures: failing("2", time.Minute), Err: errDNS}
	over := &FetchFailed{Failures: failing("2", -time.Second), Err: errDNS}
	in := func(d time.Duration) time.Time { return now.Add(d) }
	for _, c := range []struct {
		why    string
		known  *CachedPolicy
		before Negative
		d      discovery
		want   step
	}{
		{"the same id: nothing to do until the TXT record's TTL is over", live("enforce", time.Hour, FetchFailures{}),
			nil,
			same, note{in(time.Minute)}},
		{"a TTL of 1 s is looked at every 5 s", live("enforce", time.Hour, FetchFailures{}), nil,
			announced{"1", time.Second, now},
			note{in(minCheck)}},
		{"a TTL of a day is looked at every 5 min", live("enforce", time.Hour, FetchFailures{}), nil,
			announced{"1", day, now},
			note{in(maxCheck)}},
		{"a TTL counts from the answer, however long another host was waited for since", live("enforce", time.Hour,
			FetchFailures{}), nil, announced{"1", time.Minute, in(-6 * time.Second)}, note{in(54 * time.Second)}},
		{"a new id", live("enforce", time.Hour, FetchFailures{}), nil, other,
			fetchNow{id: "2", checkAt: in(time.Minute)}},
		{"a new id that failed, in its backoff", live("enforce", time.Hour, failing("2", time.Minute)), nil, other,
			note{in(time.Minute)}},
		{"a new id that failed, backoff over", live("enforce", time.Hour, failing("2", -time.Second)), nil, other,
			fetchNow{id: "2", checkAt: in(time.Minute)}},
		{"another new id is tried at once", live("enforce", time.Hour, failing("3", time.Minute)), nil, other,
			fetchNow{id: "2", checkAt: in(time.Minute)}},
		{"refresh due whatever the id", live("enforce", 27*time.Hour, FetchFailures{}), nil, same,
			fetchNow{id: "1", checkAt: in(time.Minute)}},
		{"refresh due but backing off", live("enforce", 27*time.Hour, failing("1", time.Minute)), nil, same,
			note{in(time.Minute)}},
		{"TXT gone: the live policy stands (RFC 8461 3.1)", live("enforce", time.Hour, FetchFailures{}), nil, gone,
			note{in(maxCheck)}},
		{"TXT gone: refreshed all the same, under the old id", live("enforce", 27*time.Hour, FetchFailures{}), nil,
			gone,
			fetchNow{id: "1", checkAt: in(maxCheck)}},
		{"TXT gone: a testing policy stands too", live("testing", time.Hour, FetchFailures{}), nil, gone,
			note{in(maxCheck)}},
		{"TXT gone and mode none: forgotten", live("none", time.Hour, FetchFailures{}), nil, gone,
			forget{noPolicy(now, 10*time.Minute)}},
		{"mode none with its TXT record stays", live("none", time.Hour, FetchFailures{}), nil, same,
			note{in(time.Minute)}},
		{"DNS mute: the live policy stands (RFC 8461 3.3)", live("enforce", time.Hour, FetchFailures{}), nil, mute,
			note{in(recheckFailed)}},
		{"DNS mute: mode none is not forgotten, for nothing was said", live("none", time.Hour, FetchFailures{}), nil,
			mute,
			note{in(recheckFailed)}},
		{"DNS mute: refreshed all the same", live("enforce", 27*time.Hour, FetchFailures{}), nil, mute,
			fetchNow{id: "1", checkAt: in(recheckFailed)}},

		{"first contact", nil, nil, same, fetchNow{id: "1", checkAt: in(time.Minute)}},
		{"no policy, for the negative TTL", nil, nil, gone, accept{noPolicy(now, 10*time.Minute)}},
		{"DNS mute with nothing live", nil, nil, mute,
			accept{&LookupFailed{Failures: 1, At: now, RetryAt: in(time.Minute), Err: errDNS}}},
		{"DNS mute again", nil, &LookupFailed{Failures: 1, At: in(-time.Minute), RetryAt: now}, mute,
			accept{&LookupFailed{Failures: 2, At: now, RetryAt: in(2 * time.Minute), Err: errDNS}}},
		{"the same id in its backoff: no second GET", nil, waiting, other,
			accept{&FetchFailed{Failures: waiting.Failures, At: now, CheckAt: in(time.Minute), Err: errDNS}}},
		{"a new id in another's backoff", nil, waiting, same, fetchNow{id: "1", checkAt: in(time.Minute)}},
		{"backoff over", nil, over, other, fetchNow{id: "2", checkAt: in(time.Minute)}},
		{"a policy appears where there was none", nil, noPolicy(now, 0), same,
			fetchNow{id: "1", checkAt: in(time.Minute)}},
	} {
		due := c.known != nil && !now.Before(c.known.Entry().NextCheck(day))
		got := plan(instant{now, now}, due, c.known, c.before, c.d)
		if !sameStep(got, c.want) {
			t.Errorf("%s: %+v, want %+v", c.why, got, c.want)
		}
	}
}

// sameStep compares steps, and what the pointers in a negative lead to.
func sameStep(a, b step) bool {
	x, ok := a.(accept)
	y, ok2 := b.(accept)
	if !ok || !ok2 {
		return a == b
	}
	switch p := x.negative.(type) {
	case *LookupFailed:
		q, ok := y.negative.(*LookupFailed)
		return ok && *p == *q
	case *FetchFailed:
		q, ok := y.negative.(*FetchFailed)
		return ok && *p == *q
	default:
		return x == y
	}
}

func TestNegativeBounds(t *testing.T) {
	for _, c := range []struct {
		why  string
		ttl  time.Duration
		want time.Duration
	}{
		{"no SOA in the answer", 0, time.Minute},
		{"shorter than a minute", 30 * time.Second, time.Minute},
		{"as the zone says", 10 * time.Minute, 10 * time.Minute},
		{"longer than an hour", 24 * time.Hour, time.Hour},
	} {
		a := noPolicy(decideAt, c.ttl)
		if !a.Fresh(decideAt.Add(c.want-time.Second)) || a.Fresh(decideAt.Add(c.want)) {
			t.Errorf("%s: TTL %v is not remembered for %v", c.why, c.ttl, c.want)
		}
	}
}

func TestBackoff(t *testing.T) {
	for failures, want := range []time.Duration{
		0, 5 * time.Minute, 10 * time.Minute, 20 * time.Minute, 40 * time.Minute, time.Hour, time.Hour} {
		if failures > 0 && fault.Backoff(failures, fetchBackoffMin, fetchBackoffMax) != want {
			t.Errorf("after %d failed fetches: %v, want %v", failures,
				fault.Backoff(failures, fetchBackoffMin, fetchBackoffMax), want)
		}
	}
	if got := fault.Backoff(1_000_000, lookupBackoffMin, lookupBackoffMax); got != lookupBackoffMax {
		t.Errorf("after a million failed lookups: %v", got)
	}
	first := FetchFailures{}.after(decideAt, "1", 1, "x")
	again := first.after(decideAt.Add(time.Hour), "1", 1, "y")
	if again.Count != 2 || !again.Since.Equal(decideAt) || again.RetryAt.Sub(decideAt) != time.Hour+10*time.Minute {
		t.Errorf("a second failure under the same id: %+v", again)
	}
	fresh := again.after(decideAt.Add(2*time.Hour), "2", 1, "z")
	if fresh.Count != 3 || fresh.RetryAt.Sub(decideAt) != 2*time.Hour+5*time.Minute {
		t.Errorf("a first failure under a new id: %+v", fresh)
	}
}
