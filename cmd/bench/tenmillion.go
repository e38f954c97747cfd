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
	"github.com/stsmapd/stsmapd/cmd/bench/proc"
)

// tenMillion compares a daemon that remembers very many domains with one that remembers few.
func (b *bench) tenMillion(ctx context.Context) (got result, err error) {
	many, err := b.startRemembering(ctx, b.many)
	if err != nil {
		return got, err
	}
	defer many.stop()
	few, err := b.startRemembering(ctx, b.few)
	if err != nil {
		return got, err
	}
	defer few.stop()
	echo, err := b.startEcho(ctx, unixSocket, "NOTFOUND ")
	if err != nil {
		return got, err
	}
	defer echo.stop()
	pauses, floor, err := b.pausesOf(ctx, many, echo)
	if err != nil {
		return got, err
	}
	got, err = b.repeat(ctx, func(round int) (s sample, err error) {
		lookups := b.internet.Count(dns.TypeANY)
		pair, others, err := b.alternate(round, many, few, func(to *server) (load.Outcome, error) {
			n := load.Names{Zone: internet.Near, Count: b.many, Shuffled: true}
			if to == few {
				n.Count = b.few
			}
			return b.runLoad(ctx, to, b.questions(n, "NOTFOUND "))
		})
		if err != nil {
			return s, err
		}
		if made := b.internet.Count(dns.TypeANY) - lookups; made > pair[0].Questions/100 {
			return s, fmt.Errorf("%d DNS queries for %d questions: the domains are not remembered", made,
				pair[0].Questions)
		}
		s.others = others
		cost, floorCost := pair[0].PerQuestion(), pair[1].PerQuestion()
		s.values = []float64{float64(cost) / float64(floorCost), milliseconds(pauses.P999), milliseconds(floor.P999)}
		s.note = fmt.Sprintf("%v over %v for a question", cost, floorCost)
		return s, nil
	})
	for _, o := range []load.Outcome{pauses, floor} {
		got.notes = append(got.notes,
			fmt.Sprintf("%d questions at 2,000 a second: p50 %v, p99 %v, p99.9 %v, longest %v; others had %.0f %%",
				o.Questions, o.P50, o.P99, o.P999, o.Max, 100*o.Others))
	}
	return got, err
}

// startRemembering starts a stsmapd and asks it once for each of so many domains without a policy.
func (b *bench) startRemembering(ctx context.Context, count int) (*server, error) {
	d, err := b.startDaemon(ctx, daemonConfig{maxNegative: count + count/5 + 1000})
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	if err := b.learn(ctx, d, load.Names{Zone: internet.Near}, count, "NOTFOUND "); err != nil {
		return nil, err
	}
	m, err := proc.MemoryOf(d.pid)
	took := time.Since(begin)
	fmt.Fprintf(os.Stderr, "bench: %d domains learnt in %v, %.0f a second; %d MiB resident\n", count,
		took.Round(time.Second),
		float64(count)/took.Seconds(), m.Resident>>20)
	return d, err
}

// pausesOf looks for pauses: questions come at a fixed rate, and beside them new domains, so that there is garbage to
// collect and room to make. As many questions go to echo at the same time, which only the machine holds up.
func (b *bench) pausesOf(ctx context.Context, many, echo *server) (pauses, floor load.Outcome, err error) {
	const newRate, rate, conns = 200, 2000, 20
	newcomers := load.Names{Zone: internet.Near, First: 20_000_000}
	beside, err := b.startLoad(ctx, many, load.Job{Conns: conns, Rate: newRate, Names: newcomers, Window: load.Longest})
	if err != nil {
		return pauses, floor, err
	}
	steady := load.Job{
		Conns: conns, Rate: rate, Names: load.Names{Zone: internet.Near, Count: b.many, Shuffled: true},
		Expect: "NOTFOUND ",
		Warmup: b.warmup, Window: b.pauses,
	}
	reference, err := b.startLoad(ctx, echo, steady)
	if err == nil {
		pauses, err = b.runLoad(ctx, many, steady)
		var floorErr error
		floor, floorErr = reference.wait()
		err = errors.Join(err, floorErr)
	}
	_, stopErr := beside.stop()
	return pauses, floor, errors.Join(err, stopErr)
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
