package torture

import (
	"context"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/cache/store"
	"github.com/stsmapd/stsmapd/resolver"
)

// No namespace holds a wall clock, and a Go program asks the kernel for it, not libc: the clock of a running process
// cannot be stepped here without stepping the machine's. What a step between two processes leaves behind can be made,
// though: a store whose times are by another clock. Steps under a running service are in package resolver's tests
// (TestClockTrip and others).

const (
	day  = 24 * time.Hour
	year = 365 * day
)

func clockFaults() []fault {
	return []fault{
		{name: "clock set back a day, restart", run: func(t *testing.T, r *rig) { setBack(t, r, day) }},
		{name: "clock set back a year, restart", run: func(t *testing.T, r *rig) { setBack(t, r, year) }},
		{name: "clock ahead a day, and back", run: func(t *testing.T, r *rig) { ahead(t, r, day) }},
		{name: "clock ahead a year, and back", run: func(t *testing.T, r *rig) { ahead(t, r, year) }},
	}
}

// setBack starts the daemon with a store whose times are all in the future. The policies must be answered, and count
// from now on.
func setBack(t *testing.T, r *rig, step time.Duration) {
	for range rounds(5, 1) {
		r.end(t)
		r.shift(t, step)
		r.injected++
		end := time.Now()
		r.d.Start(t)
		r.remembers(t, r.oracle.Known())
		r.recovers(t, end)
		r.census(t)
		r.end(t)
		for _, e := range r.entries(t) {
			if e.Fetched.After(time.Now()) {
				t.Errorf("%s counts as fetched at %v: it would live for so much too long", e.Domain, e.Fetched)
			}
		}
		r.d.Start(t)
	}
}

// ahead: the daemon runs for a while by a clock that is ahead, by which policies may be over, and then by the right one
// again. None is gone.
func ahead(t *testing.T, r *rig, step time.Duration) {
	for range rounds(5, 1) {
		r.end(t)
		r.shift(t, -step)
		r.injected++
		r.p.Dead.Store(true)
		r.d.Start(t)
		for _, domain := range r.oracle.Known()[:3] { // not judged: the oracle has the right clock
			if _, err := r.askRaw(domain); err != nil {
				t.Errorf("asking for %s: %v", domain, err)
			}
		}
		r.p.Dead.Store(false)
		r.end(t)
		r.shift(t, step)
		end := time.Now()
		r.d.Start(t)
		r.remembers(t, r.oracle.Known())
		r.recovers(t, end)
	}
}

// askRaw asks without judging the answer.
func (r *rig) askRaw(domain string) (string, error) {
	a := NewAsker(NewOracle(r.p), r.d.Address)
	defer a.Close()
	return a.Ask(domain)
}

// end stops the daemon as systemd does.
func (r *rig) end(t *testing.T) {
	t.Helper()
	r.d.Signal(t, syscall.SIGTERM)
	if code := r.d.Wait(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// entries reads the store of a daemon that has ended.
func (r *rig) entries(t *testing.T) []resolver.Entry {
	t.Helper()
	store, err := store.Open(r.d.Store(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	var all []resolver.Entry
	for e, err := range store.All(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

// shift moves all times in the store.
func (r *rig) shift(t *testing.T, by time.Duration) {
	t.Helper()
	all := r.entries(t)
	if err := os.Remove(r.d.Store()); err != nil {
		t.Fatal(err)
	}
	store, err := store.Open(r.d.Store(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	for _, e := range all {
		e.Fetched, e.Checked, e.Used = e.Fetched.Add(by), e.Checked.Add(by), e.Used.Add(by)
		if err := store.Put(context.Background(), e); err != nil {
			t.Fatal(err)
		}
	}
}
