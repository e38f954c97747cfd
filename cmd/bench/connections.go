package main

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/stsmapd/stsmapd/cmd/bench/internet"
	"github.com/stsmapd/stsmapd/cmd/bench/load"
	"github.com/stsmapd/stsmapd/cmd/bench/proc"
)

// connectionsServed counts how many questions are answered that wait on as many open connections at once.
func (b *bench) connectionsServed(ctx context.Context) (got result, err error) {
	d, err := b.startWarm(ctx, daemonConfig{}, internet.Kept, "OK secure ")
	if err != nil {
		return got, err
	}
	defer d.stop()
	before, err := proc.MemoryOf(d.pid)
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
		if _, err := conn.Write(load.Names{Zone: internet.Kept, Count: b.hot}.AppendQuestion(nil, i)); err != nil {
			return got, fmt.Errorf("connection %d: %w", i+1, err)
		}
	}
	answered := 0
	buf := make([]byte, 4096)
	for _, conn := range conns {
		if reply, err := load.ReadReply(conn, buf); err == nil && strings.HasPrefix(string(reply), "OK secure ") {
			answered++
		}
	}
	took := time.Since(begin)
	after, err := proc.MemoryOf(d.pid)
	if err != nil {
		return got, err
	}
	got.samples = []sample{{values: []float64{float64(answered)}}}
	got.notes = []string{fmt.Sprintf("%d connections opened and answered in %v; %d B of memory for each",
		answered, took.Round(time.Millisecond), (after.Resident-before.Resident)/int64(b.open))}
	return got, nil
}
