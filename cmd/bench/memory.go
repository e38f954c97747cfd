package main

import (
	"context"
	"fmt"
	"time"

	"github.com/stsmapd/stsmapd/cmd/bench/internet"
	"github.com/stsmapd/stsmapd/cmd/bench/load"
	"github.com/stsmapd/stsmapd/cmd/bench/proc"
)

// memoryOfNegatives measures the memory for a domain without a policy.
func (b *bench) memoryOfNegatives(ctx context.Context) (got result, err error) {
	d, err := b.startDaemon(ctx, daemonConfig{maxNegative: 2*b.negatives + 1000})
	if err != nil {
		return got, err
	}
	defer d.stop()
	return b.growth(ctx, d, internet.Near, "NOTFOUND ", b.negatives/20, b.negatives)
}

// memoryOfPolicies measures the memory for a policy in use. It comes from the store, as after a restart.
func (b *bench) memoryOfPolicies(ctx context.Context) (got result, err error) {
	dir, err := b.store(b.policies)
	if err != nil {
		return got, err
	}
	d, err := b.startDaemon(ctx, daemonConfig{stateDir: dir})
	if err != nil {
		return got, err
	}
	defer d.stop()
	return b.growth(ctx, d, internet.Kept, "OK secure ", b.policies/20, b.policies*19/20)
}

// growth measures by how much the daemon grows for each of so many domains of a zone. It asks for some others first, so
// that what all domains share is allocated before.
func (b *bench) growth(ctx context.Context, d *server, zone, expect string, before, count int) (got result, err error) {
	if err := b.learn(ctx, d, load.Names{Zone: zone}, before, expect); err != nil {
		return got, err
	}
	small, err := b.settledMemory(ctx, d)
	if err != nil {
		return got, err
	}
	o, err := b.runLoad(ctx, d,
		load.Job{Conns: b.conns, Names: load.Names{Zone: zone, First: before}, Limit: count, Expect: expect})
	if err != nil {
		return got, err
	}
	large, err := b.settledMemory(ctx, d)
	if err != nil {
		return got, err
	}
	perDomain := func(bytes int64) float64 { return float64(bytes) / float64(count) }
	got.samples = []sample{{values: []float64{perDomain(large.Resident - small.Resident)}}}
	got.notes = []string{fmt.Sprintf(
		"%d domains (%d a second): resident from %d to %d KiB; %.0f B for each are anonymous",
		count, o.Rate(), small.Resident>>10, large.Resident>>10, perDomain(large.Anonymous-small.Anonymous))}
	return got, nil
}

// settledMemory waits until the daemon's memory no longer shrinks, a minute at most, and returns it.
func (b *bench) settledMemory(ctx context.Context, d *server) (proc.Memory, error) {
	deadline := time.Now().Add(time.Minute)
	last, err := proc.MemoryOf(d.pid)
	for err == nil && ctx.Err() == nil {
		wait(ctx, b.settle)
		var now proc.Memory
		if now, err = proc.MemoryOf(d.pid); err != nil {
			break
		}
		if now.Resident >= last.Resident-last.Resident/100 || time.Now().After(deadline) {
			return now, nil
		}
		last = now
	}
	return last, err
}
