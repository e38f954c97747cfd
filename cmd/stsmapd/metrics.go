package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/stsmapd/stsmapd/cache"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/admin"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/socketmap"
	"github.com/stsmapd/stsmapd/socketmap/tlspolicy"
)

// metricsGrace is for pages and scrapes under way when the daemon ends.
const metricsGrace = time.Second

// served is what the daemon answers questions with, for those who count.
type served struct {
	store   *cache.Bolt
	memory  *cache.Memory
	fleet   *openedShared
	service *resolver.Service
	handler *tlspolicy.Handler
	server  *socketmap.Server
}

// openedMetrics is the daemon's HTTP listener; nil: it has none.
type openedMetrics struct {
	server *admin.WebServer
	served chan struct{}
}

// openMetrics opens the HTTP listener, if systemd or the configuration asks for one.
func (d *daemon) openMetrics(c config, s served, probe *admin.Prober) (*openedMetrics, error) {
	l := d.manager.metrics
	if l == nil && c.Metrics == "" {
		return nil, nil
	}
	if l == nil {
		var err error
		if l, err = net.Listen("tcp", c.Metrics); err != nil {
			return nil, fmt.Errorf("metrics: %w", err)
		}
	}
	host, _, _ := net.SplitHostPort(c.Metrics) // checkMetrics has seen it
	o := &openedMetrics{
		server: admin.NewWeb(admin.WebOptions{
			Host: host, Service: s.service, Store: s.store.Stats, Shared: s.fleet.stats, Questions: s.handler.Counts,
			Conns: s.server.Conns, MaxConns: maxConns(s.server), Probe: probe, Reload: d.reloads.last, Log: d.log,
			Info: admin.Info{Version: version(), Started: time.Now().UTC(), Config: c.file, Listen: c.Listen,
				StateDir: c.StateDir},
		}),
		served: make(chan struct{}),
	}
	go func() {
		defer close(o.served)
		if err := o.server.Serve(l); err != nil {
			d.log.Error("metrics and status page have failed until stsmapd is started again; mail is not concerned",
				"event", "metrics_failed", "metrics", l.Addr().String(), "error", err)
		}
	}()
	return o, nil
}

func maxConns(s *socketmap.Server) int {
	if s.MaxConns > 0 {
		return s.MaxConns
	}
	return socketmap.DefaultMaxConns
}

// ready says whether questions are answered.
func (o *openedMetrics) ready(ready bool) {
	if o != nil {
		o.server.Ready(ready)
	}
}

func (o *openedMetrics) close() {
	if o == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), metricsGrace)
	defer cancel()
	o.server.Shutdown(ctx)
	<-o.served
}

// reloads remembers how the last reading of the configuration went.
type reloads struct{ state atomic.Pointer[admin.Reload] }

func (r *reloads) done(err error) {
	r.state.Store(&admin.Reload{At: time.Now().UTC(), Failed: err != nil})
}

func (r *reloads) last() admin.Reload {
	if s := r.state.Load(); s != nil {
		return *s
	}
	return admin.Reload{}
}

// checkMetrics checks the setting `metrics`.
func checkMetrics(address string) error {
	if address == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" || port == "" {
		return fmt.Errorf("metrics is %.120q, must be HOST:PORT such as 127.0.0.1:9461, or empty for none", address)
	}
	return nil
}

// journalPrefix begins the message with which the daemon fails to start, where it goes to the journal.
func journalPrefix(w any) string {
	if f, ok := w.(*os.File); ok && toJournal(f, os.Getenv("JOURNAL_STREAM")) {
		return "<3>"
	}
	return ""
}
