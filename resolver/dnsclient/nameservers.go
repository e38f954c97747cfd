package dnsclient

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stsmapd/stsmapd/resolver/fault"
)

const (
	// lookEvery is how often at most resolv.conf is looked at.
	lookEvery = time.Second
	// avoidFor is how long a server that did not answer is asked after the others. Each time it ends, one lookup alone
	// tries the server again.
	avoidFor = 30 * time.Second
	// maxResolvConf bounds what is read of resolv.conf, in bytes.
	maxResolvConf = 64 << 10
)

// server is one address to ask, and how it did of late.
type server struct {
	addr     netip.AddrPort
	believed bool         // its AD bit
	avoid    atomic.Int64 // time since the roster's start until which the others are asked first; 0: it answers
}

// lineup is the servers at one time. It is never changed, only replaced.
type lineup struct {
	servers []*server // never empty, in the order of the configuration
	problem error
}

// roster says whom to ask: servers that never change, or those of a file.
type roster struct {
	path  string // "": they never change
	now   func() time.Time
	start time.Time

	lineup   atomic.Pointer[lineup]
	nextLook atomic.Int64 // time since start
	mu       sync.Mutex   // held while the file is looked at
	seen     os.FileInfo  // of the file that lineup is from; nil: it has to be read. Guarded by mu
}

func fixedRoster(texts []string, trustAD bool) (*roster, error) {
	r := &roster{now: time.Now, start: time.Now()}
	var addrs []netip.AddrPort
	for _, text := range texts {
		addr, err := parseServer(text)
		if err != nil {
			return nil, err
		}
		addrs = append(addrs, addr)
	}
	r.replace(addrs, trustAD, nil)
	return r, nil
}

func fileRoster(path string) *roster {
	r := &roster{path: path, now: time.Now, start: time.Now()}
	// What libc asks when it has nothing else to ask.
	r.replace([]netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), dnsPort)}, false, nil)
	r.look()
	return r
}

func (r *roster) elapsed() time.Duration { return r.now().Sub(r.start) }

// current returns the servers, after a look at the file if it is time for one. It never waits for another's look.
func (r *roster) current() *lineup {
	if r.path != "" && int64(r.elapsed()) >= r.nextLook.Load() && r.mu.TryLock() {
		r.look()
		r.mu.Unlock()
	}
	return r.lineup.Load()
}

// look takes the servers from the file if it has changed. What it cannot use leaves the servers as they are.
func (r *roster) look() {
	r.nextLook.Store(int64(r.elapsed() + lookEvery))
	info, err := os.Stat(r.path)
	if err == nil && r.seen != nil && os.SameFile(info, r.seen) && info.ModTime().Equal(r.seen.ModTime()) &&
		info.Size() == r.seen.Size() {
		return
	}
	var conf resolvConf
	if err == nil {
		conf, err = readResolvConf(r.path, info)
	}
	if err != nil {
		r.seen = nil
		old := r.lineup.Load().servers
		r.lineup.Store(&lineup{servers: old,
			problem: fmt.Errorf("dns servers stay as they were, the first is %v: %w", old[0].addr, err)})
		return
	}
	r.seen = info
	if conf.ignored != nil {
		conf.ignored = fmt.Errorf("%s: %w", r.path, conf.ignored)
	}
	r.replace(conf.servers, conf.trustAD, conf.ignored)
}

func readResolvConf(path string, info os.FileInfo) (resolvConf, error) {
	if !info.Mode().IsRegular() {
		return resolvConf{}, fmt.Errorf("%s is no regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return resolvConf{}, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxResolvConf+1))
	if err != nil {
		return resolvConf{}, err
	}
	if len(text) > maxResolvConf {
		return resolvConf{}, fmt.Errorf("%s is longer than %d bytes", path, maxResolvConf)
	}
	conf := parseResolvConf(string(text))
	if len(conf.servers) == 0 {
		return resolvConf{}, errors.Join(fmt.Errorf("%s names no nameserver", path), conf.ignored)
	}
	return conf, nil
}

// replace makes addrs the servers. One that stays keeps its record.
func (r *roster) replace(addrs []netip.AddrPort, trusted bool, problem error) {
	var old []*server
	if l := r.lineup.Load(); l != nil {
		old = l.servers
	}
	next := &lineup{problem: problem}
	for _, addr := range addrs {
		believed := trusted || onThisHost(addr.Addr())
		i := slices.IndexFunc(old, func(s *server) bool { return s.addr == addr && s.believed == believed })
		if i >= 0 {
			next.servers = append(next.servers, old[i])
		} else {
			next.servers = append(next.servers, &server{addr: addr, believed: believed})
		}
	}
	r.lineup.Store(next)
}

// onThisHost reports whether a resolver at that address runs on this host. Docker's 127.0.0.11 does not: it forwards to
// servers elsewhere, and hands on what they, or somebody between, say.
func onThisHost(addr netip.Addr) bool {
	return addr.IsLoopback() && addr != netip.AddrFrom4([4]byte{127, 0, 0, 11})
}

// order returns the servers in the order to ask them: as configured, but those that did not answer of late last.
func (r *roster) order() []*server {
	servers := r.current().servers
	if len(servers) == 1 {
		return servers
	}
	now := int64(r.elapsed())
	good := make([]*server, 0, len(servers))
	var bad []*server
	for _, s := range servers {
		if s.worthAsking(now, len(good) == 0) {
			good = append(good, s)
		} else {
			bad = append(bad, s)
		}
	}
	return append(good, bad...)
}

// worthAsking reports whether the server is to be asked before those that are avoided. When its time of being avoided
// is over and it would be asked first, only the one caller that starts the next such time hears yes.
func (s *server) worthAsking(now int64, first bool) bool {
	until := s.avoid.Load()
	switch {
	case until == 0:
		return true
	case now < until:
		return false
	case first:
		return s.avoid.CompareAndSwap(until, now+int64(avoidFor))
	}
	return true
}

// note remembers how an exchange with the server went. What a server answered at once, a refusal included, costs no
// time and is not held against it.
func (r *roster) note(s *server, fail *Error) {
	switch {
	case fail == nil || fail.Kind == Malformed:
		if s.avoid.Load() != 0 {
			s.avoid.Store(0)
		}
	case fault.Of(fail) == fault.Exhausted: // it was not asked
	case fail.Kind == Timeout || fail.Kind == Network:
		s.avoid.Store(int64(r.elapsed() + avoidFor))
	}
}
