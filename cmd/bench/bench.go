package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
)

// bench is what all rows measure with.
type bench struct {
	options
	sizes
	dir      string // for all that is written
	caFile   string // of the authority that the policy host's certificates are from
	internet *nameserver
	host     *policyHost
	launch   func(context.Context, daemonConfig) (*server, error) // starts the daemon that is measured
	running  map[int]bool                                         // pids of what was started and has not ended
	// servers, so that each has a port and a socket of its own
	started int
}

// sizes are how much is measured.
type sizes struct {
	warmup, window time.Duration // of a load
	hot            int           // domains that are asked for again and again
	conns          int           // of most loads, as in the table
	allocations    int           // questions over which they are counted
	cold           int           // names of a round
	misses         int           // connections that ask for ever-new names
	negatives      int           // remembered for the row about their memory
	policies       int           // and in memory, for that
	stores         []int         // policies in the stores of the row about starts, the small one first
	starts         int           // of each in a round
	open           int           // connections at once
	many, few      int           // remembered domains of the last row
	pauses         time.Duration // how long pauses are looked for: Go collects garbage every 2 minutes, whatever else
	settle         time.Duration // how long memory must have stayed the same
}

func fullSizes() sizes {
	return sizes{
		warmup: 500 * time.Millisecond, window: 2 * time.Second, hot: 1000, conns: 100, allocations: 200_000,
		cold: 5000, misses: 256,
		negatives: 1_000_000, policies: 50_000, stores: []int{1, 10_000, 1_000_000}, starts: 5, open: 10_000,
		many: 10_000_000, few: 1000, pauses: 130 * time.Second, settle: 5 * time.Second,
	}
}

func quickSizes() sizes {
	return sizes{
		warmup: 20 * time.Millisecond, window: 50 * time.Millisecond, hot: 100, conns: 10, allocations: 500, cold: 100,
		misses:    10,
		negatives: 1000, policies: 300, stores: []int{1, 20, 300}, starts: 1, open: 200,
		many: 1000, few: 100, pauses: 100 * time.Millisecond, settle: 10 * time.Millisecond,
	}
}

// newBench makes the Internet.
func newBench(o options) (*bench, error) {
	b := &bench{options: o, sizes: fullSizes(), dir: os.Getenv(envDir), running: map[int]bool{os.Getpid(): true}}
	b.binary = os.Getenv(envBinary)
	if o.quick {
		b.sizes = quickSizes()
	}
	if o.remember > 0 {
		b.many = o.remember
	}
	ca, err := world.NewCA("Bench CA")
	if err != nil {
		return nil, err
	}
	b.caFile = filepath.Join(b.dir, "ca.pem")
	if err := os.WriteFile(b.caFile, ca.PEM(), 0o644); err != nil {
		return nil, err
	}
	if o.rival != "" {
		if err := b.setResolvConf(); err != nil {
			return nil, err
		}
	}
	if b.internet, err = startNameserver(); err != nil {
		return nil, err
	}
	if b.host, err = startPolicyHost(ca); err != nil {
		b.internet.close()
		return nil, err
	}
	return b, nil
}

func (b *bench) close() {
	b.host.close()
	b.internet.close()
}

// measureAll measures a row for stsmapd, and for the rival where there is one.
func (b *bench) measureAll(ctx context.Context, r row) ([]line, error) {
	b.launch = b.launchStsmapd
	lines, err := b.measure(ctx, r)
	if err != nil || b.rival == "" || !r.rivals {
		return lines, err
	}
	b.launch = b.launchRival
	r = r.withoutLimits()
	r.name = "rival: " + r.name
	more, err := b.measure(ctx, r)
	return append(lines, more...), err
}

// measure measures a row and says so as it goes.
func (b *bench) measure(ctx context.Context, r row) ([]line, error) {
	begin := time.Now()
	fmt.Fprintf(os.Stderr, "bench: %s …\n", r.name)
	got, err := r.run(b, ctx)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(os.Stderr, "bench: %s took %v\n", r.name, time.Since(begin).Round(time.Second))
	for _, note := range got.notes {
		fmt.Fprintf(os.Stderr, "bench: %s: %s\n", r.name, note)
	}
	return r.lines(got)
}

// spoiling is the part of the machine that others may have in a round that counts.
const spoiling = 0.05

// sample is what one round brings: a value for each target of the row.
type sample struct {
	values []float64
	others float64 // part of the machine that others had, at most
	note   string
}

// result is what the rounds of a row bring.
type result struct {
	samples []sample
	notes   []string
}

// repeat measures so many rounds that were not spoilt, or gives up after three times as many; then the least spoilt
// count.
func (b *bench) repeat(ctx context.Context, once func(round int) (sample, error)) (result, error) {
	var got result
	good := 0
	for round := 0; good < b.rounds && round < 3*b.rounds; round++ {
		s, err := once(round)
		if err != nil {
			return result{}, err
		}
		if ctx.Err() != nil {
			return result{}, ctx.Err()
		}
		if s.others <= spoiling {
			good++
		}
		got.samples = append(got.samples, s)
		got.notes = append(got.notes,
			fmt.Sprintf("round %d: %s; others had %.0f %% of the machine", round+1, s.note, 100*s.others))
		if b.quick && len(got.samples) == b.rounds {
			break
		}
	}
	got.samples = leastSpoilt(got.samples, b.rounds)
	return got, nil
}
