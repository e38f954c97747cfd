package storetest

import (
	"context"
	"iter"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
)

func mustPolicy(text string) mtasts.Policy {
	p, err := mtasts.ParsePolicy([]byte(text))
	if err != nil {
		panic("storetest: " + err.Error())
	}
	return p
}

// sample is an entry that a store must keep as it is.
type sample struct {
	why   string
	entry resolver.Entry
}

// Samples yields entries that every store must keep as they are, and why. Those that have expired at now are left out.
func Samples(now time.Time) iter.Seq2[string, resolver.Entry] {
	return func(yield func(string, resolver.Entry) bool) {
		for _, c := range entries() {
			if c.entry.Live(now) && !yield(c.why, c.entry) {
				return
			}
		}
	}
}

func entries() []sample {
	at := Clock()
	return []sample{
		{"every field", resolver.Entry{
			Domain: Domain(1), ID: "20260314T150926", Policy: Policy(0), Fetched: at, Checked: at.Add(time.Hour),
			Used: at.Add(2 * time.Hour),
			Failures: resolver.FetchFailures{
				Count: 7, ID: "Z", Since: at.Add(time.Minute), RetryAt: at.Add(9 * time.Hour),
				Alerted: at.Add(3 * time.Minute),
				Reason:  "HTTPS: x509: “zertifikat” abgelaufen\nline 2 \x00\xff"},
		}},
		{"fetched by another host",
			resolver.Entry{Domain: Domain(10), ID: "1", Policy: Policy(0), Fetched: at, Checked: at,
				Origin: "mail-2.example.net"}},
		{"never asked for, without an id: the zero time stays zero",
			resolver.Entry{Domain: Domain(2), Policy: Policy(0), Fetched: at, Checked: at}},
		{"failures that were not logged yet",
			resolver.Entry{Domain: Domain(3), Policy: Policy(0), Fetched: at, Checked: at,
				Failures: resolver.FetchFailures{Count: 1, Since: at, RetryAt: at.Add(5 * time.Minute)}}},
		{"mode none has no mx", resolver.Entry{
			Domain: Domain(4), ID: "1", Policy: mustPolicy("version: STSv1\nmode: none\nmax_age: 86400\n"), Fetched: at,
			Checked: at}},
		{"the policy's text is kept to the byte", resolver.Entry{Domain: Domain(5), ID: "1", Fetched: at, Checked: at,
			Policy: mustPolicy("mx: *.Example.COM  \n\nmax_age: 1\r\nversion: STSv1\nmode: testing")}},
		{"a large policy", resolver.Entry{
			Domain: Domain(6), ID: "1", Policy: Policy(60 << 10), Fetched: at, Checked: at}},
		{"expired long ago: the store does not care",
			resolver.Entry{Domain: Domain(7), ID: "1", Policy: Policy(0), Fetched: at.AddDate(-8, 0, 0), Checked: at}},
		{"parts of a second", resolver.Entry{
			Domain: Domain(8), ID: "1", Policy: Policy(0), Fetched: at.Add(999_999_999), Checked: at.Add(999_999_999)}},
		{"the longest id", resolver.Entry{
			Domain: Domain(9), ID: "abcdefghijklmnopqrstuvwxyz012345", Policy: Policy(0), Fetched: at, Checked: at}},
	}
}

func testRoundTrip(t *testing.T, s resolver.Store) {
	for _, c := range entries() {
		put(t, s, c.entry)
		expect(t, s, c.entry, c.why)
	}
	for _, c := range entries() {
		expect(t, s, c.entry, c.why+", after the others were put")
	}
}

func testNotCached(t *testing.T, s resolver.Store) {
	expectNone(t, s, Domain(1), "empty store")
	put(t, s, Entry(1, Clock()))
	expectNone(t, s, Domain(2), "another domain was put")
	expectNone(t, s, mustName("sub.d000001.example"), "a subdomain has no part in its parent's policy")
	expectNone(t, s, mustName("d00000.example"), "a name that begins alike")
}

func testReplace(t *testing.T, s resolver.Store) { TestReplace(t, s) }

// Values is the part of a resolver.Store that a memory of many hosts has too: there, what is put can go by itself, and
// what was deleted must not come back by an older Put.
type Values interface {
	Get(context.Context, dnsname.Name) (resolver.Entry, error)
	Put(context.Context, resolver.Entry) error
}

