package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/stsmapd/stsmapd/cache"
	"github.com/stsmapd/stsmapd/resolver"
)

// sharedConfig is [shared] in the configuration file: the engine by which hosts share what they know.
type sharedConfig struct {
	URL                  string   `toml:"url"`
	PasswordFile         string   `toml:"password_file"`
	SentinelPasswordFile string   `toml:"sentinel_password_file"`
	CAFile               string   `toml:"ca_file"`
	Prefix               string   `toml:"prefix"`
	Name                 string   `toml:"name"` // of this host; "": its host name
	Timeout              duration `toml:"timeout"`
}

// The systemd credentials that stand in for password_file and sentinel_password_file.
const (
	passwordCredential         = "shared-password"
	sentinelPasswordCredential = "shared-sentinel-password"
)

func defaultShared() sharedConfig {
	return sharedConfig{Prefix: cache.DefaultPrefix, Timeout: duration(cache.DefaultBudget)}
}

// check checks the settings, but not the files that they name. Errors name the key, and never hold a password.
func (c sharedConfig) check() error {
	if c.Prefix == "" || len(c.Prefix) > 64 ||
		strings.ContainsFunc(c.Prefix, func(r rune) bool { return r <= ' ' || r > '~' || r == '{' || r == '}' }) {
		return fmt.Errorf("shared.prefix is %.80q, must be 1 to 64 ASCII characters without spaces and braces",
			c.Prefix)
	}
	if t := time.Duration(c.Timeout); t < 10*time.Millisecond || t > time.Second {
		return errors.New("shared.timeout must be between 10ms and 1s")
	}
	if c.Name != "" && !cache.ValidHost(c.Name) {
		return fmt.Errorf("shared.name is %.80q, must be 1 to 64 letters, digits, dots, hyphens and underscores",
			c.Name)
	}
	if c.URL == "" {
		return nil
	}
	if _, err := cache.ParseEndpoint(c.URL); err != nil {
		return fmt.Errorf("shared.url: %w", err)
	}
	return nil
}

// endpoint is where the engine is, with the files of this host. The error names the key.
func (c sharedConfig) endpoint(credentials string) (cache.Endpoint, error) {
	e, err := cache.ParseEndpoint(c.URL)
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

// credential is the path of a systemd credential, "" where there is none.
func credential(dir, name string) string {
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); dir == "" || err != nil {
		return ""
	}
	return path
}

// openedShared is the daemon's end of the shared engine; nil: it has none.
type openedShared struct{ *cache.Shared }

// openShared begins to connect to the engine that the configuration names, if it does. The daemon does not wait for it.
func (d *daemon) openShared(c config) (*openedShared, error) {
	if c.Shared.URL == "" {
		return nil, nil
	}
	endpoint, err := c.Shared.endpoint(os.Getenv("CREDENTIALS_DIRECTORY"))
	if err != nil {
		return nil, c.blame(err)
	}
	host := c.Shared.Name
	if host == "" {
		if host, err = os.Hostname(); err != nil {
			d.log.Warn("this host has no name to tell others of: set shared.name", "event", "no_hostname", "error", err)
		}
	}
	return &openedShared{cache.OpenShared(cache.SharedOptions{
		Endpoint: endpoint, Prefix: c.Shared.Prefix, Host: host, Budget: time.Duration(c.Shared.Timeout), Logger: d.log,
	})}, nil
}

// fleet is what the service is told of.
func (o *openedShared) fleet() resolver.Fleet {
	if o == nil {
		return nil
	}
	return o.Shared
}

// stats counts; without an engine all is zero.
func (o *openedShared) stats() cache.SharedStats {
	if o == nil {
		return cache.SharedStats{}
	}
	return o.Shared.Stats()
}

func (o *openedShared) close() {
	if o != nil {
		o.Shared.Close()
	}
}
