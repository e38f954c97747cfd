package dnsclient

import (
	"cmp"
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
	// plainTime is how long a server that answers only without EDNS0 is asked without it, and how long one that has
	// answered with it is not tried without it.
	plainTime = 10 * time.Minute
	// maxResolvConf bounds what is read of resolv.conf, in bytes.
	maxResolvConf = 64 << 10
)

// server is the address of a DNS server, and whether it answers.
type server struct {
	addr         netip.AddrPort
	believed     bool         // its AD bit is believed
	tcp          bool         // it is asked by TCP only
	avoidedUntil atomic.Int64 // time since nameservers.start until which the others are asked first; 0: it answers
	ednsUntil    atomic.Int64 // time since nameservers.start until which EDNS0 is known to work; 0: never
	plainUntil   atomic.Int64 // the same for questions without EDNS0, while those with it are not answered
}

// serverList is the servers at one time. It is immutable.
type serverList struct {
	servers []*server // never empty, in the order of the configuration
	rotate  bool      // the first server is another one for each lookup
	problem error     // with resolv.conf; nil: none
}

// nameservers is the servers to ask: fixed ones, or those of a resolv.conf that is read again when it changes.
type nameservers struct {
	path   string      // of resolv.conf; "": the servers are fixed
	tcp    bool        // Config.TCP
	report func(error) // Config.Problem; may be nil
	now    func() time.Time
	start  time.Time

	current   atomic.Pointer[serverList]
	nextCheck atomic.Int64  // time since start
	turn      atomic.Uint32 // counts lookups, for serverList.rotate
	mu        sync.Mutex    // locked while the file is checked
	reported  string        // the problem reported last; guarded by mu
	loaded    os.FileInfo   // the file that current was read from; nil: read it again. Guarded by mu
}

// newNameservers returns the servers of cfg: Servers, else those of the resolv.conf.
func newNameservers(cfg Config) (*nameservers, error) {
	n := &nameservers{tcp: cfg.TCP, report: cfg.Problem, now: time.Now, start: time.Now()}
	if len(cfg.Servers) == 0 {
		n.path = cmp.Or(cfg.ResolvConf, defaultResolvConf)
		// The default of libc.
		n.replace(resolvConf{servers: []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}),
			dnsPort)}})
		n.reload()
		return n, nil
	}
	fixed := resolvConf{trustAD: cfg.TrustAD}
	for _, text := range cfg.Servers {
		addr, err := parseServer(text)
		if err != nil {
			return nil, err
		}
		fixed.servers = append(fixed.servers, addr)
	}
	n.replace(fixed)
	return n, nil
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
		old := *n.current.Load()
		old.problem = fmt.Errorf("dns servers are unchanged, the first is %v: %w", old.servers[0].addr, err)
		n.current.Store(&old)
		n.reportProblem(old.problem)
		return
	}
	n.loaded = info
	if conf.ignored != nil {
		conf.ignored = fmt.Errorf("%s: %w", n.path, conf.ignored)
	}
	n.replace(conf)
	n.reportProblem(conf.ignored)
}

// reportProblem reports what is wrong with resolv.conf, nil for nothing, once for each text.
func (n *nameservers) reportProblem(problem error) {
	text := ""
	if problem != nil {
		text = problem.Error()
	}
	if text != n.reported && problem != nil && n.report != nil {
		n.report(problem)
	}
	n.reported = text
}

// replace makes those of conf the servers. A server that is kept also keeps its state.
func (n *nameservers) replace(conf resolvConf) {
	var old []*server
	if l := n.current.Load(); l != nil {
		old = l.servers
	}
	next := &serverList{rotate: conf.rotate, problem: conf.ignored}
	for _, addr := range conf.servers {
		s := &server{addr: addr, believed: conf.trustAD || onThisHost(addr.Addr()), tcp: conf.tcp || n.tcp}
		i := slices.IndexFunc(old, func(o *server) bool {
			return o.addr == s.addr && o.believed == s.believed && o.tcp == s.tcp
		})
		if i >= 0 {
			s = old[i]
		}
		next.servers = append(next.servers, s)
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
	list := n.list()
	servers := list.servers
	if len(servers) == 1 {
		return servers
	}
	if list.rotate {
		first := int(n.turn.Add(1) % uint32(len(servers)))
		servers = slices.Concat(servers[first:], servers[:first])
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

// plain reports whether the server answers only without EDNS0, as far as is known.
func (n *nameservers) plain(s *server) bool { return int64(n.elapsed()) < s.plainUntil.Load() }

// mayDropEDNS reports whether a question that was not answered should be repeated without EDNS0.
func (n *nameservers) mayDropEDNS(s *server) bool { return int64(n.elapsed()) >= s.ednsUntil.Load() }

// recordEDNS records that the server has answered with EDNS0, or only without it: then, after plainTime, EDNS0 is tried
// again.
func (n *nameservers) recordEDNS(s *server, q question) {
	switch until := int64(n.elapsed() + plainTime); {
	case !q.plain:
		s.ednsUntil.Store(until)
	case !n.plain(s):
		s.plainUntil.Store(until)
	}
}
