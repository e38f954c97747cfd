package dane

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/resolver/dnsclient"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// testZone is what a fakeDNS says, by type and name: "MX example.test". A value is a list of records, MX hosts with
// "20/" before them where their preference is not 10; or "" where there are none of the type, NXDOMAIN, or SERVFAIL; or
// "-> name" for an alias. What is not in it must not be asked, but for AAAA records of a name whose A records are:
// there are none.
type testZone map[string]string

// with is the zone with some values changed.
func (z testZone) with(changes testZone) testZone {
	z = maps.Clone(z)
	maps.Copy(z, changes)
	return z
}

// twoHosts is a domain whose MX hosts all have DANE.
func twoHosts() testZone {
	return testZone{
		"MX example.test":                "mx1.example.test mx2.example.test",
		"A mx1.example.test":             "192.0.2.1",
		"AAAA mx1.example.test":          "2001:db8::1",
		"TLSA _25._tcp.mx1.example.test": "3-1-1",
		"A mx2.example.test":             "192.0.2.2",
		"TLSA _25._tcp.mx2.example.test": "3-1-1",
	}
}

// tlsaRecord is the TLSA record that a zone names by a word.
func tlsaRecord(word string) dnsclient.TLSA {
	switch word {
	case "3-1-1":
		return dnsclient.TLSA{Usage: 3, Selector: 1, MatchingType: 1, Data: make([]byte, 32)}
	case "2-0-2":
		return dnsclient.TLSA{Usage: 2, Selector: 0, MatchingType: 2, Data: make([]byte, 64)}
	case "pkix":
		return dnsclient.TLSA{Usage: 1, Selector: 1, MatchingType: 1, Data: make([]byte, 32)}
	case "short":
		return dnsclient.TLSA{Usage: 3, Selector: 1, MatchingType: 1, Data: make([]byte, 31)}
	}
	panic("no TLSA record " + word)
}

// fakeDNS is a DNS of map literals. A question that the test did not expect fails it.
type fakeDNS struct {
	t *testing.T

	mu       sync.Mutex
	zone     testZone
	unsigned []string                 // names without DNSSEC, and all below them
	ttl      map[string]time.Duration // by type and name; else 5 minutes
	slow     map[string]time.Duration // by type and name
	deaf     bool                     // the slow ones do not end with the context
	dead     bool                     // the resolver is down
	asked    map[string]int
	most     int // MX lookups under way at once, at most
	underway int
}

func newFakeDNS(t *testing.T, zone testZone) *fakeDNS {
	return &fakeDNS{t: t, zone: zone, ttl: map[string]time.Duration{}, slow: map[string]time.Duration{},
		asked: map[string]int{}}
}

var errServFail = errors.New("SERVFAIL")

// set changes the DNS under its lock.
func (d *fakeDNS) set(change func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change()
}

// count returns how often a type and name was asked since it was last called for it.
func (d *fakeDNS) count(key string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.asked[key]
	delete(d.asked, key)
	return n
}

func (d *fakeDNS) signed(name string) bool {
	return !slices.ContainsFunc(d.unsigned, func(u string) bool { return name == u || strings.HasSuffix(name, "."+u) })
}

// value is what the zone says to a type and name, and whether it says anything.
func (d *fakeDNS) value(qtype, name string) (string, bool) {
	v, ok := d.zone[qtype+" "+name]
	if !ok && qtype == "AAAA" {
		a, ok := d.zone["A "+name]
		if a == "NXDOMAIN" || strings.HasPrefix(a, "-> ") {
			return a, ok
		}
		return "", ok
	}
	return v, ok
}

