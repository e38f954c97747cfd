package dnsclient

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stsmapd/stsmapd/resolver/fault"
)

const (
	// checkInterval is the shortest time between two checks of resolv.conf.
	checkInterval = time.Second
	// avoidTime is how long a server that did not answer is asked after the others. When it ends, one lookup tries
	// the server again.
	avoidTime = 30 * time.Second
	// maxResolvConf bounds what is read of resolv.conf, in bytes.
	maxResolvConf = 64 << 10
)

// server is the address of a DNS server, and whether it answers.
type server struct {
	addr         netip.AddrPort
	believed     bool         // its AD bit is believed
	avoidedUntil atomic.Int64 // time since nameservers.start until which the others are asked first; 0: it answers
}

// serverList is the servers at one time. It is immutable.
type serverList struct {
	servers []*server // never empty, in the order of the configuration
	problem error     // with resolv.conf; nil: none
}

// nameservers is the servers to ask: fixed ones, or those of a resolv.conf that is read again when it changes.
type nameservers struct {
	path  string // of resolv.conf; "": the servers are fixed
	now   func() time.Time
	start time.Time

	current   atomic.Pointer[serverList]
	nextCheck atomic.Int64 // time since start
	mu        sync.Mutex   // locked while the file is checked
	loaded    os.FileInfo  // the file that current was read from; nil: read it again. Guarded by mu
}

func fixedNameservers(texts []string, trustAD bool) (*nameservers, error) {
	n := &nameservers{now: time.Now, start: time.Now()}
	var addrs []netip.AddrPort
	for _, text := range texts {
		addr, err := parseServer(text)
		if err != nil {
			return nil, err
		}
		addrs = append(addrs, addr)
	}
	n.replace(addrs, trustAD, nil)
	return n, nil
}

func nameserversFromFile(path string) *nameservers {
	n := &nameservers{path: path, now: time.Now, start: time.Now()}
	// The default of libc.
	n.replace([]netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), dnsPort)}, false, nil)
	n.reload()
	return n
}

func (n *nameservers) elapsed() time.Duration { return n.now().Sub(n.start) }

// list returns the servers. It first checks the file if checkInterval has passed, unless another goroutine is doing so.
func (n *nameservers) list() *serverList {
	if n.path != "" && int64(n.elapsed()) >= n.nextCheck.Load() && n.mu.TryLock() {
		n.reload()
		n.mu.Unlock()
	}
	return n.current.Load()
}

// reload reads the servers from the file if it has changed. After an error the servers remain as they are.
func (n *nameservers) reload() {
	n.nextCheck.Store(int64(n.elapsed() + checkInterval))
	info, err := os.Stat(n.path)
	if err == nil && n.loaded != nil && os.SameFile(info, n.loaded) && info.ModTime().Equal(n.loaded.ModTime()) &&
		info.Size() == n.loaded.Size() {
		return
	}
	var conf resolvConf
	if err == nil {
		conf, err = readResolvConf(n.path, info)
	}
	if err != nil {
		n.loaded = nil
		old := n.current.Load().servers
		n.current.Store(&serverList{servers: old,
			problem: fmt.Errorf("dns servers are unchanged, the first is %v: %w", old[0].addr, err)})
		return
	}
	n.loaded = info
	if conf.ignored != nil {
		conf.ignored = fmt.Errorf("%s: %w", n.path, conf.ignored)
	}
	n.replace(conf.servers, conf.trustAD, conf.ignored)
}

// replace makes addrs the servers. A server that is kept also keeps its state.
func (n *nameservers) replace(addrs []netip.AddrPort, trusted bool, problem error) {
	var old []*server
	if l := n.current.Load(); l != nil {
		old = l.servers
	}
	next := &serverList{problem: problem}
	for _, addr := range addrs {
		believed := trusted || onThisHost(addr.Addr())
		i := slices.IndexFunc(old, func(s *server) bool { return s.addr == addr && s.believed == believed })
		if i >= 0 {
			next.servers = append(next.servers, old[i])
		} else {
			next.servers = append(next.servers, &server{addr: addr, believed: believed})
		}
	}
	n.current.Store(next)
}

// onThisHost reports whether the resolver at addr runs on this host. Docker's 127.0.0.11 does not: it forwards to other
// hosts and passes on their AD bit, which could be forged on the way.
func onThisHost(addr netip.Addr) bool {
	return addr.IsLoopback() && addr != netip.AddrFrom4([4]byte{127, 0, 0, 11})
}

// order returns the servers in the order to ask them: as configured, but servers that did not answer recently last.
func (n *nameservers) order() []*server {
	servers := n.list().servers
	if len(servers) == 1 {
		return servers
	}
	now := int64(n.elapsed())
	good := make([]*server, 0, len(servers))
	var bad []*server
	for _, s := range servers {
		if s.preferred(now, len(good) == 0) {
			good = append(good, s)
		} else {
			bad = append(bad, s)
		}
	}
	return append(good, bad...)
}

// preferred reports whether the server is asked before those that are avoided. When its avoidTime has ended and it
// would be asked first, preferred returns true to one caller and starts the next avoidTime.
func (s *server) preferred(now int64, first bool) bool {
	until := s.avoidedUntil.Load()
	switch {
	case until == 0:
		return true
	case now < until:
		return false
	case first:
		return s.avoidedUntil.CompareAndSwap(until, now+int64(avoidTime))
	}
	return true
}

// recordResult records the result of an exchange with a server. Only a server that costs time or cannot be reached is
// avoided; one that answers with a failure is not.
func (n *nameservers) recordResult(s *server, fail *Error) {
	switch {
	case fail == nil || fail.Kind == Malformed:
		if s.avoidedUntil.Load() != 0 {
			s.avoidedUntil.Store(0)
		}
	case fault.Of(fail) == fault.Exhausted: // the server was not asked
	case fail.Kind == Timeout || fail.Kind == Network:
		s.avoidedUntil.Store(int64(n.elapsed() + avoidTime))
	}
}
