package due

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/fair"
)

const day = 24 * time.Hour

func begin() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }

// item is due at the beginning, and has the part left of a max_age of ten days.
func item(domain string, left float64, network fair.Network) Item {
	return Item{Domain: dnsname.MustParse(domain), At: begin(), MaxAge: 10 * day, Network: network,
		Expires: begin().Add(time.Duration(left * float64(10*day)))}
}

func filled(items ...Item) *Queue {
	q := New(0)
	q.Extend(begin().Add(time.Hour))
	for _, i := range items {
		q.Add(begin(), i)
	}
	return q
}

func wantNext(t *testing.T, why string, q *Queue, now time.Time, size int, want string) {
	t.Helper()
	got, _ := q.Next(now, time.Minute, size)
	if got.String() != want {
		t.Errorf("%s: %q is next, want %q", why, got, want)
	}
}

// TestUrgencyOrders: of what is due, what has the smallest part of its max_age left goes first, whatever was due first;
// and that changes with time.
func TestUrgencyOrders(t *testing.T) {
	brief := Item{Domain: dnsname.MustParse("brief.test"), At: begin(), MaxAge: time.Hour,
		Expires: begin().Add(50 * time.Minute)}
	first := item("first.test", 0.4, 0)
	first.At = begin().Add(-time.Hour)
	q := filled(first, item("soon.test", 0.1, 0), brief, item("dropped.test", 0.01, 0), item("later.test", 0.6, 0))
	q.Drop(dnsname.MustParse("dropped.test"))
	wantNext(t, "a tenth is left", q, begin(), 40, "soon.test")
	wantNext(t, "a third of an hour is less than four tenths", q, begin().Add(31*time.Minute), 40, "brief.test")
	wantNext(t, "four tenths", q, begin().Add(31*time.Minute), 40, "first.test")
	wantNext(t, "the rest", q, begin().Add(31*time.Minute), 40, "later.test")
	wantNext(t, "nothing is left", q, begin().Add(31*time.Minute), 40, "")
}

// TestOwnerWaits: an owner who has its share in progress waits, however urgent, and passes on what it cannot use.
func TestOwnerWaits(t *testing.T) {
	q := filled(item("a.slow.test", 0.01, 0), item("b.slow.test", 0.02, 0), item("c.slow.test", 0.03, 7),
		item("d.slow.test", 0.04, 0), item("host1.test", 0.05, 7), item("host2.test", 0.06, 7), item("x.test", 0.9, 0))
	now := begin()
	wantNext(t, "the most urgent", q, now, 4, "a.slow.test")
	wantNext(t, "its registrable domain waits", q, now, 4, "host1.test")
	wantNext(t, "the network waits too", q, now, 4, "x.test")
	wantNext(t, "all others wait", q, now, 4, "")
	q.Done(dnsname.MustParse("a.slow.test"), nil)
	wantNext(t, "the next of the registrable domain", q, now, 4, "b.slow.test")
	q.Done(dnsname.MustParse("b.slow.test"), nil)
	wantNext(t, "c waits for the network, so that it is d's turn", q, now, 4, "d.slow.test")
	q.Done(dnsname.MustParse("d.slow.test"), nil)
	wantNext(t, "nobody but the network's", q, now, 4, "")
	q.Done(dnsname.MustParse("host1.test"), nil)
	wantNext(t, "the most urgent of the network", q, now, 4, "c.slow.test")
	q.Done(dnsname.MustParse("c.slow.test"), nil)
	wantNext(t, "the last", q, now, 4, "host2.test")
}

// TestDoneAgain: a refresh that failed comes again at its time; one that is queued already is not doubled.
func TestDoneAgain(t *testing.T) {
	i := item("a.test", 0.5, 0)
	q := filled(i)
	wantNext(t, "due", q, begin(), 4, "a.test")
	q.Add(begin(), i)
	wantNext(t, "in progress", q, begin(), 4, "")
	i.At = begin().Add(time.Minute)
	q.Done(i.Domain, &i)
	wantNext(t, "not yet", q, begin(), 4, "")
	if _, wait := q.Next(begin(), time.Hour, 4); wait != time.Minute {
		t.Errorf("waits %v, want a minute", wait)
	}
	i.At = begin()
	q.Add(begin(), i)
	wantNext(t, "an overdue one changes nothing", q, begin(), 4, "")
	wantNext(t, "again", q, begin().Add(time.Minute), 4, "a.test")
	i.At = begin().Add(2 * time.Hour)
	q.Done(i.Domain, &i)
	if all, _ := q.Count(begin()); all != 0 {
		t.Error("what is due after the horizon is held")
	}
}

