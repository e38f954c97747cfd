package resolver_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsclient"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/memorytest"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
	"github.com/stsmapd/stsmapd/resolver/testkit"

	"github.com/stsmapd/stsmapd/resolver/fetch"
)

const (
	minute = time.Minute
	day    = 24 * time.Hour
)

// pass lets the bubble's clock run on.
func pass(d time.Duration) { <-time.After(d) }

var errMute = errors.New("SERVFAIL")

// world is the DNS and the policy hosts as a test wants them, and a store; it counts what it is asked.
type world struct {
	t testing.TB

	mu     sync.Mutex
	ids    map[string]string // domain to id; absent: no TXT record
	ttl    time.Duration     // of TXT records, and the negative TTL
	mute   bool              // the DNS fails
	files  map[string]string // domain to policy body; absent: the fetch fails
	mx     map[string]string // domain to MX host; absent: mx.example.test
	delay  time.Duration     // of each lookup and each fetch
	txts   int
	gets   int
	stored map[dnsname.Name]resolver.Entry
	broken error // what the store's writes fail with
	puts   int

	tlsrpt        map[string][]string // domain to TLSRPT records
	tlsrptLookups int
	mxLookups     int

	ahead time.Duration // how far the wall clock has been set ahead
	log   testkit.Log
}

func newWorld(t testing.TB) *world {
	return &world{t: t, ids: map[string]string{}, files: map[string]string{}, mx: map[string]string{}, ttl: 5 * minute,
		stored: map[dnsname.Name]resolver.Entry{}}
}

// start makes a service of the world, with an empty memory: a restart. The test closes it.
func (w *world) start() *resolver.Service { return w.startWith(nil) }

// startWith is start in a fleet.
func (w *world) startWith(fleet resolver.Fleet) *resolver.Service {
	s := resolver.NewService(resolver.Options{
		DANEMemory: &memorytest.Findings{}, Now: w.now,
		Fleet:    fleet,
		Settings: resolver.Settings{DNS: w, Fetcher: w},
		Store:    w,
		Memory:   memorytest.New(),
		Logger:   slog.New(slog.NewTextHandler(&w.log, nil)),
	})
	return s
}

// now is the wall clock: the bubble's, and how far somebody has set it ahead.
func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().UTC().Round(0).Add(w.ahead)
}

// run starts the service's upkeep and ends both with the test's bubble.
func (w *world) run() (s *resolver.Service, stop func()) {
	s = w.start()
	return s, runUpkeep(s)
}

// runUpkeep starts a service's upkeep; the function that it returns ends both.
func runUpkeep(s *resolver.Service) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Run(ctx)
	}()
	return func() { cancel(); s.Close(); <-done }
}

func body(mode string, maxAge time.Duration, mx ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "version: STSv1\nmode: %s\nmax_age: %d\n", mode, int(maxAge/time.Second))
	for _, m := range mx {
		fmt.Fprintf(&b, "mx: %s\n", m)
	}
	return b.String()
}

// publish sets a domain's id and file; "" takes that one away.
func (w *world) publish(domain, id, file string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.ids, domain)
	delete(w.files, domain)
	if id != "" {
		w.ids[domain] = id
	}
	if file != "" {
		w.files[domain] = file
	}
}

func (w *world) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

// counts returns the TXT lookups and GETs since it was last called.
func (w *world) counts() (txts, gets int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	txts, gets = w.txts, w.gets
	w.txts, w.gets = 0, 0
	return txts, gets
}

func (w *world) want(why string, txts, gets int) {
	w.t.Helper()
	if gotTXT, gotGET := w.counts(); gotTXT != txts || gotGET != gets {
		w.t.Errorf("%s: %d TXT lookups and %d GETs, want %d and %d", why, gotTXT, gotGET, txts, gets)
	}
}

// events counts the log lines of an event.
func (w *world) events(event string) int {
	return strings.Count(strings.ReplaceAll(w.log.String(), "\n", " "), " event="+event+" ")
}

