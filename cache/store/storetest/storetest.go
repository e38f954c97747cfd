// Package storetest tests any resolver.Store by the words of that interface's comment. Every implementation runs it:
//
//	func TestConformance(t *testing.T) {
//		storetest.Run(t, open, reopen)
//	}
package storetest

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
)

// Open returns an empty store that closes itself when the test ends.
type Open func(t *testing.T) resolver.Store

// Reopen ends a store that Open or Reopen returned as a restart of stsmapd would, and returns one over the same data.
type Reopen func(t *testing.T, s resolver.Store) resolver.Store

// soon is how quickly an operation with a cancelled context must return.
const soon = 5 * time.Second

// Run tests the stores that open returns.
func Run(t *testing.T, open Open, reopen Reopen) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, resolver.Store)
	}{
		{"RoundTrip", testRoundTrip},
		{"NotCached", testNotCached},
		{"Replace", testReplace},
		{"Delete", testDelete},
		{"Walk", testWalk},
		{"WalkBreaks", testWalkBreaks},
		{"WalkUnderPuts", testWalkUnderPuts},
		{"Concurrent", testConcurrent},
		{"OwnOrder", testOwnOrder},
		{"Cancelled", testCancelled},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, open(t)) })
	}
	t.Run("Durable", func(t *testing.T) { testDurable(t, open(t), reopen) })
}

// Clock is the instant that the entries of these tests count from.
func Clock() time.Time { return time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC) }

// Domain returns the i-th domain of these tests.
func Domain(i int) dnsname.Name { return dnsname.MustParse(fmt.Sprintf("d%06d.example", i)) }

// Policy returns a valid policy whose text is n bytes longer than need be.
func Policy(n int) mtasts.Policy {
	text := "version: STSv1\r\nmode: enforce\r\nmx: mx1.example.com\r\nmx: *.example.net\r\nmax_age: 604800\r\n"
	for n > 0 { // unknown fields are part of the text
		line := min(n, 100)
		text += "x: " + strings.Repeat("y", max(line-5, 1)) + "\r\n"
		n -= line
	}
	p, err := mtasts.ParsePolicy([]byte(text))
	if err != nil {
		panic(fmt.Sprintf("storetest: %v", err))
	}
	return p
}

// Entry returns a plain entry of the i-th domain, fetched and checked at the given time.
func Entry(i int, at time.Time) resolver.Entry {
	return resolver.Entry{Domain: Domain(i), ID: fmt.Sprintf("id%d", i), Policy: Policy(0), Fetched: at, Checked: at,
		Used: at}
}

// Equal reports whether an entry that was read is the one that was put: all times to the second, all else exactly.
func Equal(put, got resolver.Entry) bool {
	same := func(a, b time.Time) bool {
		return a.IsZero() == b.IsZero() && a.Unix() == b.Unix() && b.Location() == time.UTC
	}
	p, g := put.Failures, got.Failures
	return put.Domain == got.Domain && put.Origin == got.Origin && put.UsedDays == got.UsedDays &&
		put.Network == got.Network && put.ID == got.ID && put.Policy == got.Policy &&
		same(put.Fetched, got.Fetched) && same(put.Checked, got.Checked) && same(put.Used, got.Used) &&
		p.Count == g.Count && p.ID == g.ID && p.Reason == g.Reason &&
		same(p.Since, g.Since) && same(p.RetryAt, g.RetryAt) && same(p.Alerted, g.Alerted)
}

func put(t *testing.T, s Values, e resolver.Entry) {
	t.Helper()
	if err := s.Put(t.Context(), e); err != nil {
		t.Fatalf("Put(%s): %v", e.Domain, err)
	}
}

func expect(t *testing.T, s Values, want resolver.Entry, why string) {
	t.Helper()
	got, err := s.Get(t.Context(), want.Domain)
	if err != nil {
		t.Fatalf("%s: Get(%s): %v", why, want.Domain, err)
	}
	if !Equal(want, got) {
		t.Fatalf("%s: Get(%s)\n got %+v\nwant %+v", why, want.Domain, got, want)
	}
}

func expectNone(t *testing.T, s resolver.Store, domain dnsname.Name, why string) {
	t.Helper()
	if got, err := s.Get(t.Context(), domain); !errors.Is(err, resolver.ErrNotCached) {
		t.Fatalf("%s: Get(%s) = %+v, %v; want ErrNotCached", why, domain, got, err)
	}
}

// walk returns what All yields, and fails on an error or a domain met twice.
func walk(t *testing.T, s resolver.Store) map[dnsname.Name]resolver.Entry {
	t.Helper()
	found := map[dnsname.Name]resolver.Entry{}
	for e, err := range s.All(t.Context()) {
		if err != nil {
			t.Fatalf("All: %v (domain %q)", err, e.Domain)
		}
		if _, twice := found[e.Domain]; twice {
			t.Fatalf("All yields %s twice", e.Domain)
		}
		found[e.Domain] = e
	}
	return found
}
