package config

import (
	"cmp"
	"crypto/x509"
	"encoding/json"
	"errors"
	"os"
	"os/user"
	"strconv"
	"strings"
	"time"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/fetch"
)

// Setting is a setting in force. Secrets are not shown.
type Setting struct {
	Key   string          `json:"setting"` // with its table: "dns.timeout"
	Value json.RawMessage `json:"value"`   // also the value in TOML
	From  string          `json:"from"`    // "default", FILE:LINE, a flag, or a variable of the environment
}

// Effective returns every setting in force, in the order of the documented file, and then the overrides.
func (c *Config) Effective(env func(string) string, uid int) []Setting {
	shown := *c
	if shown.Control == nil {
		spec, err := c.ControlSocket(env, uid)
		if err == nil {
			shown.Control = &spec
		}
	}
	var all []Setting
	for _, s := range shown.settings() {
		from := cmp.Or(c.from[s.key], fromDefault)
		if s.key == "control" && c.Control == nil {
			_, from = runtimeDir(env, uid)
		}
		all = append(all, Setting{s.key, json.RawMessage(s.value.String()), cmp.Or(from, fromDefault)})
	}
	for _, o := range c.Overrides.All() {
		all = append(all, Setting{overrideTable, json.RawMessage(quote(overrideText(o))),
			c.File + ":" + strconv.Itoa(c.line[overrideLine(o.String())])})
	}
	return all
}

// overrideLine is the key of an override's line in Config.line.
func overrideLine(domain string) string { return overrideTable + " " + domain }

// overrideText is an override in one line.
func overrideText(o *resolver.Override) string {
	text := o.String() + ": " + o.Action.String()
	for _, p := range o.MX {
		text += " " + p.String()
	}
	if !o.Until.IsZero() {
		text += ", until " + o.Until.AddDate(0, 0, -1).Format(time.DateOnly)
	}
	return text
}

// Roots reads the trusted roots for policy hosts. The error is fetch.ErrNoRoots where the system has none, and names
// what is wrong with a file or directory that was named.
func (c *Config) Roots() (*x509.CertPool, error) {
	roots, err := fetch.LoadRoots(c.Fetch.CAFile)
	if err != nil && c.Fetch.CAFile != "" {
		return nil, c.Wrong("fetch.ca_file", err)
	}
	return roots, err
}

// CheckHost returns an error for a setting that names a file or a group of this host which cannot be used.
func (c *Config) CheckHost(credentials string) error {
	if _, err := c.Roots(); err != nil && !errors.Is(err, fetch.ErrNoRoots) {
		return err
	}
	for key, group := range map[string]string{"socket_group": c.SocketGroup, "control_group": c.ControlGroup} {
		if group == "" {
			continue
		}
		if _, err := strconv.ParseUint(group, 10, 32); err == nil {
			continue
		}
		if _, err := user.LookupGroup(group); err != nil {
			return c.Wrong(key, errors.New("this host has no such group"))
		}
	}
	if info, err := os.Stat(c.StateDir); err == nil && !info.IsDir() {
		return c.Wrong("state_dir", errors.New("it is a file"))
	}
	if strings.TrimSpace(c.Shared.URL) == "" {
		return nil
	}
	_, err := c.Endpoint(credentials)
	return err
}
