package main

import (
	"github.com/stsmapd/stsmapd/cache/shared"

	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/stsmapd/stsmapd/cache/record"
	"github.com/stsmapd/stsmapd/resolver"
)

// sharedConfig is [shared] in the configuration file: the engine through which hosts share policies.
type sharedConfig struct {
	URL                  string   `toml:"url"`
	PasswordFile         string   `toml:"password_file"`
	SentinelPasswordFile string   `toml:"sentinel_password_file"`
	CAFile               string   `toml:"ca_file"`
	Prefix               string   `toml:"prefix"`
	Name                 string   `toml:"name"` // of this host; "": its host name
	Timeout              duration `toml:"timeout"`
}

// The systemd credentials that are used if password_file and sentinel_password_file are empty.
const (
	passwordCredential         = "shared-password"
	sentinelPasswordCredential = "shared-sentinel-password"
)

func defaultShared() sharedConfig {
	return sharedConfig{Prefix: shared.DefaultPrefix, Timeout: duration(shared.DefaultBudget)}
}

// check checks the settings, but not the files that they name. Errors name the key and contain no password.
func (c sharedConfig) check() error {
	if c.Prefix == "" || len(c.Prefix) > 64 ||
		strings.ContainsFunc(c.Prefix, func(r rune) bool { return r <= ' ' || r > '~' || r == '{' || r == '}' }) {
		return fmt.Errorf("shared.prefix is %.80q, must be 1 to 64 ASCII characters without spaces and braces",
			c.Prefix)
	}
	if t := time.Duration(c.Timeout); t < 10*time.Millisecond || t > time.Second {
		return errors.New("shared.timeout must be between 10ms and 1s")
	}
	if c.Name != "" && !record.ValidHost(c.Name) {
		return fmt.Errorf("shared.name is %.80q, must be 1 to 64 letters, digits, dots, hyphens and underscores",
			c.Name)
	}
	if c.URL == "" {
		return nil
	}
	if _, err := shared.ParseEndpoint(c.URL); err != nil {
		return fmt.Errorf("shared.url: %w", err)
	}
	return nil
}

// endpoint returns the address of the engine with its password and CA files. Errors name the key.
func (c sharedConfig) endpoint(credentials string) (shared.Endpoint, error) {
	e, err := shared.ParseEndpoint(c.URL)
	if err != nil {
		return e, fmt.Errorf("shared.url: %w", err)
	}
	e.PasswordFile, e.SentinelPasswordFile, e.CAFile = c.PasswordFile, c.SentinelPasswordFile, c.CAFile
	if e.PasswordFile == "" {
		e.PasswordFile = credential(credentials, passwordCredential)
	}
	if e.SentinelPasswordFile == "" {
		e.SentinelPasswordFile = credential(credentials, sentinelPasswordCredential)
	}
	return e, e.Check()
}

// credential returns the path of a systemd credential, or "" if there is none.
func credential(dir, name string) string {
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); dir == "" || err != nil {
		return ""
	}
	return path
}

// sharedEngine is the daemon's connection to the shared engine. Its methods accept nil, a daemon without one.
type sharedEngine struct{ *shared.Fleet }

// openShared starts to connect to the configured engine, without waiting for the connection. It returns nil if none is
// configured.
func (d *daemon) openShared(c config) (*sharedEngine, error) {
	if c.Shared.URL == "" {
		return nil, nil
	}
	endpoint, err := c.Shared.endpoint(os.Getenv("CREDENTIALS_DIRECTORY"))
	if err != nil {
		return nil, c.inFile(err)
	}
	host := c.Shared.Name
	if host == "" {
		if host, err = os.Hostname(); err != nil {
			d.log.Warn("cannot find the name of this host: other hosts do not show which host fetched its policies; "+
				"set shared.name", "event", "no_hostname", "error", err)
		}
	}
	return &sharedEngine{shared.Open(shared.Options{
		Endpoint: endpoint, Prefix: c.Shared.Prefix, Host: host, Budget: time.Duration(c.Shared.Timeout), Logger: d.log,
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
