package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

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
