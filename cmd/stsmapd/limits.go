package main

import (
	"log/slog"
	"math"
	"os"
	"runtime/debug"

	"golang.org/x/sys/unix"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/admin"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/config"
	"github.com/stsmapd/stsmapd/resolver/dnsclient"
	"github.com/stsmapd/stsmapd/socketmap"
)

const (
	// fixedFiles is the number of descriptors for everything but lookups and connections from Postfix and to the status
	// page: the store, listeners, logs, the control socket, the shared engine, the TLSRPT collector.
	fixedFiles = 96
	// filesPerFetch is the number of connections that one policy fetch has open at a time. A fetch tries the next
	// address after 250 ms.
	filesPerFetch = 4
)

// fileBudget divides the file descriptors of the process. Connections from Postfix must leave room for lookups and the
// store: otherwise a client with many connections would leave new domains unprotected.
type fileBudget struct {
	limit       int // RLIMIT_NOFILE
	connections int // from Postfix, at a time
	dns         int // DNS questions at a time
	fetches     int // policy fetches at a time
}

// newFileBudget divides limit descriptors. fixed is the number of descriptors that are always in use, fetches the
// wanted number of concurrent fetches. If the limit is too small for everything, connections from Postfix get half of
// it.
func newFileBudget(limit uint64, fixed, fetches int) fileBudget {
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

// currentFileBudget returns the budget of this process. The Go runtime has raised its soft limit to the hard limit.
func currentFileBudget(c config.Config) fileBudget {
	fixed := fixedFiles
	if c.Metrics != "" {
		fixed += admin.MaxConns
	}
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		// Assume no limit: a lack of descriptors is reported when it occurs.
		return newFileBudget(math.MaxInt32, fixed, c.Fetch.Concurrency)
	}
	// On FreeBSD it is signed.
	return newFileBudget(uint64(r.Cur), fixed, c.Fetch.Concurrency)
}

// log warns if the limit of open files made a number lower than its default. fetches is the configured number of
// concurrent fetches.
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

// Go's garbage collector runs when the heap has grown by GOGC percent of the live heap, 100 by default. With few
// policies it would run after every few hundred new domains; with many, the heap would hold as much garbage as
// policies. So the heap may grow by gcPercent of the live heap plus a ballast, which is never touched and so takes no
// memory: by 14 MiB with an almost empty cache, by 35 MiB with 250,000 policies.
const (
	gcPercent = 20
	ballast   = 64 << 20 // bytes; they count in go_memstats_heap_alloc_bytes, not in resident memory
)

// tuneGC sets gcPercent and returns the ballast, which the caller must keep alive. It does nothing if GOGC is set.
func tuneGC() []byte {
	if os.Getenv("GOGC") != "" {
		return nil
	}
	debug.SetGCPercent(gcPercent)
	return make([]byte, ballast)
}
