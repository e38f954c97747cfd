package shared

import (
	"context"
	"errors"
	"flag"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/stsmapd/stsmapd/cache/shared/enginetest"
	"github.com/stsmapd/stsmapd/cache/store/storetest"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

const (
	// generous is the budget of tests that say nothing about time.
	generous = 5 * time.Second
	// patience is for what comes by itself.
	patience = testkit.Hang
)

// testHost is one end of a shared engine, with what it logs and hears.
type testHost struct {
	*Fleet
	log   *testkit.Log
	heard chan dnsname.Name
	times atomic.Int64 // that the engine was found to have lost its memory
	began atomic.Int64 // how often listening began
}

// Heard implements resolver.FleetListener.
func (h *testHost) Heard(d dnsname.Name) { h.heard <- d }

// Missed implements resolver.FleetListener.
func (h *testHost) Missed() { h.began.Add(1) }

// Renewed implements resolver.FleetListener.
func (h *testHost) Renewed() { h.times.Add(1) }

func mustEndpoint(t *testing.T, text string) Endpoint {
	t.Helper()
	e, err := ParseEndpoint(text)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// join opens a Fleet and waits until it is connected and listens.
func join(t *testing.T, opt Options) *testHost {
	t.Helper()
	h := open(t, opt)
	h.awaitWell(t)
	probe := open(t, Options{Endpoint: opt.Endpoint, Prefix: opt.Prefix, Budget: generous})
	probe.awaitWell(t)
	testkit.Eventually(t, patience, "the host hears what another tells", func() bool {
		probe.Share(t.Context(), fresh(999_999))
		select {
		case <-h.heard:
			return true
		case <-time.After(50 * time.Millisecond):
			return false
		}
	})
	probe.close()
	h.drain()
	return h
}

// open opens a Fleet with its watch.
func open(t *testing.T, opt Options) *testHost {
	h := &testHost{log: &testkit.Log{}, heard: make(chan dnsname.Name, 10_000)}
	opt.Logger = h.log.Logger()
	if opt.Budget == 0 {
		opt.Budget = generous
	}
	if opt.Host == "" {
		opt.Host = "host.example"
	}
	h.Fleet = Open(opt)
	ctx, cancel := context.WithCancel(context.Background())
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		h.Watch(ctx, h)
	}()
	t.Cleanup(sync.OnceFunc(func() { cancel(); <-watched; h.Fleet.Close() }))
	return h
}

func (h *testHost) close() { h.Fleet.Close() }

// drain forgets what was heard, until it is quiet for a moment.
func (h *testHost) drain() {
	for {
		select {
		case <-h.heard:
		case <-time.After(200 * time.Millisecond):
			return
		}
	}
}

func (h *testHost) awaitWell(t *testing.T) {
	t.Helper()
	testkit.Eventually(t, patience, "the engine is found to be well", func() bool { return !h.Failing() })
}

func (h *testHost) awaitFailing(t *testing.T) {
	t.Helper()
	testkit.Eventually(t, patience, "the engine is found to fail", func() bool { return h.Failing() })
}

// hears waits until something is heard of a domain.
func (h *testHost) hears(t *testing.T, domain dnsname.Name) {
	t.Helper()
	limit := time.After(patience)
	for {
		select {
		case d := <-h.heard:
			if d == domain {
				return
			}
		case <-limit:
			t.Fatalf("nothing was heard of %s", domain)
		}
	}
}

// has reports whether the engine has a policy as new as e.
func (h *testHost) has(t *testing.T, e resolver.Entry) bool {
	t.Helper()
	got := h.Find(t.Context(), e.Domain)
	return got.Entry != nil && got.Entry.Fetched.UnixMilli() == e.Fetched.UnixMilli()
}

// fresh is an entry fetched now, to the millisecond.
func fresh(i int) resolver.Entry {
	return storetest.Entry(i, time.Now().UTC().Truncate(time.Millisecond))
}

// asValues is a Fleet as storetest sees it. Its clock says what the entry that is put last says.
type asValues struct {
	*testHost
	clock *atomic.Int64
}

func (v asValues) Put(ctx context.Context, e resolver.Entry) error {
	v.clock.Store(e.Checked.UnixMilli())
	value, err := policyValue(v.engine.now(), e, v.values.host)
	if err != nil {
		return err
	}
	return v.values.put(ctx, outgoing{domain: e.Domain, value: value})
}

func (v asValues) Get(ctx context.Context, domain dnsname.Name) (resolver.Entry, error) {
	if t := v.Find(ctx, domain); t.Entry != nil {
		return *t.Entry, nil
	}
	return resolver.Entry{}, errors.Join(resolver.ErrNotCached, ctx.Err())
}

func valuesOf(t *testing.T, e *enginetest.Engine) asValues {
	clock := &atomic.Int64{}
	clock.Store(storetest.Clock().UnixMilli())
	h := open(t, Options{Endpoint: mustEndpoint(t, "redis://"+e.Addr()),
		Now: func() time.Time { return time.UnixMilli(clock.Load()).UTC() }})
	h.awaitWell(t)
	return asValues{h, clock}
}

func TestMain(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		_ = flag.Set("test.parallel", "12") // those that run at a time wait for an engine, most of the time
	}
	goleak.VerifyTestMain(m)
}

// failingEntry is an entry with every field set, with times to the millisecond.
func failingEntry() resolver.Entry {
	at := storetest.Clock().Add(123 * time.Millisecond)
	e := storetest.Entry(1, at)
	e.Failures = resolver.FetchFailures{
		Count: 3, ID: "20260101", Since: at, RetryAt: at.Add(time.Hour), Reason: "HTTPS: certificate expired"}
	return e
}
