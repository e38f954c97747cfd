package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/logging"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
	"github.com/stsmapd/stsmapd/socketmap"
)

// defaultConfig is read when it exists and --config names no other file.
const defaultConfig = "/etc/stsmapd/stsmapd.toml"

// config is the configuration file (stsmapd.toml); every setting is optional.
type config struct {
	file string // path that it was read from; "" without a file

	Listen       []string       `toml:"listen"`
	SocketMode   fileMode       `toml:"socket_mode"`
	SocketGroup  string         `toml:"socket_group"`
	StateDir     string         `toml:"state_dir"`
	Control      *string        `toml:"control"` // nil: controlSocket chooses; "": none
	ControlGroup string         `toml:"control_group"`
	TLSRPT       string         `toml:"tlsrpt_socket"`
	Metrics      string         `toml:"metrics"`
	LogLevel     slog.Level     `toml:"log_level"`
	LogFormat    logging.Format `toml:"log_format"`
	DNS          struct {
		Servers  []string `toml:"servers"`
		Timeout  duration `toml:"timeout"`
		Attempts int      `toml:"attempts"`
		TrustAD  bool     `toml:"trust_ad"`
	} `toml:"dns"`
	Fetch struct {
		Timeout      duration `toml:"timeout"`
		Concurrency  int      `toml:"concurrency"`
		AllowPrivate bool     `toml:"allow_private_addresses"`
		CAFile       string   `toml:"ca_file"`
	} `toml:"fetch"`
	Cache struct {
		MaxNegative int `toml:"max_negative"`
		MaxPolicies int `toml:"max_policies"`
	} `toml:"cache"`
	Refresh struct {
		Interval    duration `toml:"interval"`
		UnusedAfter duration `toml:"unused_after"`
	} `toml:"refresh"`
	Shared   sharedConfig `toml:"shared"`
	Override []override   `toml:"override"`
}

// duration is a time.Duration written as "30s" or "24h".
type duration time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("invalid duration %q: use a form such as 30s or 24h", text)
	}
	*d = duration(v)
	return nil
}

// fileMode is a file's permissions written in octal, as "0666".
type fileMode fs.FileMode

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *fileMode) UnmarshalText(text []byte) error {
	v, err := strconv.ParseUint(string(text), 8, 32)
	if err != nil || v > 0o777 {
		return fmt.Errorf("invalid file mode %q: use octal permissions such as 0666", text)
	}
	*m = fileMode(v)
	return nil
}

func defaults() config {
	var c config
	c.Listen = []string{"inet:127.0.0.1:8461"}
	c.SocketMode = 0o666
	c.DNS.Timeout = duration(3 * time.Second)
	c.DNS.Attempts = 3
	c.Fetch.Timeout = duration(30 * time.Second)
	c.Fetch.Concurrency = 64
	c.Cache.MaxNegative = 1_000_000
	c.Cache.MaxPolicies = 1_000_000
	c.Shared = defaultShared()
	c.Refresh.Interval = duration(24 * time.Hour)
	c.Refresh.UnusedAfter = duration(2160 * time.Hour)
	return c
}

// loadConfig reads a configuration file. With file "" it reads defaultConfig, or returns the defaults if that does not
// exist. Errors name the file, and the line and key if they are known.
func loadConfig(file string) (config, error) {
	c := defaults()
	name := file
	if name == "" {
		name = defaultConfig
	}
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) && file == "" {
		return c, nil
	}
	if err != nil {
		return c, fmt.Errorf("read the configuration: %w", err)
	}
	c.file = name
	d := toml.NewDecoder(strings.NewReader(string(text))).DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return c, fmt.Errorf("%s:%w", name, locate(err))
	}
	if err := c.check(); err != nil {
		return c, c.inFile(err)
	}
	return c, nil
}

// inFile adds the name of the configuration file to an error about its content.
func (c *config) inFile(err error) error {
	if err == nil || c.file == "" {
		return err
	}
	return fmt.Errorf("%s: %w", c.file, err)
}

// locate adds line and key to an error of the TOML decoder: `line: key: message`.
func locate(err error) error {
	var strict *toml.StrictMissingError
	if errors.As(err, &strict) && len(strict.Errors) > 0 {
		first := strict.Errors[0]
		line, _ := first.Position()
		return fmt.Errorf("%d: unknown key %q", line, strings.Join(first.Key(), "."))
	}
	var decode *toml.DecodeError
	if errors.As(err, &decode) {
		line, _ := decode.Position()
		if key := strings.Join(decode.Key(), "."); key != "" {
			return fmt.Errorf("%d: %s: %w", line, key, err)
		}
		return fmt.Errorf("%d: %w", line, err)
	}
	return fmt.Errorf(" %w", err)
}