// TestHasten: a refresh that waits for its next try comes at once; one in progress once more, unless it is dropped.
func TestHasten(t *testing.T) {
	i, later := item("a.test", 0.5, 0), item("a.test", 0.5, 0)
	later.At = begin().Add(time.Minute)
	q := filled(later)
	wantNext(t, "not yet", q, begin(), 4, "")
	q.Hasten(i)
	wantNext(t, "hastened", q, begin(), 4, "a.test")
	q.Hasten(i)
	wantNext(t, "in progress", q, begin(), 4, "")
	q.Done(i.Domain, &later)
	wantNext(t, "once more", q, begin(), 4, "a.test")
	q.Done(i.Domain, &later)
	wantNext(t, "its next try", q, begin(), 4, "")
	wantNext(t, "at its time", q, later.At, 4, "a.test")
	q.Hasten(i)
	q.Drop(i.Domain)
	q.Done(i.Domain, nil)
	wantNext(t, "dropped", q, later.At, 4, "")
}

// TestNothingIsLost: whatever owners wait for each other, all is taken in the end, none above its share.
func TestNothingIsLost(t *testing.T) {
	for round := range 20 {
		var items []Item
		for n := range 300 {
			items = append(items, item(fmt.Sprintf("n%d.o%d.test", n, rand.IntN(10)), rand.Float64(),
				fair.Network(rand.IntN(6))))
		}
		q := filled(items...)
		for _, i := range items[:50] {
			if rand.IntN(2) == 0 {
				q.Drop(i.Domain)
			}
		}
		want, _ := q.Count(begin())
		var running []dnsname.Name
		taken, now := 0, begin()
		for {
			if domain, _ := q.Next(now, time.Minute, 12); !domain.IsZero() {
				running = append(running, domain)
				taken++
				continue
			}
			if len(running) == 0 {
				break
			}
			for o, n := range q.held {
				if n > 3 {
					t.Fatalf("round %d: %v has %d", round, o, n)
				}
			}
			at := rand.IntN(len(running))
			q.Done(running[at], nil)
			running[at] = running[len(running)-1]
			running = running[:len(running)-1]
			now = now.Add(time.Duration(rand.IntN(60)) * time.Second)
		}
		if taken != want || len(q.held)+len(q.taken)+len(q.parked)+len(q.due) != 0 {
			t.Fatalf("round %d: %d of %d taken; left: %d held, %d parked, %d due", round, taken, want, len(q.held),
				len(q.parked), len(q.due))
		}
	}
}

// TestNextSortsSomeAtOnce: one owner's thousands of policies hold the lock for one call's worth at a time, and hide
// nobody else's.
func TestNextSortsSomeAtOnce(t *testing.T) {
	const slow, share = 3*sortAtOnce + 1, 10
	items := []Item{item("other.test", 0.9, 0)}
	for n := range slow {
		items = append(items, item(fmt.Sprintf("n%d.slow.test", n), 0.1, 0))
	}
	q := filled(items...)
	again := 0
	next := func() string {
		for {
			domain, wait := q.Next(begin(), time.Minute, 4*share)
			if !domain.IsZero() || wait > 0 {
				return domain.String()
			}
			if again++; again > 10*len(items)/sortAtOnce {
				t.Fatal("it never says that nothing is left to sort")
			}
		}
	}
	taken, running := map[string]bool{}, []string{}
	for range share {
		running = append(running, next())
		taken[running[len(running)-1]] = true
	}
	if taken["other.test"] || again < slow/sortAtOnce {
		t.Errorf("%d calls in between for %d items; taken: %v", again, slow, taken)
	}
	if got := next(); got != "other.test" {
		t.Errorf("%q is next, want the one of the other owner", got)
	}
	if got := next(); got != "" {
		t.Errorf("%q is next, want none", got)
	}
	for len(taken) < slow {
		q.Done(dnsname.MustParse(running[0]), nil)
		name := next()
		if name == "" || taken[name] {
			t.Fatalf("%q after %d of %d", name, len(taken), slow)
		}
		taken[name], running = true, append(running[1:], name)
	}
}
