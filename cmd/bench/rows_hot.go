package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// live: policies that are in force and in memory.
func (b *bench) live(ctx context.Context) (result, error) {
	return b.remembered(ctx, kept, "OK secure ")
}

// absent: domains of which it is remembered that they have no policy.
func (b *bench) absent(ctx context.Context) (result, error) {
	return b.remembered(ctx, near, "NOTFOUND ")
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
			pair, others, err := b.both(round, daemons[i], echoes[i], func(to *server) (outcome, error) {
				return b.load(ctx, to, b.questions(names{Zone: zone, Count: b.hot}, expect))
			})
			if err != nil {
				return s, err
			}
			cost, floor := pair[0].perQuestion(), pair[1].perQuestion()
			s.values = append(s.values, float64(cost)/float64(floor))
			s.others = max(s.others, others)
			notes = append(notes, fmt.Sprintf("%s: %v over %v for a question, %d over %d a second", on, cost, floor,
				pair[0].rate(), pair[1].rate()))
		}
		s.note = strings.Join(notes, "; ")
		return s, nil
	})
}

// withEcho starts a daemon that has the zone's hot domains in memory, and an echo that answers as it does.
func (b *bench) withEcho(ctx context.Context, on network, zone, expect string) (d, e *server, err error) {
	if d, err = b.knowing(ctx, daemonConfig{network: on}, zone, expect); err != nil {
		return nil, nil, err
	}
	reply, err := d.ask(ctx, domain(zone, 0))
	if err == nil {
		e, err = b.startEcho(ctx, on, reply)
	}
	if err != nil {
		return nil, nil, errors.Join(err, d.stop())
	}
	return d, e, nil
}

// rate is the questions answered a second.
func (o outcome) rate() int { return int(float64(o.Questions) / o.Elapsed.Seconds()) }

// both loads two servers one after the other, each being the first in every second round, and returns what that brings
// in the order of the arguments.
func (b *bench) both(round int, x, y *server, load func(*server) (outcome, error)) (pair [2]outcome, others float64,
	err error) {
	servers := [2]*server{x, y}
	for i := range servers {
		at := (i + round) % 2
		if pair[at], err = load(servers[at]); err != nil {
			return pair, 0, err
		}
		others = max(others, pair[at].Others)
	}
	return pair, others, nil
}

// knowing starts a daemon that has the zone's hot domains in memory.
func (b *bench) knowing(ctx context.Context, c daemonConfig, zone, expect string) (*server, error) {
	if zone == kept {
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
	if err := b.teach(ctx, d, names{Zone: zone}, b.hot, expect); err != nil {
		return nil, errors.Join(err, d.stop())
	}
	return d, nil
}

// teach asks for so many domains, once each.
func (b *bench) teach(ctx context.Context, d *server, n names, count int, expect string) error {
	_, err := b.load(ctx, d, job{Conns: b.conns, Names: n, Limit: count, Expect: expect})
	return err
}

// allocationsPerQuestion counts the objects that the daemon allocates, whatever for, while it answers for live
// policies.
func (b *bench) allocationsPerQuestion(ctx context.Context) (got result, err error) {
	d, err := b.knowing(ctx, daemonConfig{metrics: true}, kept, "OK secure ")
	if err != nil {
		return got, err
	}
	defer d.stop()
	return b.repeat(ctx, func(int) (s sample, err error) {
		const scrapes = 4 // the first two tell what looking costs
		var counts [scrapes]float64
		for i := range counts {
			if i == scrapes-1 {
				j := job{Conns: 10, Names: names{Zone: kept, Count: b.hot}, Limit: b.allocations, Expect: "OK secure "}
				if _, err := b.load(ctx, d, j); err != nil {
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

// metric reads one of stsmapd's metrics that has no labels.
func (s *server) metric(ctx context.Context, name string) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.metrics+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, found := strings.CutPrefix(line, name+" "); found {
			return strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	return 0, fmt.Errorf("no %s among stsmapd's metrics", name)
}
