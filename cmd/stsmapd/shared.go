package main

import (
	"os"

	"github.com/stsmapd/stsmapd/cache/shared"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/config"
	"github.com/stsmapd/stsmapd/resolver"
)

// sharedEngine is the daemon's connection to the shared engine. Its methods accept nil, a daemon without one.
type sharedEngine struct{ *shared.Fleet }

// openShared starts to connect to the configured engine, without waiting for the connection. It returns nil if none is
// configured.
func (d *daemon) openShared(c config.Config) (*sharedEngine, error) {
	if c.Shared.URL == "" {
		return nil, nil
	}
	endpoint, err := c.Endpoint(os.Getenv("CREDENTIALS_DIRECTORY"))
	if err != nil {
		return nil, err
	}
	host := c.Shared.Name
	if host == "" {
		if host, err = os.Hostname(); err != nil {
			d.log.Warn("cannot find the name of this host: other hosts do not show which host fetched its policies; "+
				"set shared.name", "event", "no_hostname", "error", err)
		}
	}
	return &sharedEngine{shared.Open(shared.Options{
		Endpoint: endpoint, Prefix: c.Shared.Prefix, Host: host, Budget: c.Shared.Timeout, Logger: d.log,
	})}, nil
}

// fleet returns the engine for resolver.Options, nil if there is none.
func (o *sharedEngine) fleet() resolver.Fleet {
	if o == nil {
		return nil
	}
	return o.Fleet
}

// stats returns the counters of the engine, all zero if there is none.
func (o *sharedEngine) stats() shared.Stats {
	if o == nil {
		return shared.Stats{}
	}
	return o.Fleet.Stats()
}

func (o *sharedEngine) close() {
	if o != nil {
		o.Fleet.Close()
	}
}