// TestReplace tests which of two entries stays.
func TestReplace(t *testing.T, s Values) {
	at := Clock()
	for i, c := range []struct {
		why            string
		first, second  [2]time.Duration // Fetched, Checked
		secondReplaces bool
	}{
		{"fetched later", [2]time.Duration{0, 0}, [2]time.Duration{time.Hour, time.Hour}, true},
		{"the same fetch, checked again", [2]time.Duration{0, 0}, [2]time.Duration{0, time.Hour}, true},
		{"fetched earlier", [2]time.Duration{time.Hour, time.Hour}, [2]time.Duration{0, 2 * time.Hour}, false},
		{"fetched a second earlier", [2]time.Duration{time.Second, time.Second}, [2]time.Duration{0, time.Second},
			false},
		{"the stored one was fetched in the future", [2]time.Duration{48 * time.Hour, 48 * time.Hour},
			[2]time.Duration{0, time.Hour}, true},
		{"the stored one was fetched just when the new one was checked", [2]time.Duration{time.Hour, time.Hour},
			[2]time.Duration{0, time.Hour}, false},
	} {
		before, after := Entry(i, at.Add(c.first[0])), Entry(i, at.Add(c.second[0]))
		before.Checked, after.Checked = at.Add(c.first[1]), at.Add(c.second[1])
		before.ID, after.ID = "before", "after"
		put(t, s, before)
		put(t, s, after)
		if c.secondReplaces {
			expect(t, s, after, c.why)
		} else {
			expect(t, s, before, c.why)
		}
	}
}

func testDelete(t *testing.T, s resolver.Store) {
	if err := s.Delete(t.Context(), Domain(1)); err != nil {
		t.Fatalf("deleting what is not there: %v", err)
	}
	put(t, s, Entry(1, Clock()))
	put(t, s, Entry(2, Clock()))
	if err := s.Delete(t.Context(), Domain(1)); err != nil {
		t.Fatal(err)
	}
	expectNone(t, s, Domain(1), "deleted")
	expect(t, s, Entry(2, Clock()), "its neighbour")
	earlier := Entry(1, Clock().Add(-time.Hour))
	put(t, s, earlier)
	expect(t, s, earlier, "after a deletion an older entry may come")
}

func testCancelled(t *testing.T, s resolver.Store) {
	put(t, s, Entry(1, Clock()))
	ctx, cancel := cancelled(t)
	defer cancel()
	for name, operation := range map[string]func() error{
		"Get":    func() error { _, err := s.Get(ctx, Domain(1)); return err },
		"Put":    func() error { return s.Put(ctx, Entry(2, Clock())) },
		"Delete": func() error { return s.Delete(ctx, Domain(3)) },
		"All": func() error {
			for _, err := range s.All(ctx) {
				if err != nil {
					return err
				}
			}
			return nil
		},
	} {
		began := time.Now()
		if err := operation(); err == nil || !isContext(err) {
			t.Errorf("%s with a cancelled context: %v", name, err)
		}
		if took := time.Since(began); took > soon {
			t.Errorf("%s with a cancelled context took %s", name, took)
		}
	}
	expect(t, s, Entry(1, Clock()), "the cancelled operations did no harm")
}

func testDurable(t *testing.T, s resolver.Store, reopen Reopen) {
	for _, c := range entries() {
		put(t, s, c.entry)
	}
	for i := range 300 {
		put(t, s, Entry(1000+i, Clock()))
	}
	for i := range 100 {
		if err := s.Delete(t.Context(), Domain(1000+3*i)); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		s = reopen(t, s)
		for _, c := range entries() {
			expect(t, s, c.entry, c.why+", after a restart")
		}
		for i := range 300 {
			if i%3 == 0 {
				expectNone(t, s, Domain(1000+i), "deleted before the restart")
			} else {
				expect(t, s, Entry(1000+i, Clock()), "after a restart")
			}
		}
		put(t, s, Entry(0, Clock().Add(-time.Hour)))
		stale := Entry(1001, Clock().Add(-time.Hour))
		stale.Checked = Clock()
		put(t, s, stale)
		expect(t, s, Entry(1001, Clock()), "what was fetched earlier is stale after a restart too")
	}
}