func askDANE[T any](ctx context.Context, d *fakeDNS, qtype, name string, parse func(string) T) (a dnsclient.Answer[T],
	err error) {
	key := qtype + " " + name
	if err := d.travel(ctx, key); err != nil {
		return a, fmt.Errorf("%s: %w", key, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dead {
		return a, fmt.Errorf("%s: no answer", key)
	}
	v, ok := d.value(qtype, name)
	if !ok {
		d.t.Errorf("unexpected question: %s", key)
	}
	a.Authentic, a.TTL = d.signed(name), 5*time.Minute
	if ttl, ok := d.ttl[key]; ok {
		a.TTL = ttl
	}
	if target, alias := strings.CutPrefix(v, "-> "); alias {
		a.Target, a.Authentic = target, a.Authentic && d.signed(target)
		if v, ok = d.value(qtype, target); !ok {
			d.t.Errorf("the test's zone has no %s %s", qtype, target)
		}
	}
	switch v {
	case "SERVFAIL":
		return dnsclient.Answer[T]{}, fmt.Errorf("%s: %w", key, errServFail)
	case "NXDOMAIN":
		a.Denial = dnsclient.NXDomain
	case "":
		a.Denial = dnsclient.NoData
	}
	if a.Denial == dnsclient.Exists {
		for _, word := range strings.Fields(v) {
			a.Records = append(a.Records, parse(word))
		}
	}
	return a, nil
}

// travel counts the question and lets the network's delay go by.
func (d *fakeDNS) travel(ctx context.Context, key string) error {
	d.mu.Lock()
	d.asked[key]++
	delay, deaf := d.slow[key], d.deaf
	if strings.HasPrefix(key, "MX ") {
		d.underway++
		d.most = max(d.most, d.underway)
		defer d.set(func() { d.underway-- })
	}
	d.mu.Unlock()
	if deaf {
		ctx = context.Background()
	}
	return testkit.Pause(ctx, delay)
}

func (d *fakeDNS) TXT(_ context.Context, name string) (a dnsclient.Answer[string], err error) {
	d.t.Errorf("unexpected question: TXT %s", name)
	return a, errServFail
}

func (d *fakeDNS) A(ctx context.Context, name string) (dnsclient.Answer[netip.Addr], error) {
	return askDANE(ctx, d, "A", name, netip.MustParseAddr)
}

func (d *fakeDNS) AAAA(ctx context.Context, name string) (dnsclient.Answer[netip.Addr], error) {
	return askDANE(ctx, d, "AAAA", name, netip.MustParseAddr)
}

func (d *fakeDNS) MX(ctx context.Context, name string) (dnsclient.Answer[dnsclient.MX], error) {
	return askDANE(ctx, d, "MX", name, func(word string) dnsclient.MX {
		preference, host, ok := strings.Cut(word, "/")
		if !ok {
			preference, host = "10", word
		}
		n, err := strconv.ParseUint(preference, 10, 16)
		if err != nil {
			panic(err)
		}
		return dnsclient.MX{Preference: uint16(n), Host: strings.TrimSuffix(host, ".")}
	})
}

func (d *fakeDNS) TLSA(ctx context.Context, name string) (dnsclient.Answer[dnsclient.TLSA], error) {
	return askDANE(ctx, d, "TLSA", name, tlsaRecord)
}

// bench is a judge of a fakeDNS, its clock and its log.
type bench struct {
	*Judge
	t      *testing.T
	dns    *fakeDNS
	memory *mapMemory
	log    *testkit.Log
}

// newBench makes a judge; the caller must close it.
func newBench(t *testing.T, zone testZone) *bench {
	b := &bench{t: t, dns: newFakeDNS(t, zone), log: new(testkit.Log), memory: newMapMemory()}
	b.Judge = New(Options{DNS: func() DNS { return b.dns }, Memory: b.memory,
		Logger: slog.New(slog.NewTextHandler(b.log, nil))})
	return b
}

// mapMemory is a Memory without bounds.
type mapMemory struct {
	mu      sync.Mutex
	entries map[Destination]Entry
}

func newMapMemory() *mapMemory { return &mapMemory{entries: map[Destination]Entry{}} }

// Get implements Memory.
func (m *mapMemory) Get(to Destination) (Entry, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.entries[to]
	return e, ok
}

// Update implements Memory.
func (m *mapMemory) Update(to Destination, f func(Entry, bool) (Entry, bool)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	old, ok := m.entries[to]
	if e, keep := f(old, ok); keep {
		m.entries[to] = e
	} else {
		delete(m.entries, to)
	}
}

func (m *mapMemory) forget(to Destination) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.entries, to)
}

func (m *mapMemory) len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.entries)
}

var exampleTest = Destination{Domain: dnsname.MustParse("example.test")}

// want asks about example.test and checks the finding and how long it took.
func (b *bench) want(why string, status Status, took time.Duration) Finding {
	b.t.Helper()
	begin := time.Now()
	f := b.Find(context.Background(), exampleTest)
	if f.Status != status {
		b.t.Errorf("%s: found %v (%v), want %v", why, f.Status, f.Err, status)
	}
	if (f.Status == Failed) != (f.Err != nil) {
		b.t.Errorf("%s: found %v with reason %v", why, f.Status, f.Err)
	}
	if d := time.Since(begin); d != took {
		b.t.Errorf("%s: took %v, want %v", why, d, took)
	}
	return f
}

// wantMX checks the number of lookups since the last check.
func (b *bench) wantMX(why string, n int) {
	b.t.Helper()
	if got := b.dns.count("MX example.test"); got != n {
		b.t.Errorf("%s: %d MX lookups, want %d", why, got, n)
	}
}

// after lets the bubble's clock run on.
func after(d time.Duration) { <-time.After(d) }
