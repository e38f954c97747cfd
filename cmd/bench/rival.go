package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/stsmapd/stsmapd/cmd/bench/internet"
	"github.com/stsmapd/stsmapd/socketmap"
)

// findRivals returns the daemons in the folder of the option -rival.
func (b *bench) findRivals() ([]subject, error) {
	resolver, tlspol := filepath.Join(b.rival, "usr/bin/mta-sts-daemon"), filepath.Join(b.rival, "postfix-tlspol")
	var found []subject
	add := func(s subject, file string, launch func(context.Context, daemonConfig, string) (*server, error)) {
		if _, err := os.Stat(file); err == nil {
			s.launch = func(ctx context.Context, c daemonConfig) (*server, error) { return launch(ctx, c, file) }
			found = append(found, s)
		}
	}
	add(subject{name: "postfix-mta-sts-resolver"}, resolver, b.launchResolver)
	add(subject{name: "postfix-tlspol", most: 50_000}, tlspol, b.launchTLSPol)
	if len(found) == 0 {
		return nil, fmt.Errorf("-rival %s: neither %s nor %s is there: rival.sh makes them", b.rival, resolver, tlspol)
	}
	return found, nil
}

// launchTLSPol starts a postfix-tlspol and does not wait until it answers. It has its own settings but for the log.
func (b *bench) launchTLSPol(ctx context.Context, c daemonConfig, binary string) (*server, error) {
	s := b.newServer(c.network)
	s.mapName = "QUERY"
	network, address, err := socketmap.ParseSpec(s.spec)
	if err != nil {
		return nil, err
	}
	if network == "unix" {
		address = "unix:" + address
	}
	yaml := fmt.Sprintf("server:\n  address: %s\n  cache-file: %s.cache\n  log-level: warn\ndns:\n  address: %s\n",
		address, s.log, internet.ResolverAddress)
	file := s.log + ".yml"
	if err := os.WriteFile(file, []byte(yaml), 0o644); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, binary, "-config", file)
	cmd.Env = append(os.Environ(), "SSL_CERT_FILE="+b.caFile)
	return s, s.start(cmd)
}

// launchResolver starts Debian's postfix-mta-sts-resolver from the folder that rival.sh makes, and does not wait until
// it answers. Its configuration is the fastest that it has: the cache in memory, and no second look at a policy.
func (b *bench) launchResolver(ctx context.Context, c daemonConfig, script string) (*server, error) {
	s := b.newServer(c.network)
	_, address, err := socketmap.ParseSpec(s.spec)
	if err != nil {
		return nil, err
	}
	listen := "path: " + address
	if c.network == tcp {
		host, port, _ := strings.Cut(address, ":")
		listen = fmt.Sprintf("host: %s\nport: %s", host, port)
	}
	size := max(c.maxNegative, 100_000)
	yaml := fmt.Sprintf("%s\ncache_grace: 86400\ncache:\n  type: internal\n  options:\n    cache_size: %d\n", listen,
		size)
	file := s.log + ".yml"
	if err := os.WriteFile(file, []byte(yaml), 0o644); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "/usr/bin/python3", script, "-c", file, "-v", "warn")
	libraries, err := filepath.Glob(filepath.Join(b.rival, "usr/lib/*-linux-gnu*"))
	if err != nil {
		return nil, err
	}
	cmd.Env = append(os.Environ(), "PYTHONPATH="+filepath.Join(b.rival, "usr/lib/python3/dist-packages"),
		"LD_LIBRARY_PATH="+strings.Join(libraries, ":"), "SSL_CERT_FILE="+b.caFile)
	return s, s.start(cmd)
}

// setResolvConf names the bench's DNS server in /etc/resolv.conf, in this mount namespace: postfix-mta-sts-resolver has
// no setting for it.
func (b *bench) setResolvConf() error {
	file := filepath.Join(b.dir, "resolv.conf")
	host, _, _ := strings.Cut(internet.ResolverAddress, ":")
	if err := os.WriteFile(file, []byte("nameserver "+host+"\n"), 0o644); err != nil {
		return err
	}
	target, err := filepath.EvalSymlinks("/etc/resolv.conf")
	if err != nil {
		return err
	}
	if err := unix.Mount(file, target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mounting over %s: %w", target, err)
	}
	return nil
}