func (w *world) TXT(ctx context.Context, name string) (dnsclient.Answer[string], error) {
	if err := w.travel(ctx); err != nil {
		return dnsclient.Answer[string]{}, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if domain, ok := strings.CutPrefix(name, "_smtp._tls."); ok {
		w.tlsrptLookups++
		return dnsclient.Answer[string]{Records: w.tlsrpt[domain], TTL: w.ttl}, nil
	}
	w.txts++
	domain, ok := strings.CutPrefix(name, "_mta-sts.")
	if !ok {
		w.t.Errorf("unexpected TXT lookup of %s", name)
	}
	if w.mute {
		return dnsclient.Answer[string]{}, errMute
	}
	if id, ok := w.ids[domain]; ok {
		return dnsclient.Answer[string]{Records: []string{"v=STSv1; id=" + id}, TTL: w.ttl}, nil
	}
	return dnsclient.Answer[string]{Denial: dnsclient.NXDomain, TTL: w.ttl}, nil
}

// travel lets the network's delay go by.
func (w *world) travel(ctx context.Context) error {
	w.mu.Lock()
	delay := w.delay
	w.mu.Unlock()
	return testkit.Pause(ctx, delay)
}

func (w *world) Fetch(ctx context.Context, domain dnsname.Name) (mtasts.Policy, error) {
	if err := w.travel(ctx); err != nil {
		return mtasts.Policy{}, &fetch.Error{Domain: domain, Kind: fetch.Unreachable, Err: err}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gets++
	file, ok := w.files[domain.String()]
	if !ok {
		return mtasts.Policy{}, &fetch.Error{
			Domain: domain, Kind: fetch.Unreachable, Err: errors.New("connection refused")}
	}
	p, err := mtasts.ParsePolicy([]byte(file))
	if err != nil {
		return p, &fetch.Error{Domain: domain, Kind: fetch.Invalid, Err: err}
	}
	return p, nil
}

// The lookups that discovery has no need of.

func (w *world) A(context.Context, string) (a dnsclient.Answer[netip.Addr], err error) {
	w.t.Error("unexpected A lookup")
	return a, errMute
}

func (w *world) AAAA(context.Context, string) (a dnsclient.Answer[netip.Addr], err error) {
	w.t.Error("unexpected AAAA lookup")
	return a, errMute
}

func (w *world) MX(_ context.Context, domain string) (dnsclient.Answer[dnsclient.MX], error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mxLookups++
	if w.mute {
		return dnsclient.Answer[dnsclient.MX]{}, errMute
	}
	return dnsclient.Answer[dnsclient.MX]{Records: []dnsclient.MX{{Preference: 10, Host: w.mxOf(domain)}}, TTL: w.ttl},
		nil
}

// mxOf is the domain's MX host: mx.example.test, unless a test said otherwise.
func (w *world) mxOf(domain string) string {
	if mx, ok := w.mx[domain]; ok {
		return mx
	}
	return "mx.example.test"
}

func (w *world) TLSA(context.Context, string) (a dnsclient.Answer[dnsclient.TLSA], err error) {
	w.t.Error("unexpected TLSA lookup")
	return a, errMute
}

// The store: a disk that a test can make fail.

// size is how many policies the store holds.
func (w *world) size() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.stored)
}

func (w *world) holds(domain string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, ok := w.stored[dnsname.MustParse(domain)]
	return ok
}

func (w *world) Get(_ context.Context, domain dnsname.Name) (resolver.Entry, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e, ok := w.stored[domain]
	if !ok {
		return e, resolver.ErrNotCached
	}
	return e, nil
}

func (w *world) Put(_ context.Context, e resolver.Entry) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.puts++
	if w.broken != nil {
		return w.broken
	}
	if old, ok := w.stored[e.Domain]; ok && old.Fetched.After(e.Fetched) && !old.Fetched.After(e.Checked) {
		return nil
	}
	w.stored[e.Domain] = e
	return nil
}

func (w *world) Delete(_ context.Context, domain dnsname.Name) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken != nil {
		return w.broken
	}
	delete(w.stored, domain)
	return nil
}

// Len implements resolver.Store.
func (w *world) Len() int { return w.size() }

func (w *world) All(context.Context) iter.Seq2[resolver.Entry, error] {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := make([]resolver.Entry, 0, len(w.stored))
	for _, e := range w.stored {
		all = append(all, e)
	}
	return func(yield func(resolver.Entry, error) bool) {
		for _, e := range all {
			if !yield(e, nil) {
				return
			}
		}
	}
}
