package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/stsmapd/stsmapd/cache"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
)

// store makes a state directory with the policies of the first domains that are kept, all fetched just now.
func (b *bench) store(policies int) (dir string, err error) {
	b.started++
	dir = filepath.Join(b.dir, fmt.Sprintf("store-%d", b.started))
	store, err := cache.OpenBolt(filepath.Join(dir, "policies.db"),
		cache.BoltOptions{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return "", err
	}
	now := time.Now().UTC().Truncate(time.Second)
	const writers = 1000 // share a commit
	failed := make(chan error, writers)
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := w; i < policies; i += writers {
				e, err := entry(domain(kept, i), now)
				if err == nil {
					err = store.Put(context.Background(), e)
				}
				if err != nil {
					failed <- err
					return
				}
			}
		})
	}
	all.Wait()
	close(failed)
	for e := range failed {
		err = errors.Join(err, e)
	}
	return dir, errors.Join(err, store.Close())
}

func entry(name string, now time.Time) (resolver.Entry, error) {
	domain, err := dnsname.Parse(name)
	if err != nil {
		return resolver.Entry{}, err
	}
	p, err := mtasts.ParsePolicy([]byte(policyText(name)))
	return resolver.Entry{Domain: domain, ID: "1", Policy: p, Fetched: now, Checked: now, Used: now}, err
}

// firstAnswer: from the start of the process to its first answer, for a policy that is in the store. What a store of
// many takes longer than a store of one is due to the many; an empty one would be slower than that, for it has to be
// made.
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
		meter, err := startMeter([]int{os.Getpid()})
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
		s.others, err = meter.others()
		return s, err
	})
}

// timeStart starts a stsmapd, waits for its first answer, and ends it.
func (b *bench) timeStart(ctx context.Context, dir string, policies int) (took time.Duration, err error) {
	begin := time.Now()
	d, err := b.launch(ctx, daemonConfig{stateDir: dir})
	if err != nil {
		return 0, err
	}
	reply, err := d.firstReply(names{Zone: kept, First: policies / 2}.appendQuestion(nil, 0))
	took = time.Since(begin)
	if err == nil && !strings.HasPrefix(reply, "OK secure ") {
		err = fmt.Errorf("the first answer is %q", reply)
	}
	return took, errors.Join(err, d.stop())
}

// firstReply asks as soon as the server can be connected to.
func (s *server) firstReply(question []byte) (string, error) {
	var conn net.Conn
	var err error
	for deadline := time.Now().Add(readyLimit); ; {
		if conn, err = s.dial(); err == nil {
			break
		}
		select {
		case <-s.exited:
			return "", s.failure("ended")
		case <-time.After(100 * time.Microsecond):
		}
		if time.Now().After(deadline) {
			return "", s.failure("does not listen")
		}
	}
	defer conn.Close()
	if _, err := conn.Write(question); err != nil {
		return "", err
	}
	reply, err := readReply(conn, make([]byte, 4096))
	return string(reply), err
}

// connectionsServed: so many connections are open at once, and so many questions; how many are answered?
func (b *bench) connectionsServed(ctx context.Context) (got result, err error) {
	d, err := b.knowing(ctx, daemonConfig{}, kept, "OK secure ")
	if err != nil {
		return got, err
	}
	defer d.stop()
	before, err := memoryOf(d.pid)
	if err != nil {
		return got, err
	}
	var conns []net.Conn
	defer func() {
		for _, conn := range conns {
			conn.Close()
		}
	}()
	begin := time.Now()
	for i := range b.open {
		conn, err := d.dial()
		if err != nil {
			return got, fmt.Errorf("connection %d: %w", i+1, err)
		}
		conns = append(conns, conn)
		if err := conn.SetDeadline(begin.Add(readyLimit)); err != nil {
			return got, err
		}
		if _, err := conn.Write(names{Zone: kept, Count: b.hot}.appendQuestion(nil, i)); err != nil {
			return got, fmt.Errorf("connection %d: %w", i+1, err)
		}
	}
	answered := 0
	buf := make([]byte, 4096)
	for _, conn := range conns {
		if reply, err := readReply(conn, buf); err == nil && strings.HasPrefix(string(reply), "OK secure ") {
			answered++
		}
	}
	took := time.Since(begin)
	after, err := memoryOf(d.pid)
	if err != nil {
		return got, err
	}
	got.samples = []sample{{values: []float64{float64(answered)}}}
	got.notes = []string{fmt.Sprintf("%d connections opened and answered in %v; %d B of memory for each",
		answered, took.Round(time.Millisecond), (after.resident-before.resident)/int64(b.open))}
	return got, nil
}
