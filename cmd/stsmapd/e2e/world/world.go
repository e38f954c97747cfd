package world

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"

	"github.com/stsmapd/stsmapd/resolver/dnsclient/dnstest"
)

// dnsAddress is the address of the World's DNS server, which /etc/resolv.conf names. It answers on port 53.
const dnsAddress = "127.0.0.1"

// World is what all tests of the process share. It ends with the namespaces.
type World struct {
	DNS       *dnstest.Server
	CA        *CA    // trusted by Postfix, and by stsmapd for policy hosts
	CAFile    string // its certificate in PEM
	Untrusted *CA    // trusted by nobody
	Binary    string // the stsmapd under test

	network [2]byte // of the addresses of hosts
	hosts   atomic.Uint32
	domains atomic.Uint32

	mu    sync.Mutex
	trees map[treeKey]*Tree

	validator sharedValidator
	postfixes chan struct{} // an element for each that runs
}

var open = sync.OnceValues(newWorld)

// Open returns the World. Where the tests cannot run, the test is skipped with the reason; [Main] decides whether that
// is allowed, and notes it for `make test`.
func Open(t testing.TB) *World {
	t.Helper()
	if !inside() {
		t.Skipf("no end-to-end world: %v", obstacle())
	}
	w, err := open()
	if err != nil {
		t.Fatalf("making the end-to-end world: %v", err)
	}
	return w
}

// newWorld makes the World of the process.
func newWorld() (*World, error) {
	w, err := Bare(os.Getenv(envDir), [2]byte{127, 1})
	if err == nil {
		w.Binary = os.Getenv(envBinary)
	}
	return w, err
}

// Bare makes a World for a system that a test has started: CAs, a DNS server and what else is opened later, in the
// network namespace of the calling thread. Hosts have addresses that begin with the bytes of network. It has no stsmapd
// and no Postfix. The CA's certificate is written to dir.
func Bare(dir string, network [2]byte) (*World, error) {
	w := &World{CAFile: filepath.Join(dir, "ca.pem"), network: network,
		postfixes: make(chan struct{}, runtime.NumCPU())}
	var err error
	if w.CA, err = NewCA("Trusted Test CA"); err != nil {
		return nil, err
	}
	if w.Untrusted, err = NewCA("Untrusted Test CA"); err != nil {
		return nil, err
	}
	if err := os.WriteFile(w.CAFile, w.CA.PEM(), 0o644); err != nil {
		return nil, err
	}
	if w.DNS, err = dnstest.Start(dnstest.Config{Addr: net.JoinHostPort(dnsAddress, "53")}); err != nil {
		return nil, err
	}
	return w, nil
}

// Host returns an address of this host that no other host has.
func (w *World) Host() netip.Addr {
	n := w.hosts.Add(1)
	if n >= 1<<16 {
		panic("no more loopback addresses for hosts")
	}
	return netip.AddrFrom4([4]byte{w.network[0], w.network[1], byte(n >> 8), byte(n)})
}

// name returns a domain name that no other domain has.
func (w *World) name(label string) string {
	return fmt.Sprintf("%s-%d.example.test", label, w.domains.Add(1))
}

// setAddress makes the address of a host its only one in the DNS.
func (w *World) setAddress(name string, address netip.Addr) {
	w.DNS.Set(name, dns.TypeA, fmt.Sprintf("%s. 300 IN A %s", name, address))
}
