// Package config reads the configuration file of stsmapd. One table, Config.settings, has every setting with the values
// that it may have: reading, error texts and the command `config` go by it.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/logging"
	"github.com/stsmapd/stsmapd/resolver"
)

// DefaultFile is read when it exists and no other file is named.
const DefaultFile = "/etc/stsmapd/stsmapd.toml"

// Config has every setting of the configuration file (stsmapd.toml), and the defaults of those that it does not set.
type Config struct {
	File string // path that it was read from; "" without a file

	Listen       []string
	SocketMode   fs.FileMode
	SocketGroup  string
	StateDir     string  // "": StateDirectory chooses
	Control      *string // nil: ControlSocket chooses; "": none
	ControlGroup string
	TLSRPT       string
	Metrics      string // HOST:PORT; "": none
	LogLevel     slog.Level
	LogFormat    logging.Format
	DNS          DNS
	Fetch        Fetch
	Cache        Cache
	Refresh      Refresh
	Maps         Maps
	Shared       Shared
	Overrides    *resolver.Overrides

	from map[string]string // where each setting that is not a default comes from
	line map[string]int    // of the settings that the file has
}

// DNS is the table [dns].
type DNS struct {
	Servers  []string
	Timeout  time.Duration
	Attempts int
	TrustAD  bool
	// "auto": by UDP, and by TCP after a truncated answer or if resolv.conf has use-vc; "tcp": by TCP only
	Transport string
}

// Fetch is the table [fetch].
type Fetch struct {
	Timeout      time.Duration
	Concurrency  int
	AllowPrivate []netip.Prefix // networks of special addresses that policy hosts may have
	CAFile       string
}

// Cache is the table [cache].
type Cache struct {
	MaxNegative int
	MaxPolicies int
	Memory      int64 // bytes
	Store       int64 // bytes
}

// Refresh is the table [refresh].
type Refresh struct {
	Interval    time.Duration
	UnusedAfter time.Duration
}

// Defaults returns the configuration without a file.
func Defaults() Config {
	return Config{
		Listen:     []string{"inet:127.0.0.1:8461"},
		SocketMode: 0o666,
		DNS:        DNS{Timeout: 3 * time.Second, Attempts: 3, Transport: "auto"},
		Fetch:      Fetch{Timeout: 30 * time.Second, Concurrency: 64},
		Cache:      Cache{MaxNegative: 1_000_000, MaxPolicies: 1_000_000, Memory: 256 << 20, Store: 2 << 30},
		Refresh:    Refresh{Interval: 24 * time.Hour, UnusedAfter: 2160 * time.Hour},
		Shared:     defaultShared(),
		from:       map[string]string{},
		line:       map[string]int{},
	}
}

// Load reads a configuration file. With file "" it reads DefaultFile, or returns the defaults if that does not exist.
// The error is an *Error, or one of reading the file.
func Load(file string) (Config, error) {
	c := Defaults()
	name := file
	if name == "" {
		name = DefaultFile
	}
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) && file == "" {
		return c, nil
	}
	if err != nil {
		return c, fmt.Errorf("read the configuration: %w", err)
	}
	c.File = name
	return c, c.read(text)
}

// Error is a wrong setting: the administrator must mend the file.
type Error struct {
	File string // "": no file
	Line int    // 0: not known
	Msg  string // begins with the key
}

// Error is FILE:LINE: and the message.
func (e *Error) Error() string {
	switch {
	case e.File == "":
		return e.Msg
	case e.Line == 0:
		return e.File + ": " + e.Msg
	}
	return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Msg)
}

// Wrong returns an error for a setting whose value cannot be used, with the line and what the file says. cause says why
// not.
func (c *Config) Wrong(key string, cause error) error {
	for _, s := range c.settings() {
		if s.key == key {
			return c.errorAt(c.line[key], s.wrong(s.value.String(), cause))
		}
	}
	return c.At(key, key+": "+cause.Error())
}

// At returns an error with the place of a setting. msg begins with the key.
func (c *Config) At(key, msg string) error { return c.errorAt(c.line[key], msg) }

func (c *Config) errorAt(line int, msg string) error {
	return &Error{File: c.File, Line: line, Msg: msg}
}

// Set sets a setting from the command line. flag is the flag as the user writes it.
func (c *Config) Set(key, flag string, value any) error {
	for _, s := range c.settings() {
		if s.key != key {
			continue
		}
		if err := s.value.set(value); err != nil {
			s.key = flag
			return errors.New(s.wrong(describe(value), err))
		}
		c.from[key] = flag
	}
	return nil
}
