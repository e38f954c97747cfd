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

// launchRival starts Debian's postfix-mta-sts-resolver from the folder that rival.sh makes, and does not wait until it
// answers. Its configuration is the fastest that it has: the cache in memory, and no second look at a policy.
func (b *bench) launchRival(ctx context.Context, c daemonConfig) (*server, error) {
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
	cmd := exec.CommandContext(ctx, "/usr/bin/python3", filepath.Join(b.rival, "usr/bin/mta-sts-daemon"), "-c", file,
		"-v", "warn")
	libraries, err := filepath.Glob(filepath.Join(b.rival, "usr/lib/*-linux-gnu*"))
	if err != nil {
		return nil, err
	}
	cmd.Env = append(os.Environ(), "PYTHONPATH="+filepath.Join(b.rival, "usr/lib/python3/dist-packages"),
		"LD_LIBRARY_PATH="+strings.Join(libraries, ":"), "SSL_CERT_FILE="+b.caFile)
	return s, s.start(cmd)
}

// setResolvConf names the bench's DNS server in /etc/resolv.conf, in this mount namespace: the rival has no setting for
// it.
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
