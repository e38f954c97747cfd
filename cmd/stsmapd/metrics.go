package main

import (
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/stsmapd/stsmapd/cache"
	"github.com/stsmapd/stsmapd/cache/store"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/admin"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/config"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/socketmap"
	"github.com/stsmapd/stsmapd/socketmap/tlspolicy"
)

// components are the parts of the daemon that metrics and reloads use.
type components struct {
	store   *store.Store
	memory  *cache.Memory
	fleet   *sharedEngine
	service *resolver.Service
	handler *tlspolicy.Handler
	server  *socketmap.Server
	metrics *prometheus.Registry
}

// openMetrics opens the HTTP listener of systemd or of the configuration. web is nil if there is neither.
func (d *daemon) openMetrics(c config.Config, monitor *admin.Monitor, probe *admin.Prober) (web *admin.WebServer,
	stop func(), err error) {
	l := d.manager.Metrics
	if l == nil && c.Metrics == "" {
		return nil, func() {}, nil
	}
	if l == nil {
		if l, err = net.Listen("tcp", c.Metrics); err != nil {
			return nil, nil, fmt.Errorf("metrics: %w", err)
		}
	}
	host, _, _ := net.SplitHostPort(c.Metrics) // checked by the configuration
	web = admin.NewWeb(monitor, admin.WebOptions{Host: host, Probe: probe})
	return web, startServing(web, l, func(err error) {
		d.log.Error("the metrics listener failed: no metrics, health checks and status page until stsmapd is "+
			"restarted; mail is not affected",
			"event", "metrics_failed", "metrics", l.Addr().String(), "error", err)
	}), nil
}

// monitor returns the view of the daemon that the control socket and the HTTP listener share.
func (d *daemon) monitor(c config.Config, s components) *admin.Monitor {
	return admin.NewMonitor(admin.Sources{
		Service: s.service, Store: s.store.Stats, Shared: s.fleet.stats, Questions: s.handler.Counts,
		Conns: s.server.Conns, MaxConns: maxConns(s.server), Reload: d.reloads.last, Log: d.log, Resolver: s.metrics,
		History: d.history, LogDropped: d.out.Dropped,
		Info: admin.Info{Version: version(), PID: os.Getpid(), Started: time.Now().UTC().Truncate(time.Second),
			Config: c.File, Listen: c.Listen, StateDir: c.StateDir},
	})
}

func maxConns(s *socketmap.Server) int {
	if s.MaxConns > 0 {
		return s.MaxConns
	}
	return socketmap.DefaultMaxConns
}

// reloadRecord holds the result of the last load of the configuration.
type reloadRecord struct{ state atomic.Pointer[admin.Reload] }

func (r *reloadRecord) record(err error) {
	r.state.Store(&admin.Reload{At: time.Now().UTC(), Err: err})
}

func (r *reloadRecord) last() admin.Reload {
	if s := r.state.Load(); s != nil {
		return *s
	}
	return admin.Reload{}
}
