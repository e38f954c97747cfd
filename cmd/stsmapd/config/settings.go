package config

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/stsmapd/stsmapd/cache/record"
	"github.com/stsmapd/stsmapd/cache/shared"
	"github.com/stsmapd/stsmapd/resolver/dnsclient"
	"github.com/stsmapd/stsmapd/socketmap"
)

// setting is one setting of a file.
type setting struct {
	key   string // with its table: "dns.timeout"
	value value
	want  string // completes "must be"; "": the value knows
}

// wrong is the text for a value that cannot be used. cause says why not; errKind when that is plain from the value.
func (s setting) wrong(read string, cause error) string {
	text := s.key + " is " + read
	switch _, hide := s.value.(address); {
	case hide && errors.Is(cause, errKind):
		text = s.key + " is no text in quotes,"
	case hide:
		text = s.key + ": " + cause.Error() + ";"
	case errors.Is(cause, errKind):
		text += ","
	default:
		text += ": " + cause.Error() + ";"
	}
	return text + " must be " + cmp.Or(s.want, s.value.want())
}

// settings returns every setting but those of [[override]], in the order of the documented file. The bounds of times
// keep an answer within the 100 s that Postfix waits.
func (c *Config) settings() []setting {
	const group = `the name or number of a group, such as "postfix", or "" for that of the daemon`
	return slices.Concat([]setting{
		{"listen", list{&c.Listen, checkListener, 1},
			`a list of "inet:HOST:PORT" or "unix:/PATH", such as ["inet:127.0.0.1:8461"]`},
		{"socket_mode", mode{&c.SocketMode}, ""},
		{"socket_group", text{&c.SocketGroup, nil}, group},
		{"state_dir", text{&c.StateDir, nil}, `a directory, such as "/var/lib/stsmapd", or "" for the default`},
		{"control", optional{&c.Control, checkControl},
			`"unix:/PATH", such as "unix:/run/stsmapd/control.sock", or "" for none`},
		{"control_group", text{&c.ControlGroup, nil}, group},
		{"metrics", text{&c.Metrics, checkMetrics}, `"HOST:PORT", such as "127.0.0.1:9461", or "" for none`},
		{"tlsrpt_socket", text{&c.TLSRPT, nil},
			`the path of a socket, such as "/run/tlsrpt/tlsrpt.sock", or "" for none`},
		{"log_level", level{&c.LogLevel}, ""},
		{"log_format", format{&c.LogFormat}, ""},

		{"dns.servers", list{&c.DNS.Servers, checkServer, 0},
			`a list of IP addresses, such as ["192.0.2.53", "[2001:db8::1]:53"], or [] for those of /etc/resolv.conf`},
		{"dns.timeout", span{&c.DNS.Timeout, 100 * time.Millisecond, 10 * time.Second, "3s"}, ""},
		{"dns.attempts", number{&c.DNS.Attempts, 1, 10, "3"}, ""},
		{"dns.trust_ad", boolean{&c.DNS.TrustAD}, ""},
		{"dns.transport", text{&c.DNS.Transport, checkTransport}, `"auto" or "tcp"`},

		{"fetch.timeout", span{&c.Fetch.Timeout, time.Second, 45 * time.Second, "30s"}, ""},
		{"fetch.concurrency", number{&c.Fetch.Concurrency, 1, 4096, "64"}, ""},
		{"fetch.allow_private_addresses", networks{&c.Fetch.AllowPrivate}, ""},
		{"fetch.ca_file", text{&c.Fetch.CAFile, nil},
			`a PEM file of CA certificates, such as "/etc/ssl/certs/ca-certificates.crt", or "" for the system's`},

		{"cache.max_negative", number{&c.Cache.MaxNegative, 1000, 100_000_000, "1000000"}, ""},
		{"cache.max_policies", number{&c.Cache.MaxPolicies, 1000, 100_000_000, "1000000"}, ""},
		{"cache.memory", size{&c.Cache.Memory, 1 << 20, 1 << 40, "256MiB"}, ""},
		{"cache.store", size{&c.Cache.Store, 1 << 20, 1 << 40, "2GiB"}, ""},

		{"refresh.interval", span{&c.Refresh.Interval, 5 * time.Minute, 30 * 24 * time.Hour, "24h"}, ""},
		{"refresh.unused_after", span{&c.Refresh.UnusedAfter, time.Hour, 10 * 365 * 24 * time.Hour, "2160h"}, ""},
	}, c.Maps.settings(), c.Shared.settings())
}

