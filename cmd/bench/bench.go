package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/stsmapd/stsmapd/cmd/bench/internet"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
)

// bench is what the rows measure with: the Internet, and how to start the daemon.
type bench struct {
	options
	sizes
	dir      string // for all files that are written
	caFile   string // certificate of the authority that issues the policy host's certificates
	internet *internet.Nameserver
	host     *internet.PolicyHost
	launch   func(context.Context, daemonConfig) (*server, error) // starts the daemon that is measured
	rivals   []subject                                            // what is measured beside stsmapd
	running  map[int]bool                                         // ids of the running processes that the bench started
	started  int                                                  // servers, for a port and a socket of its own each
	first    int                                                  // round that a row begins with
}

// sizes are how much is measured.
type sizes struct {
	warmup, window time.Duration // of a load
	hot            int           // domains that are asked for repeatedly
	conns          int           // of most loads, as in the table
	allocations    int           // questions over which they are counted
	cold           int           // names of a round
	misses         int           // connections that ask for new names only
	negatives      int           // remembered for the row about their memory
	policies       int           // in memory, for the row about their memory
	stores         []int         // policies in the stores of the row about starts, the small one first
	starts         int           // of each in a round
	open           int           // connections at once
	domains        []int         // that are remembered, in the row about many of them, the fewest first
	pauses         time.Duration // how long to look for pauses; Go collects garbage every 2 minutes at least
	settle         time.Duration // how long memory must stay the same
}

func fullSizes() sizes {
	return sizes{
		warmup: 500 * time.Millisecond, window: 2 * time.Second, hot: 1000, conns: 100, allocations: 200_000,
		cold: 5000, misses: 256,
		negatives: 1_000_000, policies: 50_000, stores: []int{1, 10_000, 100_000, 1_000_000}, starts: 5, open: 10_000,
		domains: []int{1000, 100_000, 1_000_000, 10_000_000}, pauses: 130 * time.Second, settle: 5 * time.Second,
	}
}

func quickSizes() sizes {
	return sizes{
		warmup: 20 * time.Millisecond, window: 50 * time.Millisecond, hot: 100, conns: 10, allocations: 500, cold: 100,
		misses:    10,
		negatives: 1000, policies: 300, stores: []int{1, 20, 100, 300}, starts: 1, open: 200,
		domains: []int{100, 300, 1000}, pauses: 100 * time.Millisecond, settle: 10 * time.Millisecond,
	}
}

// newBench starts the Internet.
func newBench(o options) (*bench, error) {
	b := &bench{options: o, sizes: fullSizes(), dir: os.Getenv(envDir), running: map[int]bool{os.Getpid(): true}}
	b.binary = os.Getenv(envBinary)
	if o.quick {
		b.sizes = quickSizes()
	}
	if o.remember > 0 {
		b.domains = append(slices.DeleteFunc(b.domains, func(n int) bool { return n >= o.remember }), o.remember)
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
		if b.rivals, err = b.findRivals(); err != nil {
			return nil, err
		}
		if err := b.setResolvConf(); err != nil {
			return nil, err
		}
	}
	if b.internet, err = internet.StartNameserver(); err != nil {
		return nil, err
	}
	if b.host, err = internet.StartPolicyHost(ca); err != nil {
		b.internet.Close()
		return nil, err
	}
	return b, nil
}

func (b *bench) close() {
	b.host.Close()
	b.internet.Close()
}

// subject is a daemon that is measured.
type subject struct {
	name   string // "": stsmapd
	launch func(context.Context, daemonConfig) (*server, error)
	most   int // domains that it can remember; 0: as many as a row asks for
}

// measureAll measures a row for stsmapd, and for the rivals where the row is for them.
func (b *bench) measureAll(ctx context.Context, r row) ([]line, error) {
	stsmapd := subject{launch: b.launchStsmapd}
	if !r.rivals || len(b.rivals) == 0 {
		got, err := b.measure(ctx, r, stsmapd)
		if err != nil {
			return nil, err
		}
		return r.lines(got)
	}
	return b.measureInTurns(ctx, r, append([]subject{stsmapd}, b.rivals...))
}

// measureInTurns measures a row for each subject in each round. A subject that fails is left out of the rounds to come.
func (b *bench) measureInTurns(ctx context.Context, r row, subjects []subject) (lines []line, failed error) {
	rounds := b.rounds
	defer func() { b.rounds, b.first = rounds, 0 }()
	turns := rounds
	if r.once {
		turns = 1
	}
	b.rounds = 1
	got := make([]result, len(subjects))
	out := make([]bool, len(subjects))
	for b.first = 0; b.first < turns && ctx.Err() == nil; b.first++ {
		for i, s := range subjects {
			if out[i] || s.most > 0 && s.most < r.domains {
				continue
			}
			one, err := b.measure(ctx, r, s)
			if err != nil {
				out[i], failed = true, errors.Join(failed, fmt.Errorf("%s: %w", cmp.Or(s.name, "stsmapd"), err))
				continue
			}
			got[i].samples = append(got[i].samples, one.samples...)
		}
	}
	for i, s := range subjects {
		if out[i] || len(got[i].samples) == 0 {
			continue
		}
		more, err := s.row(r).lines(got[i])
		lines, failed = append(lines, more...), errors.Join(failed, err)
	}
	return lines, failed
}

// row is the row of the subject's lines: none but stsmapd has targets to meet.
func (s subject) row(r row) row {
	if s.name == "" {
		return r
	}
	r = r.withoutLimits()
	r.name = s.name + ": " + r.name
	return r
}

// measure measures a row for a subject and reports its progress on stderr.
func (b *bench) measure(ctx context.Context, r row, s subject) (result, error) {
	begin := time.Now()
	name := s.row(r).name
	fmt.Fprintf(os.Stderr, "bench: %s …\n", name)
	b.launch = s.launch
	got, err := r.run(b, ctx)
	if err != nil {
		return result{}, err
	}
	fmt.Fprintf(os.Stderr, "bench: %s took %v\n", name, time.Since(begin).Round(time.Second))
	for _, note := range got.notes {
		fmt.Fprintf(os.Stderr, "bench: %s: %s\n", name, note)
	}
	return got, nil
}

// spoiltAbove is the part (0 to 1) of the machine above which other processes spoil a round.
const spoiltAbove = 0.05

// sample is the result of a round: a value for each target of the row.
type sample struct {
	values []float64
	others float64 // part of the machine that other processes had, at most
	note   string
}

// result is what the rounds of a row measured.
type result struct {
	samples []sample
	notes   []string
}

// repeat measures until enough rounds were not spoilt, at most three times as many rounds as are wanted. It returns the
// first that were not spoilt; where they are too few, the least spoilt ones too.
func (b *bench) repeat(ctx context.Context, once func(round int) (sample, error)) (result, error) {
	var got result
	good := 0
	for round := 0; good < b.rounds && round < 3*b.rounds; round++ {
		s, err := once(b.first + round)
		if err != nil {
			return result{}, err
		}
		if ctx.Err() != nil {
			return result{}, ctx.Err()
		}
		if s.others <= spoiltAbove {
			good++
		}
		got.samples = append(got.samples, s)
		got.notes = append(got.notes,
			fmt.Sprintf("round %d: %s; others had %.0f %% of the machine", b.first+round+1, s.note, 100*s.others))
		if b.quick && len(got.samples) == b.rounds {
			break
		}
	}
	got.samples = leastSpoilt(got.samples, b.rounds)
	return got, nil
}
