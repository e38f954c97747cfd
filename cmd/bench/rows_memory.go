package main

import (
	"context"
	"fmt"
	"time"
)

// memoryOfNegatives: what a domain without a policy takes.
func (b *bench) memoryOfNegatives(ctx context.Context) (got result, err error) {
	d, err := b.startDaemon(ctx, daemonConfig{maxNegative: 2*b.negatives + 1000})
	if err != nil {
		return got, err
	}
	defer d.stop()
	return b.growth(ctx, d, near, "NOTFOUND ", b.negatives/20, b.negatives)
}

// memoryOfPolicies: what a policy in use takes. It comes from the store, as after a restart.
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
	return b.growth(ctx, d, kept, "OK secure ", b.policies/20, b.policies*19/20)
}

// growth is by how much the daemon grows for each domain, over so many of a zone. Some were asked for before, so that
// what all of them need together is there.
func (b *bench) growth(ctx context.Context, d *server, zone, expect string, before, count int) (got result, err error) {
	if err := b.teach(ctx, d, names{Zone: zone}, before, expect); err != nil {
		return got, err
	}
	small, err := b.settled(ctx, d)
	if err != nil {
		return got, err
	}
	o, err := b.load(ctx, d, job{Conns: b.conns, Names: names{Zone: zone, First: before}, Limit: count, Expect: expect})
	if err != nil {
		return got, err
	}
	large, err := b.settled(ctx, d)
	if err != nil {
		return got, err
	}
	perDomain := func(bytes int64) float64 { return float64(bytes) / float64(count) }
	got.samples = []sample{{values: []float64{perDomain(large.resident - small.resident)}}}
	got.notes = []string{fmt.Sprintf(
		"%d domains (%d a second): resident from %d to %d KiB; %.0f B for each are no file's",
		count, o.rate(), small.resident>>10, large.resident>>10, perDomain(large.anonymous-small.anonymous))}
	return got, nil
}

// settled waits until the daemon's memory has not shrunk for a while, a minute at most, and returns it.
func (b *bench) settled(ctx context.Context, d *server) (memory, error) {
	deadline := time.Now().Add(time.Minute)
	last, err := memoryOf(d.pid)
	for err == nil && ctx.Err() == nil {
		wait(ctx, b.settle)
		var now memory
		if now, err = memoryOf(d.pid); err != nil {
			break
		}
		if now.resident >= last.resident-last.resident/100 || time.Now().After(deadline) {
			return now, nil
		}
		last = now
	}
	return last, err
}
