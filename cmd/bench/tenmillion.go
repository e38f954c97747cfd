package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/miekg/dns"

	"github.com/stsmapd/stsmapd/cmd/bench/internet"
	"github.com/stsmapd/stsmapd/cmd/bench/load"
)

// remembering is a daemon that remembers so many domains, and its resident memory then.
type remembering struct {
	*server
	domains  int
	resident int64
}

// tenMillion compares daemons that remember ever more domains with one that remembers few.
func (b *bench) tenMillion(ctx context.Context) (got result, err error) {
	var all []remembering
	for _, n := range b.domains {
		d, err := b.startRemembering(ctx, n)
		if err != nil {
			return got, err
		}
		defer d.stop()
		all = append(all, d)
	}
	echo, err := b.startEcho(ctx, unixSocket, "NOTFOUND ")
	if err != nil {
		return got, err
	}
	defer echo.stop()
	pauses, floor, err := b.pausesOf(ctx, all[len(all)-1], echo)
	if err != nil {
		return got, err
	}
	got, err = b.repeat(ctx, func(round int) (s sample, err error) {
		for _, many := range all[1:] {
			ratio, others, err := b.costOfMany(ctx, round, many, all[0])
			if err != nil {
				return s, err
			}
			s.values, s.others = append(s.values, ratio), max(s.others, others)
			s.note += fmt.Sprintf("%.2f times with %d; ", ratio, many.domains)
		}
		for _, many := range all[1:] {
			grown := many.resident - all[0].resident
			s.values = append(s.values, float64(grown)/float64(many.domains-all[0].domains))
		}
		s.values = append(s.values, milliseconds(pauses.P999), milliseconds(floor.P999))
		return s, nil
	})
	for _, o := range []load.Outcome{pauses, floor} {
		got.notes = append(got.notes,
			fmt.Sprintf("%d questions at 2,000 a second: p50 %v, p99 %v, p99.9 %v, longest %v; others had %.0f %%",
				o.Questions, o.P50, o.P99, o.P999, o.Max, 100*o.Others))
	}
	return got, err
}

// costOfMany returns what a question costs with many domains, over that with few, and the part of the machine that
// other processes had.
func (b *bench) costOfMany(ctx context.Context, round int, many, few remembering) (ratio, others float64, err error) {
	lookups := b.internet.Count(dns.TypeANY)
	pair, others, err := b.alternate(round, many.server, few.server, func(to *server) (load.Outcome, error) {
		n := load.Names{Zone: internet.Near, Count: many.domains, Shuffled: true}
		if to == few.server {
			n.Count = few.domains
		}
		return b.runLoad(ctx, to, b.questions(n, "NOTFOUND "))
	})
	if err != nil {
		return 0, 0, err
	}
	if made := b.internet.Count(dns.TypeANY) - lookups; made > pair[0].Questions/100 {
		return 0, 0, fmt.Errorf("%d DNS queries for %d questions: the domains are not remembered", made,
			pair[0].Questions)
	}
	return float64(pair[0].PerQuestion()) / float64(pair[1].PerQuestion()), others, nil
}

// startRemembering starts a stsmapd and asks it once for each of so many domains without a policy.
func (b *bench) startRemembering(ctx context.Context, count int) (remembering, error) {
	d, err := b.startDaemon(ctx, daemonConfig{maxNegative: count + count/5 + 1000})
	if err != nil {
		return remembering{}, err
	}
	begin := time.Now()
	if err := b.learn(ctx, d, load.Names{Zone: internet.Near}, count, "NOTFOUND "); err != nil {
		return remembering{}, errors.Join(err, d.stop())
	}
	took := time.Since(begin)
	m, err := b.settledMemory(ctx, d)
	fmt.Fprintf(os.Stderr, "bench: %d domains learnt in %v, %.0f a second; %d MiB resident\n", count,
		took.Round(time.Second), float64(count)/took.Seconds(), m.Resident>>20)
	return remembering{d, count, m.Resident}, err
}

// pausesOf looks for pauses: questions come at a fixed rate, and beside them new domains, so that there is garbage to
// collect and room to make. As many questions go to echo at the same time, which only the machine holds up.
func (b *bench) pausesOf(ctx context.Context, many remembering, echo *server) (
	pauses, floor load.Outcome, err error) {
	const newRate, rate, conns = 200, 2000, 20
	newcomers := load.Names{Zone: internet.Near, First: 20_000_000}
	beside, err := b.startLoad(ctx, many.server,
		load.Job{Conns: conns, Rate: newRate, Names: newcomers, Window: load.Longest})
	if err != nil {
		return pauses, floor, err
	}
	steady := load.Job{
		Conns: conns, Rate: rate, Names: load.Names{Zone: internet.Near, Count: many.domains, Shuffled: true},
		Expect: "NOTFOUND ",
		Warmup: b.warmup, Window: b.pauses,
	}
	reference, err := b.startLoad(ctx, echo, steady)
	if err == nil {
		pauses, err = b.runLoad(ctx, many.server, steady)
		var floorErr error
		floor, floorErr = reference.wait()
		err = errors.Join(err, floorErr)
	}
	_, stopErr := beside.stop()
	return pauses, floor, errors.Join(err, stopErr)
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
