package socketmap

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/resolver/testkit"
)

const (
	manyConns  = 10_000
	mostMemory = 8 << 10 // bytes of a connection's goroutine and buffers
	peersEnv   = "STSMAPD_TEST_PEERS"
)

// TestManyIdleConnections: thousands of real connections, by TCP and by UNIX sockets, are open at once. They stay idle
// for many times every timeout of the server; none is closed, each is answered before and after, and none costs much
// memory.
func TestManyIdleConnections(t *testing.T) {
	needFiles(t, manyConns+100)
	const timeout = 20 * time.Millisecond
	srv := &Server{Handler: fixed{NotFound()}, ReadTimeout: timeout, WriteTimeout: timeout}
	before := memoryInUse()
	var specs []string
	for _, spec := range []string{"inet:127.0.0.1:0", "unix:" + filepath.Join(t.TempDir(), "s")} {
		ln, err := Listen(spec, ListenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		start(t, srv, ln)
		specs = append(specs, ln.Addr().Network()+" "+ln.Addr().String())
	}
	p := startPeers(t, specs)
	p.askAll()
	if n := srv.Conns(); n != manyConns {
		t.Errorf("%d connections are open, want %d", n, manyConns)
	}
	per := (memoryInUse() - before) / manyConns
	t.Logf("a connection costs %d bytes", per)
	if per > mostMemory {
		t.Errorf("a connection costs %d bytes, want %d at most", per, mostMemory)
	}
	<-time.After(50 * timeout) // nothing may happen, so there is nothing to wait for but time
	p.askAll()
	if n := srv.Conns(); n != manyConns {
		t.Errorf("%d connections are open after an idle while, want %d", n, manyConns)
	}
}

// peers is the process that holds the other ends: one process may not open so many files everywhere.
type peers struct {
	t     *testing.T
	order io.Writer
	told  *bufio.Scanner
}

func startPeers(t *testing.T, specs []string) *peers {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestPeersOfManyConnections$")
	cmd.Env = append(os.Environ(), peersEnv+"="+strings.Join(specs, ","))
	cmd.Stderr = os.Stderr
	order, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	told, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		order.Close()
		_ = cmd.Wait() // that it did its work has been seen
	})
	return &peers{t, order, bufio.NewScanner(told)}
}

// askAll has a question open on each connection at once, and returns when all are answered.
func (p *peers) askAll() {
	p.t.Helper()
	fmt.Fprintln(p.order, "ask")
	for p.told.Scan() {
		if p.told.Text() == "answered" {
			return
		}
		p.t.Error("peers: " + p.told.Text())
	}
	p.t.Fatal("the peers are gone")
}

// TestPeersOfManyConnections is the peers' process; without its variable there is nothing to do.
func TestPeersOfManyConnections(t *testing.T) {
	specs := os.Getenv(peersEnv)
	if specs == "" {
		return
	}
	needFiles(t, manyConns+100)
	var conns []net.Conn
	for _, spec := range strings.Split(specs, ",") {
		network, addr, _ := strings.Cut(spec, " ")
		for range manyConns / 2 {
			conns = append(conns, dialMany(t, network, addr))
		}
	}
	for orders := bufio.NewScanner(os.Stdin); orders.Scan(); {
		for _, conn := range conns {
			send(t, conn, frame("sts example.com"))
		}
		for _, conn := range conns {
			wantNext(t, conn, frame("NOTFOUND "))
		}
		fmt.Println("answered")
	}
}

// dialMany connects, and sees to it that a closed TCP connection does not keep its port for a minute.
func dialMany(t *testing.T, network, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if tcp, ok := conn.(*net.TCPConn); ok {
		if err := tcp.SetLinger(0); err != nil {
			t.Fatal(err)
		}
	}
	return conn
}

// needFiles leaves the test out where this process may not open so many files. Go has raised the soft limit to the hard
// one (less one, which is how it finds the old one again for children), as it does for stsmapd.
func needFiles(t *testing.T, n uint64) {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Cur+1 < limit.Max {
		t.Errorf("the soft limit of open files is %d, the hard one %d: Go has not raised it", limit.Cur, limit.Max)
	}
	if limit.Cur < n {
		testkit.Skip(t, fmt.Sprintf("no more than %d open files are allowed, %d are needed", limit.Cur, n))
	}
}

func memoryInUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}
