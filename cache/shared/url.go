package shared

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"os/user"
	"strconv"
	"strings"
	"time"

	"github.com/valkey-io/valkey-go"
)

// Endpoint is where a shared engine is, and how to log in. ParseEndpoint makes one:
//
//	SCHEME[+MODE]://[USER[:PASSWORD]@]HOST[:PORT][,HOST[:PORT]...][/PATH]
//
// The scheme is valkey or redis, or valkeys or rediss for TLS. Without a mode there is one host, and the path is the
// number of a database (default 0). Mode cluster takes hosts of a cluster, of which one must answer, and no path. Mode
// sentinel takes sentinels (port 26379 unless given) and the name of the primary, /NAME or /NAME/DATABASE. User and
// password may be percent-encoded. It never prints the password.
type Endpoint struct {
	url   string // without the password
	hosts []string
	mode  endpointMode
	tls   bool

	master         string // of mode sentinel
	database       int
	user, password string

	// PasswordFile and SentinelPasswordFile, where they are set, hold a password in their first line. They are read for
	// each new connection to the engine.
	PasswordFile         string
	SentinelPasswordFile string
	CAFile               string // of TLS; "": the system's roots
}

type endpointMode uint8

const (
	modeSingle endpointMode = iota
	modeCluster
	modeSentinel
)

const (
	enginePort   = "6379"
	sentinelPort = "26379"
	maxDatabase  = 1 << 20
)

// String is the URL without the password.
func (e Endpoint) String() string { return e.url }

// ParseEndpoint reads a URL. The errors say what is wrong, and hold nothing of the password.
func ParseEndpoint(text string) (Endpoint, error) {
	var e Endpoint
	scheme, rest, found := strings.Cut(text, "://")
	if !found {
		return e, errors.New("it must begin with valkey://, redis://, valkeys:// or rediss://")
	}
	if err := e.parseScheme(scheme); err != nil {
		return e, err
	}
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		if err := e.parseUser(rest[:at]); err != nil {
			return e, err
		}
		rest = rest[at+1:]
	}
	if strings.ContainsAny(rest, "?#") {
		return e, errors.New("it has a ? or #, but there are no options in it (a password's must be written %3F and " +
			"%23)")
	}
	hosts, path, hasPath := strings.Cut(rest, "/")
	if err := e.parseHosts(hosts); err != nil {
		return e, err
	}
	if err := e.parsePath(path, hasPath); err != nil {
		return e, err
	}
	e.url = scheme + "://"
	if e.user != "" {
		e.url += url.PathEscape(e.user) + "@"
	}
	e.url += rest
	return e, nil
}

func (e *Endpoint) parseScheme(scheme string) error {
	scheme, mode, _ := strings.Cut(scheme, "+")
	switch scheme {
	case "valkey", "redis":
	case "valkeys", "rediss":
		e.tls = true
	default:
		return fmt.Errorf("%.20q is none of the schemes valkey, redis, valkeys and rediss", scheme)
	}
	switch mode {
	case "":
	case "cluster":
		e.mode = modeCluster
	case "sentinel":
		e.mode = modeSentinel
	default:
		return fmt.Errorf("%.20q is neither +cluster nor +sentinel", "+"+mode)
	}
	return nil
}

func (e *Endpoint) parseUser(text string) (err error) {
	user, password, _ := strings.Cut(text, ":")
	if e.user, err = url.PathUnescape(user); err != nil {
		return errors.New("its user has a % that is no %XX")
	}
	if e.password, err = url.PathUnescape(password); err != nil {
		return errors.New("its password has a % that is no %XX")
	}
	return nil
}

func (e *Endpoint) parseHosts(text string) error {
	for _, part := range strings.Split(text, ",") {
		host, port := part, enginePort
		if e.mode == modeSentinel {
			port = sentinelPort
		}
		if bare, ok := strings.CutPrefix(part, "["); ok && strings.HasSuffix(part, "]") {
			host = strings.TrimSuffix(bare, "]")
		} else if strings.Contains(part, ":") {
			var err error
			if host, port, err = net.SplitHostPort(part); err != nil {
				return fmt.Errorf("%.100q is no HOST or HOST:PORT", part)
			}
		}
		if n, err := strconv.ParseUint(port, 10, 16); host == "" || err != nil || n == 0 {
			return fmt.Errorf("%.100q is no HOST or HOST:PORT", part)
		}
		e.hosts = append(e.hosts, net.JoinHostPort(host, port))
	}
	if e.mode == modeSingle && len(e.hosts) > 1 {
		return errors.New("several hosts need +cluster or +sentinel in the scheme")
	}
	return nil
}