// check returns an error for the first value that is out of its bounds. The bounds of times keep an answer within the
// 100 s that Postfix waits.
func (c *config) check() error {
	for _, b := range []struct {
		key            string
		value, low, up int64
		unit           string
	}{
		{"dns.timeout", int64(c.DNS.Timeout), int64(100 * time.Millisecond), int64(10 * time.Second),
			"between 100ms and 10s"},
		{"dns.attempts", int64(c.DNS.Attempts), 1, 10, "between 1 and 10"},
		{"dns.timeout times dns.attempts", int64(c.DNS.Timeout) * int64(c.DNS.Attempts), 0, int64(30 * time.Second),
			"at most 30s"},
		{"fetch.timeout", int64(c.Fetch.Timeout), int64(time.Second), int64(45 * time.Second), "between 1s and 45s"},
		{"fetch.concurrency", int64(c.Fetch.Concurrency), 1, 4096, "between 1 and 4096"},
		{"cache.max_negative", int64(c.Cache.MaxNegative), 1000, 100_000_000, "between 1000 and 100000000"},
		{"cache.max_policies", int64(c.Cache.MaxPolicies), 1000, 100_000_000, "between 1000 and 100000000"},
		{"refresh.interval", int64(c.Refresh.Interval), int64(5 * time.Minute), int64(30 * 24 * time.Hour),
			"between 5m and 720h"},
		{"refresh.unused_after", int64(c.Refresh.UnusedAfter), int64(time.Hour), int64(10 * 365 * 24 * time.Hour),
			"between 1h and 87600h"},
	} {
		if b.value < b.low || b.value > b.up {
			return fmt.Errorf("%s must be %s", b.key, b.unit)
		}
	}
	if len(c.Listen) == 0 {
		return errors.New("listen must name at least one address")
	}
	if err := checkMetrics(c.Metrics); err != nil {
		return err
	}
	if err := c.Shared.check(); err != nil {
		return err
	}
	if c.Control == nil || *c.Control == "" {
		return nil
	}
	if network, _, err := socketmap.ParseSpec(*c.Control); err != nil || network != "unix" {
		return fmt.Errorf("control is %.120q, must be unix:/path, or empty for none", *c.Control)
	}
	return nil
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

// stateDir returns the directory of the store: the configured one, else $STATE_DIRECTORY (systemd), else the default of
// the user.
func stateDir(configured string, env func(string) string, uid int) (string, error) {
	switch {
	case configured != "":
		return configured, nil
	case env("STATE_DIRECTORY") != "":
		first, _, _ := strings.Cut(env("STATE_DIRECTORY"), ":")
		return first, nil
	case uid == 0:
		return "/var/lib/stsmapd", nil
	case env("XDG_STATE_HOME") != "":
		return filepath.Join(env("XDG_STATE_HOME"), "stsmapd"), nil
	case env("HOME") != "":
		return filepath.Join(env("HOME"), ".local/state/stsmapd"), nil
	}
	return "", errors.New("no state directory: set state_dir or --state-dir (HOME and STATE_DIRECTORY are not set)")
}

// override is an [[override]] of the configuration file.
type override struct {
	Domain string          `toml:"domain"`
	Action string          `toml:"action"`
	MX     []string        `toml:"mx"`
	Until  *toml.LocalDate `toml:"until"`
	Reason string          `toml:"reason"`
}

// overrides converts the overrides of the configuration file. Errors name the override by its position and domain.
func overrides(list []override) (*resolver.Overrides, error) {
	out := make([]resolver.Override, len(list))
	for i, o := range list {
		made, err := o.parse()
		if err != nil {
			return nil, fmt.Errorf("override %d (domain = %.80q): %w", i+1, o.Domain, err)
		}
		out[i] = made
	}
	return resolver.NewOverrides(out)
}

func (o override) parse() (resolver.Override, error) {
	domain, below := strings.CutPrefix(o.Domain, ".")
	name, err := dnsname.Parse(domain)
	if err != nil {
		return resolver.Override{}, fmt.Errorf("domain: %w", err)
	}
	made := resolver.Override{Domain: name, Below: below, Reason: o.Reason}
	switch o.Action {
	case "ignore":
		made.Action = resolver.ActionIgnore
	case "strict":
		made.Action = resolver.ActionStrict
	case "enforce":
		made.Action = resolver.ActionEnforce
	default:
		return made, fmt.Errorf("action is %.40q, must be ignore, strict or enforce", o.Action)
	}
	for _, text := range o.MX {
		p, err := mtasts.ParsePattern(text)
		if err != nil {
			return made, fmt.Errorf("mx: %w", err)
		}
		made.MX = append(made.MX, p)
	}
	if o.Until != nil {
		made.Until = o.Until.AsTime(time.UTC).AddDate(0, 0, 1) // the day itself is included
	}
	return made, nil
}

// reportOverrides logs the overrides that have expired, once for each load of the configuration.
func reportOverrides(set *resolver.Overrides, now time.Time, log *slog.Logger) {
	for _, o := range set.Expired(now) {
		log.Warn("an override has expired and has no effect: remove it from the configuration, or set a later date",
			"event", "override_ended", "domain", o.String(), "ended", o.Until, "reason", o.Reason)
	}
}
