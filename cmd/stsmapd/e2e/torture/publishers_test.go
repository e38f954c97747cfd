package torture

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
)

func publisherFaults() []fault {
	return []fault{
		{name: "publishers: silent policy hosts", run: tarpits},
		{name: "publishers: policies of 64 KiB", run: largePolicies, more: "[cache]\nmemory = \"8MiB\"\n"},
	}
}

// tarpits asks, by 400 clients, for ever new domains of 20 registrable names on 20 addresses, whose policy hosts accept
// and stay silent. Of the first contacts with other domains meanwhile, no more than 5 % wait for a later try.
func tarpits(t *testing.T, r *rig) {
	const names = 20
	for i := range names {
		address := netip.AddrFrom4([4]byte{127, 3, byte(i), 1}) // each in a network of its own
		silent(t, netip.AddrPortFrom(address, 443))
		r.p.AnnounceBelow(fmt.Sprintf("tarpit%d.test", i), address)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	defer func() { cancel(); all.Wait() }()
	for c := range rounds(400, 200) {
		all.Go(func() {
			a := NewAsker(NewOracle(r.p), r.d.Address)
			defer a.Close()
			for i := 0; ctx.Err() == nil; i++ {
				domain := fmt.Sprintf("c%di%d.tarpit%d.test", c, i, c%names)
				r.p.Publish(domain, world.Publication{ID: 1, Policy: 1})
				if _, err := a.Ask(domain); err != nil {
					return
				}
			}
		})
	}
	world.Eventually(t, recoveryLimit, "all slots that the tarpits get are taken", func() bool {
		now, err := r.d.Gauges("stsmapd_fetches_in_flight")
		return err == nil && now["stsmapd_fetches_in_flight"] >= 40
	})
	a := NewAsker(r.oracle, r.d.Address)
	defer a.Close()
	contacts, late := rounds(100, 40), 0
	for range contacts {
		r.injected++
		answer, err := a.Ask(r.fresh())
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(answer, "TEMP") {
			late++
		}
	}
	r.note = fmt.Sprintf("%d of %d first contacts TEMP", late, contacts)
	if late > contacts*5/100 {
		t.Error(r.note)
	}
}

// silent accepts connections at an address and says nothing.
func silent(t *testing.T, at netip.AddrPort) {
	t.Helper()
	l, err := net.Listen("tcp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(io.Discard, c); _ = c.Close() }()
		}
	}()
}

// largePolicies learns more policies of 64 KiB than cache.memory has room for. Those that were there are answered, and
// so are the large ones, out of the store.
func largePolicies(t *testing.T, r *rig) {
	known := r.oracle.Known()
	a := NewAsker(r.oracle, r.d.Address)
	defer a.Close()
	var large []string
	for range rounds(400, 250) {
		domain := r.p.Domain(int(r.next.Add(1) - 1))
		r.p.Publish(domain, world.Publication{ID: 1, Policy: 1, Length: 60_000})
		large = append(large, domain)
		r.injected++
	}
	for some := range slices.Chunk(large, 50) {
		if _, err := a.Ask(some...); err != nil {
			t.Fatal(err)
		}
	}
	now, err := r.d.Gauges("stsmapd_memory_bytes", "stsmapd_memory_evicted_total")
	if err != nil {
		t.Fatal(err)
	}
	bytes, evicted := now["stsmapd_memory_bytes"], now["stsmapd_memory_evicted_total"]
	r.note = fmt.Sprintf("%.0f MiB of policies, %.0f evicted", bytes/(1<<20), evicted)
	if bytes > 8<<20 || evicted == 0 {
		t.Errorf("%s, cache.memory is 8 MiB", r.note)
	}
	r.remembers(t, known)
	r.remembers(t, large)
	r.peak(t, 200<<20)
	r.recovers(t, time.Now())
	r.census(t)
}
