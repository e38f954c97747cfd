package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/miekg/dns"
)

// tenMillion: does it matter how many domains are remembered?
func (b *bench) tenMillion(ctx context.Context) (got result, err error) {
	many, err := b.remembering(ctx, b.many)
	if err != nil {
		return got, err
	}
	defer many.stop()
	few, err := b.remembering(ctx, b.few)
	if err != nil {
		return got, err
	}
	defer few.stop()
	lookups := b.internet.count(dns.TypeANY)
	pauses, err := b.pausesOf(ctx, many)
	if err != nil {
		return got, err
	}
	got, err = b.repeat(ctx, func(round int) (s sample, err error) {
		pair, others, err := b.both(round, many, few, func(to *server) (outcome, error) {
			n := names{Zone: near, Count: b.many, Shuffled: true}
			if to == few {
				n.Count = b.few
			}
			return b.load(ctx, to, b.questions(n, "NOTFOUND "))
		})
		if err != nil {
			return s, err
		}
		s.others = others
		s.values = []float64{float64(pair[0].perQuestion()) / float64(pair[1].perQuestion()), milliseconds(pauses.P999), milliseconds(pauses.Max)}
		s.note = fmt.Sprintf("%v over %v for a question", pair[0].perQuestion(), pair[1].perQuestion())
		return s, nil
	})
	got.notes = append(got.notes, fmt.Sprintf("at 2,000 a second: %d questions, p50 %v, p99 %v, p99.9 %v, longest %v; others had %.0f %% of the machine; %d DNS queries since all was remembered",
		pauses.Questions, pauses.P50, pauses.P99, pauses.P999, pauses.Max, 100*pauses.Others, b.internet.count(dns.TypeANY)-lookups))
	return got, err
}

// remembering starts a stsmapd and asks it for so many domains without a policy.
func (b *bench) remembering(ctx context.Context, count int) (*server, error) {
	d, err := b.startDaemon(ctx, daemonConfig{maxNegative: count + count/5 + 1000})
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	if err := b.teach(ctx, d, names{Zone: near}, count, "NOTFOUND "); err != nil {
		return nil, err
	}
	m, err := memoryOf(d.pid)
	fmt.Fprintf(os.Stderr, "bench: %d domains learnt in %v; %d MiB resident\n", count, time.Since(begin).Round(time.Second), m.resident>>20)
	return d, err
}

// pausesOf looks for pauses: questions come at a fixed rate, and beside them new domains, so that there is something to collect,
// to sweep and to make room for.
func (b *bench) pausesOf(ctx context.Context, many *server) (outcome, error) {
	const newRate, rate, conns = 200, 2000, 20
	beside, err := b.startLoad(ctx, many, job{Conns: conns, Rate: newRate, Names: names{Zone: near, First: 20_000_000}, Warmup: b.warmup, Window: time.Hour})
	if err != nil {
		return outcome{}, err
	}
	o, err := b.load(ctx, many, job{
		Conns: conns, Rate: rate, Names: names{Zone: near, Count: b.many, Shuffled: true}, Expect: "NOTFOUND ",
		Warmup: b.warmup, Window: b.pauses,
	})
	if _, stopErr := beside.stop(); err == nil {
		err = stopErr
	}
	return o, err
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