func (c *Shared) settings() []setting {
	const file = `the path of a file, such as "/etc/stsmapd/`
	return []setting{
		{"shared.url", address{text{&c.URL, checkURL}},
			`"SCHEME://HOST:PORT", such as "valkeys://cache.example.com:6379", or "" for none`},
		{"shared.password_file", text{&c.PasswordFile, nil}, file + `password", or "" for none`},
		{"shared.sentinel_password_file", text{&c.SentinelPasswordFile, nil}, file + `password", or "" for none`},
		{"shared.ca_file", text{&c.CAFile, nil},
			`a PEM file of CA certificates, such as "/etc/stsmapd/engine.pem", or "" for the system's`},
		{"shared.prefix", text{&c.Prefix, checkPrefix},
			`1 to 64 ASCII characters without spaces and braces, such as "stsmapd:"`},
		{"shared.name", text{&c.Name, checkHost},
			`1 to 64 letters, digits, dots, hyphens and underscores, such as "mx1", or "" for the host name`},
		{"shared.timeout", span{&c.Timeout, 10 * time.Millisecond, time.Second, "50ms"}, ""},
	}
}

// checkAll returns an error for settings that are right each for itself, but not together.
func (c *Config) checkAll() error {
	const limit = 30 * time.Second
	if total := c.DNS.Timeout * time.Duration(c.DNS.Attempts); total > limit {
		line := max(c.line["dns.timeout"], c.line["dns.attempts"])
		return c.errorAt(line, "dns.timeout is "+quote(short(c.DNS.Timeout))+" and dns.attempts is "+
			number{at: &c.DNS.Attempts}.String()+": a lookup could take "+short(total)+
			"; both must be lower, such as \"3s\" and 3, as Postfix waits no longer than 100s and a lookup may take "+
			short(limit))
	}
	return nil
}

func checkServer(address string) error {
	if dnsclient.CheckServer(address) != nil {
		return errKind
	}
	return nil
}

func checkTransport(transport string) error {
	if transport != "auto" && transport != "tcp" {
		return errKind
	}
	return nil
}

// checkListener checks an address of a listener.
func checkListener(spec string) error {
	_, _, err := socketmap.ParseSpec(spec)
	return specMessage(err)
}

// specMessage leaves the address out of an error: the text has it already.
func specMessage(err error) error {
	if bad := (*socketmap.SpecError)(nil); errors.As(err, &bad) {
		return errors.New(bad.Msg)
	}
	return err
}

func checkControl(spec string) error {
	if spec == "" {
		return nil
	}
	network, _, err := socketmap.ParseSpec(spec)
	if err == nil && network != "unix" {
		err = errKind
	}
	return specMessage(err)
}

func checkMetrics(address string) error {
	if address == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(address)
	switch {
	case strings.HasPrefix(address, "inet:"):
		return errors.New(`it is written without "inet:"`)
	case err != nil && !strings.Contains(address, ":"):
		return errors.New("it has no port")
	case err != nil:
		return errors.New("an IPv6 address needs brackets")
	case port == "":
		return errors.New("it has no port")
	case host == "":
		return fmt.Errorf("it has no host, and the page has no password: for all addresses of this host write %q or %q",
			"0.0.0.0:"+port, "[::]:"+port)
	}
	if _, err := net.LookupPort("tcp", port); err != nil {
		return errors.New("the port is no number from 1 to 65535")
	}
	return nil
}

func checkURL(url string) error {
	if url == "" {
		return nil
	}
	_, err := shared.ParseEndpoint(url)
	return err
}

func checkPrefix(prefix string) error {
	if prefix == "" || len(prefix) > 64 ||
		strings.ContainsFunc(prefix, func(r rune) bool { return r <= ' ' || r > '~' || r == '{' || r == '}' }) {
		return errKind
	}
	return nil
}

func checkHost(name string) error {
	if name != "" && !record.ValidHost(name) {
		return errKind
	}
	return nil
}
