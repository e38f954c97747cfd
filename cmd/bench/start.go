package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/stsmapd/stsmapd/cmd/bench/internet"
	"github.com/stsmapd/stsmapd/cmd/bench/load"
	"github.com/stsmapd/stsmapd/cmd/bench/proc"
)

// firstAnswer measures the time from the start of the process to its first answer, for a policy in the store. It
// compares stores of many policies with a store of one: an empty store would be slower, because it has to be made.
func (b *bench) firstAnswer(ctx context.Context) (got result, err error) {
	dirs := make([]string, len(b.stores))
	for i, n := range b.stores {
		if dirs[i], err = b.store(n); err != nil {
			return got, err
		}
		if _, err := b.timeStart(ctx, dirs[i], n); err != nil { // into the page cache
			return got, err
		}
	}
	return b.repeat(ctx, func(int) (s sample, err error) {
		meter, err := proc.StartMeter([]int{os.Getpid()})
		if err != nil {
			return s, err
		}
		took := make([][]float64, len(b.stores)) // milliseconds
		for range b.starts {
			for i, n := range b.stores {
				t, err := b.timeStart(ctx, dirs[i], n)
				if err != nil {
					return s, err
				}
				took[i] = append(took[i], milliseconds(t))
			}
		}
		base := median(took[0])
		s.note = fmt.Sprintf("first answer after %.1f ms", base)
		for i, t := range took[1:] {
			s.values = append(s.values, median(t)-base)
			s.note += fmt.Sprintf(", with %d policies %.1f ms", b.stores[i+1], median(t))
		}
		s.others, err = meter.Others()
		return s, err
	})
}

// timeStart starts a stsmapd, waits for its first answer and stops it. It returns the time to the answer.
func (b *bench) timeStart(ctx context.Context, dir string, policies int) (took time.Duration, err error) {
	begin := time.Now()
	d, err := b.launch(ctx, daemonConfig{stateDir: dir})
	if err != nil {
		return 0, err
	}
	reply, err := d.firstReply(load.Names{Zone: internet.Kept, First: policies / 2}.AppendQuestion(nil, 0))
	took = time.Since(begin)
	if err == nil && !strings.HasPrefix(reply, "OK secure ") {
		err = fmt.Errorf("the first answer is %q", reply)
	}
	return took, errors.Join(err, d.stop())
}

// walks measures what the daemon's walk over its store costs at the start, for each policy: what a store of one costs
// does not count.
func (b *bench) walks(ctx context.Context) (got result, err error) {
	dir, err := b.store(b.stores[0])
	if err != nil {
		return got, err
	}
	d, err := b.startDaemon(ctx, daemonConfig{stateDir: dir})
	if err != nil {
		return got, err
	}
	start, err := b.calmCPU(ctx, d, idle)
	if err = errors.Join(err, d.stop()); err != nil {
		return got, err
	}
	return b.growthOfStores(ctx, 0, func(d *server, policies int) (time.Duration, error) {
		used, err := b.calmCPU(ctx, d, idle)
		return (used - start) / time.Duration(policies), err
	})
}

// refreshes measures what a refresh costs while so many are due.
func (b *bench) refreshes(ctx context.Context) (got result, err error) {
	const overdue = 30 * time.Hour // of a max_age of a week
	return b.growthOfStores(ctx, overdue, func(d *server, _ int) (time.Duration, error) {
		if _, err := b.calmCPU(ctx, d, walked); err != nil {
			return 0, err
		}
		fetches := b.internet.Count(dns.TypeTXT)
		begin, err := proc.CPUTime(d.pid)
		if err != nil {
			return 0, err
		}
		wait(ctx, 5*b.window)
		end, err := proc.CPUTime(d.pid)
		if fetches = b.internet.Count(dns.TypeTXT) - fetches; fetches == 0 && !b.quick {
			return 0, errors.New("no policy was refreshed")
		}
		return (end - begin) / time.Duration(max(fetches, 1)), err
	})
}

// growthOfStores measures in each round a daemon for each of the stores but the first, with policies of this age, and
// compares the larger ones with the smallest.
func (b *bench) growthOfStores(ctx context.Context, age time.Duration,
	cost func(d *server, policies int) (time.Duration, error)) (got result, err error) {
	sizes := b.stores[1:]
	dirs := make([]string, len(sizes))
	for i, n := range sizes {
		if dirs[i], err = b.storeOf(n, age); err != nil {
			return got, err
		}
	}
	return b.repeat(ctx, func(int) (s sample, err error) {
		meter, err := proc.StartMeter([]int{os.Getpid()})
		if err != nil {
			return s, err
		}
		var least time.Duration
		for i, n := range sizes {
			d, err := b.startDaemon(ctx, daemonConfig{stateDir: dirs[i]})
			if err != nil {
				return s, err
			}
			each, err := cost(d, n)
			if err = errors.Join(err, d.stop()); err != nil {
				return s, err
			}
			if s.note += fmt.Sprintf("%v with %d policies; ", each, n); i == 0 {
				least = max(each, 1)
			} else {
				s.values = append(s.values, float64(each)/float64(least))
			}
		}
		s.others, err = meter.Others()
		return s, err
	})
}

// The parts of a processor below which a daemon is idle, or no longer walks over its store though it refreshes.
const (
	idle   = 0.02
	walked = 0.25
)

// calmCPU waits until a daemon has used less than this part of a processor for a while, a minute at most, and returns
// the CPU time that it has used by then.
func (b *bench) calmCPU(ctx context.Context, d *server, part float64) (used time.Duration, err error) {
	const calmPauses = 4 // in a row: other processes may have kept it from running
	pause := b.settle / 10
	calm := 0
	for deadline := time.Now().Add(time.Minute); calm < calmPauses && ctx.Err() == nil; {
		before := used
		if used, err = proc.CPUTime(d.pid); err != nil || time.Now().After(deadline) {
			return used, err
		}
		if calm++; used-before >= time.Duration(part*float64(pause)) {
			calm = 0
		}
		wait(ctx, pause)
	}
	return used, nil
}
