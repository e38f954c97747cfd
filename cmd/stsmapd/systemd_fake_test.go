package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// patience is for what comes by itself.
const hangLimit = testkit.Hang

// notified is a NOTIFY_SOCKET: what systemd would be told, and the descriptors that it would store.
type notified struct {
	path   string
	conn   *net.UnixConn
	stored []*os.File // each with its FDNAME=
}

func newNotified(t *testing.T) *notified {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &notified{path: path, conn: conn}
}

// within returns what systemd is told next, false when that is nothing within the limit.
func (n *notified) within(t *testing.T, limit time.Duration) (message string, ok bool) {
	t.Helper()
	if err := n.conn.SetReadDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	buf, rights := make([]byte, 4096), make([]byte, 1024)
	size, rightsSize, _, _, err := n.conn.ReadMsgUnix(buf, rights)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return "", false
	}
	if err != nil {
		t.Fatal(err)
	}
	n.receive(t, string(buf[:size]), rights[:rightsSize])
	return string(buf[:size]), true
}

// receive stores and removes descriptors as a message says; that of a barrier it closes.
func (n *notified) receive(t *testing.T, message string, rights []byte) {
	t.Helper()
	controls, err := syscall.ParseSocketControlMessage(rights)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range controls {
		fds, err := syscall.ParseUnixRights(&c)
		if err != nil || len(fds) != 1 {
			t.Fatalf("%d descriptors with %q: %v", len(fds), message, err)
		}
		if name, ok := strings.CutPrefix(message, "FDSTORE=1\nFDNAME="); ok {
			n.stored = append(n.stored, os.NewFile(uintptr(fds[0]), name))
		} else {
			syscall.Close(fds[0])
		}
	}
	if name, ok := strings.CutPrefix(message, "FDSTOREREMOVE=1\nFDNAME="); ok {
		n.stored = slices.DeleteFunc(n.stored, func(f *os.File) bool {
			if f.Name() == name {
				f.Close()
			}
			return f.Name() == name
		})
	}
}

// ready waits until systemd is told that the daemon is ready.
func (n *notified) ready(t *testing.T) {
	t.Helper()
	for message := ""; message != "READY=1"; {
		message = n.next(t)
	}
}

// next returns the next message that is not about the watchdog.
func (n *notified) next(t *testing.T) string {
	t.Helper()
	for {
		message, ok := n.within(t, hangLimit)
		if !ok {
			t.Fatal("systemd is told nothing")
		}
		if message != "WATCHDOG=1" {
			return message
		}
	}
}

// fakeSystemd holds sockets open, and starts the daemon with them, as systemd does.
type fakeSystemd struct {
	sockets []*os.File
	names   []string
	notify  *notified
}

// hold adds a socket, which the fake keeps open for the length of the test.
func (f *fakeSystemd) hold(t *testing.T, name string, socket interface {
	File() (*os.File, error)
	Close() error
}) {
	t.Helper()
	file, err := socket.File()
	if err != nil {
		t.Fatal(err)
	}
	socket.Close() // the file is the one that stays open, and no Go program accepts from it
	t.Cleanup(func() { file.Close() })
	f.sockets, f.names = append(f.sockets, file), append(f.names, name)
}

// restore passes what was stored to the next start, as systemd does.
func (f *fakeSystemd) restore() {
	f.sockets, f.names = nil, nil
	for _, file := range f.notify.stored {
		f.sockets, f.names = append(f.sockets, file), append(f.names, file.Name())
	}
}

// program is stsmapd with these arguments, to be started with the sockets.
func (f *fakeSystemd) program(args ...string) *program {
	cmd := exec.Command("sh", append([]string{"-c", `LISTEN_PID=$$ exec stsmapd "$@"`, "sh"}, args...)...)
	cmd.ExtraFiles = f.sockets // from descriptor 3 on
	cmd.Env = append(os.Environ(), fmt.Sprintf("LISTEN_FDS=%d", len(f.sockets)),
		"LISTEN_FDNAMES="+strings.Join(f.names, ":"))
	if f.notify != nil {
		cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+f.notify.path)
	}
	return newProgram(cmd)
}

// program is a process and what it writes.
type program struct {
	*exec.Cmd
	ended chan struct{}

	mu  sync.Mutex
	log bytes.Buffer
}

func newProgram(cmd *exec.Cmd) *program {
	p := &program{Cmd: cmd, ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p, p
	cmd.Env = append(cmd.Env, "GORACE=atexit_sleep_ms=10")
	return p
}

// Write implements io.Writer.
func (p *program) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.Write(b)
}

// output is what the process has written so far.
func (p *program) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// begin starts the process, which ends with the test at the latest.
func (p *program) begin(t *testing.T) {
	t.Helper()
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.Wait() // how it ended is in ProcessState
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = p.Process.Kill()
		<-p.ended
		if t.Failed() {
			t.Logf("log of %v:\n%s", p.Args, p.output())
		}
	})
}

// end waits for the process to end by itself, with this code.
func (p *program) end(t *testing.T, code int) {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(hangLimit):
		t.Fatal("the daemon does not end")
	}
	if got := p.ProcessState.ExitCode(); got != code {
		t.Fatalf("exit code %d, want %d:\n%s", got, code, p.output())
	}
}
