package socketmap

import (
	"bufio"
	"errors"
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
	mostMemory = 8 << 10 // bytes that a connection may cost
	peersEnv   = "STSMAPD_TEST_PEERS"
)

// TestManyIdleConnections: thousands of real connections, by TCP and by UNIX sockets, stay idle for many times every
// timeout of the server. None is closed, each is answered before and after, and each costs little memory.
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
	<-time.After(50 * timeout) // no event ends this wait: the test is that nothing happens
	p.askAll()
	if n := srv.Conns(); n != manyConns {
		t.Errorf("%d connections are open after an idle time, want %d", n, manyConns)
	}
}

// peers is a process that has the other ends of the connections: one process may not be allowed so many open files.
type peers struct {
	t      *testing.T
	input  io.Writer
	output *bufio.Scanner
}

func startPeers(t *testing.T, specs []string) *peers {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestPeersOfManyConnections$")
	cmd.Env = append(os.Environ(), peersEnv+"="+strings.Join(specs, ","))
	cmd.Stderr = os.Stderr
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		input.Close()
		_ = cmd.Wait() // its work was checked before
	})
	return &peers{t, input, bufio.NewScanner(output)}
}

// askAll sends a request on each connection at the same time and returns when all are answered.
func (p *peers) askAll() {
	p.t.Helper()
	fmt.Fprintln(p.input, "ask")
	for p.output.Scan() {
		if p.output.Text() == "answered" {
			return
		}
		p.t.Error("peers: " + p.output.Text())
	}
	p.t.Fatal("the peers have ended")
}

// TestPeersOfManyConnections is the process of peers. Without its environment variable it does nothing.
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
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		for _, conn := range conns {
			send(t, conn, frame("sts example.com"))
		}
		for _, conn := range conns {
			wantNext(t, conn, frame("NOTFOUND "))
		}
		fmt.Println("answered")
	}
}

// dialMany connects. It sets SO_LINGER so that a closed TCP connection does not keep its port for a minute.
func dialMany(t *testing.T, network, addr string) net.Conn {
	t.Helper()
	var conn net.Conn
	var err error
	// Linux returns EAGAIN while the queue of a UNIX listener is full.
	testkit.Eventually(t, testkit.Hang, "a connection", func() bool {
		conn, err = net.Dial(network, addr)
		return !errors.Is(err, syscall.EAGAIN)
	})
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

// needFiles skips the test if this process may not open n files. Go raises the soft limit to the hard limit, less one,
// as it does in stsmapd.
func needFiles(t *testing.T, n uint64) {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Cur+1 < limit.Max {
		t.Errorf("the soft limit of open files is %d, the hard one %d: Go has not raised it", limit.Cur, limit.Max)
	}
	if uint64(limit.Cur) < n {
		testkit.Skip(t, fmt.Sprintf("no more than %d open files are allowed, %d are needed", limit.Cur, n))
	}
}

func memoryInUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}
