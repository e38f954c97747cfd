package main

import (
	"context"
	"fmt"
	"time"

	"github.com/miekg/dns"
)

// coldLookups: every question is for a domain that stsmapd has never heard of.
func (b *bench) coldLookups(ctx context.Context) (got result, err error) {
	d, err := b.startDaemon(ctx, daemonConfig{})
	if err != nil {
		return got, err
	}
	defer d.stop()
	asked := 0
	look := func(count int) (outcome, error) {
		j := job{Conns: b.conns, Names: names{Zone: far, First: asked}, Limit: count}
		asked += count
		return b.load(ctx, d, j)
	}
	if _, err := look(b.cold / 10); err != nil { // the first ones pay for what is made once
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
			float64(o.perQuestion()) / float64(time.Microsecond),
			float64(made[0]) * 5000 / float64(b.cold),
		}
		s.note = fmt.Sprintf("p50 %v, p99 %v, longest %v; %v CPU for a lookup, %d a second; DNS queries (all, TXT, "+
			"A, AAAA, MX): %v",
			o.P50, o.P99, o.Max, o.perQuestion(), o.rate(), made)
		return s, nil
	})
}

// queries are how many the DNS was asked: all, TXT, A, AAAA, MX.
func (b *bench) queries() (n [5]int) {
	for i, qtype := range []uint16{dns.TypeANY, dns.TypeTXT, dns.TypeA, dns.TypeAAAA, dns.TypeMX} {
		n[i] = b.internet.count(qtype)
	}
	return n
}

// quiet waits until the DNS has not been asked for a while, 10 s at most.
func (b *bench) quiet(ctx context.Context) {
	const pause = 200 * time.Millisecond // ten times as long as an answer takes
	last := -1
	for range int(10 * time.Second / pause) {
		now := b.internet.count(dns.TypeANY)
		if now == last || ctx.Err() != nil {
			return
		}
		last = now
		wait(ctx, pause)
	}
}

// wait waits.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// The paced load of those who ask for domains in memory.
const (
	warmRate  = 1000 // questions a second
	warmConns = 10
)

// warmBesideMisses: while others ask for new names as fast as they get answers, how long do those wait whose domains
// are in memory? Echo is measured beside the same misses of stsmapd: what the machine itself makes slow, it makes slow
// for both.
func (b *bench) warmBesideMisses(ctx context.Context) (got result, err error) {
	d, e, err := b.withEcho(ctx, unixSocket, kept, "OK secure ")
	if err != nil {
		return got, err
	}
	defer d.stop()
	defer e.stop()
	asked := 0
	return b.repeat(ctx, func(round int) (s sample, err error) {
		misses, err := b.startLoad(ctx, d,
			job{Conns: b.misses, Names: names{Zone: far, First: asked}, Warmup: b.warmup, Window: longest})
		if err != nil {
			return s, err
		}
		pair, others, err := b.both(round, d, e, func(to *server) (outcome, error) {
			return b.load(ctx, to, job{
				Conns: warmConns, Rate: warmRate, Names: names{Zone: kept, Count: b.hot}, Expect: "OK secure ",
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
			pair[0].P99, pair[1].P99, pair[0].P50, pair[1].P50, missed.rate(), missed.P99)
		return s, nil
	})
}
