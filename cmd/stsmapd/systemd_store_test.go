package main

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stsmapd/stsmapd/socketmap"
)

// storeRig is a daemon whose listeners lie in the file descriptor store of a fake systemd.
type storeRig struct {
	fakeSystemd
	dir    string
	config string // without `listen`
}

func newStoreRig(t *testing.T) *storeRig {
	dir := t.TempDir()
	text, err := os.ReadFile(partnerConfig(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "\n")
	r := &storeRig{dir: dir, config: rest}
	r.notify = newNotified(t)
	t.Cleanup(func() {
		for _, f := range r.notify.stored {
			f.Close()
		}
	})
	return r
}

// start starts the daemon with these addresses and what is in the store, and returns what systemd was told before it
// was ready.
func (r *storeRig) start(t *testing.T, more string, specs ...string) (p *program, told []string) {
	t.Helper()
	text := `listen = ["` + strings.Join(specs, `", "`) + "\"]\n" + more + r.config
	file := filepath.Join(r.dir, "stsmapd.toml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r.restore()
	p = r.program("serve", "--config", file, "--state-dir", filepath.Join(r.dir, "state"))
	p.begin(t)
	for {
		message := r.notify.next(t)
		if message == "READY=1" {
			return p, told
		}
		told = append(told, message)
	}
}

// TestListenersAreStored: a daemon that is killed has its listeners again, with the connections that came meanwhile,
// and what `listen` does not name any more is closed.
func TestListenersAreStored(t *testing.T) {
	r := newStoreRig(t)
	inet := "inet:" + freeAddresses(t, 1)[0]
	path := filepath.Join(r.dir, "sts.sock")
	unix := "unix:" + path

	p, told := r.start(t, "", inet, unix)
	if len(told) != 2 || len(r.notify.stored) != 2 {
		t.Fatalf("told %q, and stored are %v", told, r.notify.stored)
	}
	p.signal(t, syscall.SIGKILL)
	<-p.ended
	var waiting []*socketmap.Client
	for _, spec := range []string{inet, unix} {
		c, err := socketmap.Dial(t.Context(), spec)
		if err != nil {
			t.Fatalf("a connection to %s while the daemon is dead: %v", spec, err)
		}
		defer c.Close()
		waiting = append(waiting, c)
	}
	p, told = r.start(t, "socket_mode = \"0600\"\n", inet, unix)
	if len(told) != 0 {
		t.Errorf("told %q, and both listeners were in the store", told)
	}
	for _, c := range waiting {
		if reply, err := c.Ask(t.Context(), "sts", "partner.example"); err != nil || reply.String() != partnerAnswer {
			t.Errorf("a connection that waited is answered %v, %v", reply, err)
		}
	}
	if file, err := os.Lstat(path); err != nil || file.Mode().Perm() != 0o600 {
		t.Errorf("socket_mode has changed to 0600, and the socket is %v: %v", file, err)
	}
	p.signal(t, syscall.SIGTERM)
	p.end(t, 0)
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the stop of a restart: %v", err)
	}

	other := "inet:0.0.0.0:" + inet[strings.LastIndex(inet, ":")+1:] // cannot be bound beside the former address
	r.notify.next(t)                                                 // STOPPING=1
	p, told = r.start(t, "", other)
	if len(r.notify.stored) != 1 || len(told) != 4 || told[2] != "BARRIER=1" {
		t.Errorf("told %q, and stored are %v", told, r.notify.stored)
	}
	if got := askUntilAnswered(t, inet); got != partnerAnswer {
		t.Error(got)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket that `listen` names no more: %v", err)
	}
	p.signal(t, syscall.SIGTERM)
	p.end(t, 0)
}

// TestStoredSocketWithoutFile: a stored UNIX socket whose file was removed is replaced by a new one.
func TestStoredSocketWithoutFile(t *testing.T) {
	r := newStoreRig(t)
	path := filepath.Join(r.dir, "sts.sock")
	p, _ := r.start(t, "", "unix:"+path)
	p.signal(t, syscall.SIGKILL)
	<-p.ended
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	p, told := r.start(t, "", "unix:"+path)
	if len(told) != 3 || !strings.HasPrefix(told[0], "FDSTOREREMOVE=1\n") || len(r.notify.stored) != 1 {
		t.Errorf("told %q", told)
	}
	if got := askUntilAnswered(t, "unix:"+path); got != partnerAnswer {
		t.Error(got)
	}
	p.signal(t, syscall.SIGTERM)
	p.end(t, 0)
	r.notify.next(t)

	// Sockets of socket units come before all in `listen`: the store is emptied.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.restore()
	r.hold(t, "inet", l.(*net.TCPListener))
	p = r.program("serve", "--config", filepath.Join(r.dir, "stsmapd.toml"), "--state-dir",
		filepath.Join(r.dir, "state"))
	p.begin(t)
	waitFor(t, func() bool { return r.notify.next(t) == "READY=1" })
	if len(r.notify.stored) != 0 {
		t.Errorf("beside a socket unit, stored are %v", r.notify.stored)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("beside a socket unit: %v", err)
	}
}
