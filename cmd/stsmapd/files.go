package main

import (
	"log/slog"
	"math"

	"golang.org/x/sys/unix"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/admin"
	"github.com/stsmapd/stsmapd/resolver/dnsclient"
	"github.com/stsmapd/stsmapd/socketmap"
)

const (
	// fixedFiles are the descriptors for everything but lookups and connections of Postfix's and of the status
	// page's: the store, listeners, logs, the control socket, the shared engine, the TLSRPT collector.
	fixedFiles = 96
	// filesPerFetch are the connections of one policy fetch at a time: 250 ms lie between two addresses that are
	// raced.
	filesPerFetch = 4
)

// fileBudget shares out the file descriptors of the process: Postfix's connections must leave room for lookups and
// the store, or who can open connections can take the protection of domains away that are asked for the first time.
type fileBudget struct {
	limit       int // RLIMIT_NOFILE
	connections int // that are accepted from Postfix
	dns         int // DNS questions at a time
	fetches     int // policy fetches at a time
}

// shareFiles makes the budget of a limit for that many fetches at a time, and so many descriptors that are used in
// any case. Where the limit is too small for everything, Postfix's connections get half of it.
func shareFiles(limit uint64, fixed, fetches int) fileBudget {
	b := fileBudget{limit: int(min(limit, math.MaxInt32)), dns: dnsclient.DefaultMaxSockets, fetches: fetches}
	reserve := fixed + b.dns + filesPerFetch*b.fetches
	if most := b.limit / 2; reserve > most && b.limit-reserve < socketmap.DefaultMaxConns {
		reserve = most
		lookups := max(reserve-fixed, 0)
		b.fetches = max(1, min(b.fetches, lookups*2/3/filesPerFetch))
		b.dns = max(1, min(b.dns, lookups-filesPerFetch*b.fetches))
	}
	b.connections = min(socketmap.DefaultMaxConns, max(1, b.limit-reserve))
	return b
}

// files is the budget of this process, whose soft limit Go has raised to the hard one.
func files(c config) fileBudget {
	fixed := fixedFiles
	if c.Metrics != "" {
		fixed += admin.MaxConns
	}
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		// As if there were no limit: what lacks then is told when it lacks.
		return shareFiles(math.MaxInt32, fixed, c.Fetch.Concurrency)
	}
	return shareFiles(r.Cur, fixed, c.Fetch.Concurrency)
}

// log tells what had to be lowered for the sake of the limit.
func (b fileBudget) log(log *slog.Logger, fetches int) {
	if b.connections == socketmap.DefaultMaxConns && b.fetches == fetches && b.dns == dnsclient.DefaultMaxSockets {
		return
	}
	log.Warn("the limit of open files is low: fewer connections are accepted at a time, and further ones wait; "+
		"raise LimitNOFILE= of the service (ulimit -n) to 65536", "event", "nofile_low", "nofile", b.limit,
		"connections", b.connections,
		"default_connections", socketmap.DefaultMaxConns, "dns_questions", b.dns,
		"fetches", b.fetches, "fetch_concurrency", fetches)
}