func (e *Endpoint) parsePath(path string, there bool) error {
	switch e.mode {
	case modeCluster:
		if there && path != "" {
			return errors.New("a cluster has no databases, so nothing may follow its hosts")
		}
		return nil
	case modeSentinel:
		e.master, path, _ = strings.Cut(path, "/")
		if e.master == "" {
			return errors.New("the name of the primary must follow the sentinels, as in valkey+sentinel://host/NAME")
		}
	}
	if path == "" {
		return nil
	}
	n, err := strconv.ParseUint(path, 10, 32)
	if err != nil || n > maxDatabase {
		return fmt.Errorf("%.40q is no number of a database", path)
	}
	e.database = int(n)
	return nil
}

// Check reads the files that the endpoint names. Errors name the setting by its key in [shared].
func (e Endpoint) Check() error {
	_, err := e.options()
	return err
}

// connBuffer is enough for a policy of usual size; larger ones take more reads.
const connBuffer = 32 << 10

// options are the client's. The library must not try again what failed: a question waits.
func (e Endpoint) options() (valkey.ClientOption, error) {
	dialer := net.Dialer{Timeout: connectLimit, KeepAlive: time.Second}
	opt := valkey.ClientOption{
		InitAddress: e.hosts, Username: e.user, Password: e.password, SelectDB: e.database, Dialer: dialer,
		ConnWriteTimeout: 3 * time.Second, // a connection whose other end hangs for so long is given up
		DisableCache:     true, DisableRetry: true, AlwaysPipelining: true, ClientSetInfo: valkey.DisableClientSetInfo,
		PipelineMultiplex: -1, ReadBufferEachConn: connBuffer, WriteBufferEachConn: connBuffer,
		ForceSingleClient: e.mode == modeSingle,
	}
	var err error
	if opt.Password, err = password(e.PasswordFile, "password_file", e.password); err != nil {
		return opt, err
	}
	if e.tls {
		if opt.TLSConfig, err = e.tlsConfig(); err != nil {
			return opt, err
		}
	}
	switch e.mode {
	case modeCluster:
		opt.ClusterOption.ShardsRefreshInterval = 5 * time.Second
		opt.ClusterOption.MaxMovedRedirections = 5 // each may make a connection
	case modeSentinel:
		opt.Sentinel = valkey.SentinelOption{
			MasterSet: e.master, Dialer: dialer, TLSConfig: opt.TLSConfig, TopologyRefreshInterval: 2 * time.Second}
		if opt.Sentinel.Password, err = password(e.SentinelPasswordFile, "sentinel_password_file", ""); err != nil {
			return opt, err
		}
	}
	return opt, nil
}

func (e Endpoint) tlsConfig() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if e.CAFile == "" {
		return config, nil
	}
	text, err := os.ReadFile(e.CAFile)
	if err != nil {
		return nil, fmt.Errorf("shared.ca_file: %w", err)
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("shared.ca_file: %s holds no certificate", e.CAFile)
	}
	return config, nil
}

// The systemd credentials that hold the passwords where no file is set.
const (
	PasswordCredential         = "shared-password"
	SentinelPasswordCredential = "shared-sentinel-password"
)

// password is the first line of a file, or what is given where there is no file.
func password(file, key, given string) (string, error) {
	if file == "" {
		return given, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", unreadable(file, key, err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	if line = strings.TrimSuffix(line, "\r"); line == "" {
		return "", fmt.Errorf("shared.%s: the first line of %s is empty", key, file)
	}
	return line, nil
}

// unreadable is the error of a password file that cannot be read. Where permissions forbid it, the text says how this
// process can be given the password: by the file's group and mode, or by a credential of the systemd unit.
func unreadable(file, key string, err error) error {
	if !errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("shared.%s: %w", key, err)
	}
	group := strconv.Itoa(os.Getegid())
	if g, err := user.LookupGroupId(group); err == nil {
		group = g.Name
	}
	credential := PasswordCredential
	if key == "sentinel_password_file" {
		credential = SentinelPasswordCredential
	}
	return fmt.Errorf("shared.%s: %w; let the daemon's group read it: chown root:%s %s; chmod 0640 %s; or remove "+
		"shared.%s, and add two lines to the unit by `systemctl edit stsmapd`: [Service] and LoadCredential=%s:%s", key,
		err, group, file, file, key, credential, file)
}
