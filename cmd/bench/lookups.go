package main

import (
	"context"
	"fmt"
	"time"

	"github.com/miekg/dns"

	"github.com/stsmapd/stsmapd/cmd/bench/internet"
	"github.com/stsmapd/stsmapd/cmd/bench/load"
)

// coldLookups measures questions for domains that stsmapd does not know.
func (b *bench) coldLookups(ctx context.Context) (got result, err error) {
	d, err := b.startDaemon(ctx, daemonConfig{})
	if err != nil {
		return got, err
	}
	defer d.stop()
	asked := 0
	look := func(count int) (load.Outcome, error) {
		j := load.Job{Conns: b.conns, Names: load.Names{Zone: internet.Far, First: asked}, Limit: count}
		asked += count
		return b.runLoad(ctx, d, j)
	}
	if _, err := look(b.cold / 10); err != nil { // the first ones include what is made once
		return got, err
	}
	return b.repeat(ctx, func(int) (s sample, err error) {
		b.quiet(ctx)
		before := b.queries()
		o, err := look(b.cold)
		if err != nil {
			return s, err
		}
		b.quiet(ctx) // what is looked up after the answer counts too
		made := b.queries()
		for i := range made {
			made[i] -= before[i]
		}
		s.others = o.Others
		s.values = []float64{
			float64(o.P50) / float64(time.Millisecond),
			float64(o.PerQuestion()) / float64(time.Microsecond),
			float64(made[0]) * 5000 / float64(b.cold),
		}
		s.note = fmt.Sprintf("p50 %v, p99 %v, longest %v; %v CPU for a lookup, %d a second; DNS queries (all, TXT, "+
			"A, AAAA, MX): %v",
			o.P50, o.P99, o.Max, o.PerQuestion(), o.Rate(), made)
		return s, nil
	})
}

// queries returns how many DNS queries were made: all, TXT, A, AAAA, MX.
func (b *bench) queries() (n [5]int) {
	for i, qtype := range []uint16{dns.TypeANY, dns.TypeTXT, dns.TypeA, dns.TypeAAAA, dns.TypeMX} {
		n[i] = b.internet.Count(qtype)
	}
	return n
}

// quiet waits until no DNS query has come for a while, 10 s at most.
func (b *bench) quiet(ctx context.Context) {
	const pause = 200 * time.Millisecond // ten times as long as an answer takes
	last := -1
	for range int(10 * time.Second / pause) {
		now := b.internet.Count(dns.TypeANY)
		if now == last || ctx.Err() != nil {
			return
		}
		last = now
		wait(ctx, pause)
	}
}

// wait waits for this long, or until the context ends.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// The paced load on domains in memory.
const (
	warmRate  = 1000 // questions a second
	warmConns = 10
)

// warmBesideMisses measures how long answers from memory take while other connections ask for new names as fast as they
// get answers. Echo is measured beside the same misses of stsmapd, so that a slow machine slows both.
func (b *bench) warmBesideMisses(ctx context.Context) (got result, err error) {
	d, e, err := b.withEcho(ctx, unixSocket, internet.Kept, "OK secure ")
	if err != nil {
		return got, err
	}
	defer d.stop()
	defer e.stop()
	asked := 0
	return b.repeat(ctx, func(round int) (s sample, err error) {
		misses, err := b.startLoad(ctx, d,
			load.Job{Conns: b.misses, Names: load.Names{Zone: internet.Far, First: asked}, Warmup: b.warmup,
				Window: load.Longest})
		if err != nil {
			return s, err
		}
		pair, others, err := b.alternate(round, d, e, func(to *server) (load.Outcome, error) {
			return b.runLoad(ctx, to, load.Job{
				Conns: warmConns, Rate: warmRate, Names: load.Names{Zone: internet.Kept, Count: b.hot},
				Expect: "OK secure ",
				Warmup: 2 * b.warmup, Window: 2 * b.window,
			})
		})
		missed, stopErr := misses.stop()
		if err != nil {
			return s, err
		}
		if stopErr != nil {
			return s, stopErr
		}
		asked += 10_000_000 / (3 * b.rounds) // more than can have been asked for
		s.others = others
		s.values = []float64{float64(pair[0].P99) / float64(pair[1].P99)}
		s.note = fmt.Sprintf("p99 %v over %v, p50 %v over %v; %d misses a second beside, p99 %v",
			pair[0].P99, pair[1].P99, pair[0].P50, pair[1].P50, missed.Rate(), missed.P99)
		return s, nil
	})
}
