package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/stsmapd/stsmapd/cmd/bench/internet"
	"github.com/stsmapd/stsmapd/cmd/bench/load"
)

// live: policies that are in force and in memory.
func (b *bench) live(ctx context.Context) (result, error) {
	return b.remembered(ctx, internet.Kept, "OK secure ")
}

// absent: domains of which it is remembered that they have no policy.
func (b *bench) absent(ctx context.Context) (result, error) {
	return b.remembered(ctx, internet.Near, "NOTFOUND ")
}

// remembered compares the CPU time of questions that memory answers with that of echo, over both kinds of socket.
func (b *bench) remembered(ctx context.Context, zone, expect string) (got result, err error) {
	networks := []network{unixSocket, tcp}
	var daemons, echoes []*server
	defer func() {
		for _, s := range append(daemons, echoes...) {
			err = errors.Join(err, s.stop())
		}
	}()
	for _, on := range networks {
		d, e, err := b.withEcho(ctx, on, zone, expect)
		if err != nil {
			return got, err
		}
		daemons, echoes = append(daemons, d), append(echoes, e)
	}
	return b.repeat(ctx, func(round int) (s sample, err error) {
		var notes []string
		for i, on := range networks {
			pair, others, err := b.alternate(round, daemons[i], echoes[i], func(to *server) (load.Outcome, error) {
				return b.runLoad(ctx, to, b.questions(load.Names{Zone: zone, Count: b.hot}, expect))
			})
			if err != nil {
				return s, err
			}
			cost, floor := pair[0].PerQuestion(), pair[1].PerQuestion()
			s.values = append(s.values, float64(cost)/float64(floor))
			s.others = max(s.others, others)
			notes = append(notes, fmt.Sprintf("%s: %v over %v for a question, %d over %d a second", on, cost, floor,
				pair[0].Rate(), pair[1].Rate()))
		}
		s.note = strings.Join(notes, "; ")
		return s, nil
	})
}

// withEcho starts a daemon that has the zone's hot domains in memory, and an echo that answers as it does.
func (b *bench) withEcho(ctx context.Context, on network, zone, expect string) (d, e *server, err error) {
	if d, err = b.startWarm(ctx, daemonConfig{network: on}, zone, expect); err != nil {
		return nil, nil, err
	}
	reply, err := d.ask(ctx, internet.Domain(zone, 0))
	if err == nil {
		e, err = b.startEcho(ctx, on, reply)
	}
	if err != nil {
		return nil, nil, errors.Join(err, d.stop())
	}
	return d, e, nil
}

// alternate loads two servers one after the other, each first in every second round. It returns the outcomes in the
// order of the arguments, and the part of the machine that other processes had, at most.
func (b *bench) alternate(round int, x, y *server, run func(*server) (load.Outcome, error)) (
	pair [2]load.Outcome, others float64, err error) {
	servers := [2]*server{x, y}
	for i := range servers {
		at := (i + round) % 2
		if pair[at], err = run(servers[at]); err != nil {
			return pair, 0, err
		}
		others = max(others, pair[at].Others)
	}
	return pair, others, nil
}

// startWarm starts a daemon and asks for the zone's hot domains, so that they are in memory.
func (b *bench) startWarm(ctx context.Context, c daemonConfig, zone, expect string) (*server, error) {
	if zone == internet.Kept {
		dir, err := b.store(b.hot)
		if err != nil {
			return nil, err
		}
		c.stateDir = dir
	}
	d, err := b.startDaemon(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := b.learn(ctx, d, load.Names{Zone: zone}, b.hot, expect); err != nil {
		return nil, errors.Join(err, d.stop())
	}
	return d, nil
}

// learn asks the daemon once for each of so many domains.
func (b *bench) learn(ctx context.Context, d *server, n load.Names, count int, expect string) error {
	_, err := b.runLoad(ctx, d, load.Job{Conns: b.conns, Names: n, Limit: count, Expect: expect})
	return err
}

// allocationsPerQuestion counts the objects that the daemon allocates, whatever for, while it answers for live
// policies.
func (b *bench) allocationsPerQuestion(ctx context.Context) (got result, err error) {
	d, err := b.startWarm(ctx, daemonConfig{metrics: true}, internet.Kept, "OK secure ")
	if err != nil {
		return got, err
	}
	defer d.stop()
	return b.repeat(ctx, func(int) (s sample, err error) {
		const scrapes = 4 // the first two tell what looking costs
		var counts [scrapes]float64
		for i := range counts {
			if i == scrapes-1 {
				j := load.Job{Conns: 10, Names: load.Names{Zone: internet.Kept, Count: b.hot}, Limit: b.allocations,
					Expect: "OK secure "}
				if _, err := b.runLoad(ctx, d, j); err != nil {
					return s, err
				}
			}
			if counts[i], err = d.metric(ctx, "go_memstats_mallocs_total"); err != nil {
				return s, err
			}
		}
		look := counts[2] - counts[1]
		all := counts[3] - counts[2] - look
		s.values = []float64{max(all, 0) / float64(b.allocations)}
		s.note = fmt.Sprintf("%.0f allocations for %d questions", all, b.allocations)
		return s, nil
	})
}
