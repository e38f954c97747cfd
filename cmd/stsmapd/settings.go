package main

import (
	"crypto/x509"
	"errors"
	"log/slog"
	"reflect"
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/config"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsclient"
	"github.com/stsmapd/stsmapd/resolver/fetch"
	"github.com/stsmapd/stsmapd/resolver/tlsrpt"
)

// reports is the connection to the TLSRPT collector at path.
type reports struct {
	path      string
	collector *tlsrpt.Collector
}

// settings returns the settings that a reload may change.
func (d *daemon) settings(c config.Config) (resolver.Settings, error) {
	budget := currentFileBudget(c)
	budget.log(d.log, c.Fetch.Concurrency)
	dns, err := newDNS(c, dnsclient.Config{Problem: d.resolvConfProblem, MaxSockets: budget.dns})
	if err != nil {
		return resolver.Settings{}, err
	}
	roots, err := c.Roots()
	switch {
	case errors.Is(err, fetch.ErrNoRoots):
		d.log.Error("no CA roots: no policy can be fetched; live policies are served until they expire; install "+
			"ca-certificates or set fetch.ca_file", "event", "no_roots", "error",
			err)
	case err != nil:
		return resolver.Settings{}, err
	}
	reportOverrides(c.Overrides, time.Now(), d.log)
	d.dns.Store(dns.WithDNSSEC())
	return resolver.Settings{
		DNS:              dns,
		ProbeDNS:         dns.Probe,
		SecureDNS:        dns.WithDNSSEC(),
		TrustedAD:        dns.AuthenticServers,
		Network:          d.network.update(c.DNS, c.Fetch, roots),
		NoRoots:          roots == nil,
		Fetcher:          fetch.New(dns, fetchConfig(c, roots)),
		FetchConcurrency: budget.fetches,
		RefreshInterval:  c.Refresh.Interval,
		UnusedAfter:      c.Refresh.UnusedAfter,
		MaxPolicies:      c.Cache.MaxPolicies,
		MaxStoreBytes:    c.Cache.Store,
		Overrides:        c.Overrides,
		Reporter:         d.reporter(c.TLSRPT),
	}, nil
}

// newDNS returns a DNS client with the settings of [dns], and with what else the daemon or a command sets. The error is
// the configuration's.
func newDNS(c config.Config, o dnsclient.Config) (*dnsclient.Client, error) {
	o.Servers, o.Timeout, o.Attempts, o.TrustAD = c.DNS.Servers, c.DNS.Timeout, c.DNS.Attempts, c.DNS.TrustAD
	o.TCP = c.DNS.Transport == "tcp"
	dns, err := dnsclient.New(o)
	if err != nil {
		return nil, c.Wrong("dns.servers", err)
	}
	return dns, nil
}

// fetchConfig returns the settings of [fetch].
func fetchConfig(c config.Config, roots *x509.CertPool) fetch.Config {
	return fetch.Config{Timeout: c.Fetch.Timeout, AllowPrivate: c.Fetch.AllowPrivate, Roots: roots,
		UserAgent: "stsmapd/" + version()}
}

// network is what lookups and fetches go by.
type network struct {
	dns        config.DNS
	fetch      config.Fetch
	roots      *x509.CertPool
	generation uint64 // counts the changes
}

// update returns the generation with these settings.
func (n *network) update(dns config.DNS, fetch config.Fetch, roots *x509.CertPool) uint64 {
	if !reflect.DeepEqual(n.dns, dns) || !reflect.DeepEqual(n.fetch, fetch) || !n.roots.Equal(roots) {
		*n = network{dns, fetch, roots, n.generation + 1}
	}
	return n.generation
}

// resolvConfProblem logs what is wrong with resolv.conf.
func (d *daemon) resolvConfProblem(problem error) {
	d.log.Warn("resolv.conf cannot be used, or a part of it is ignored; lookups use the rest, or the servers named "+
		"before",
		"event", "resolv_conf", "error", problem)
}

// reporter returns the TLSRPT collector at path, or nil if path is "". It keeps the connection if path is the same as
// before, and closes it otherwise.
func (d *daemon) reporter(path string) resolver.Reporter {
	if d.reports != nil && d.reports.path != path {
		d.reports.collector.Close()
		d.reports = nil
	}
	if path == "" {
		return nil
	}
	if d.reports == nil {
		d.reports = &reports{path, tlsrpt.New(path, d.log)}
	}
	return d.reports.collector
}

// reportOverrides logs the overrides that have expired, once for each load of the configuration.
func reportOverrides(set *resolver.Overrides, now time.Time, log *slog.Logger) {
	for _, o := range set.Expired(now) {
		log.Warn("an override has expired and has no effect: remove it from the configuration, or set a later date",
			"event", "override_ended", "domain", o.String(), "ended", o.Until, "reason", o.Reason)
	}
}
