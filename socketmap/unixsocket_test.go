package socketmap

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// stale leaves a socket file that no process serves, as a killed process does.
func stale(t *testing.T, path string) {
	t.Helper()
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestStaleSocketIsReplaced(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "sock")
	stale(t, path)
	start(t, &Server{Handler: echo}, listen(t, "unix:"+path, ListenOptions{}))
	answers(t, "unix:"+path, "sts|a")
	wantFiles(t, dir, "sock")
}

func TestServedSocketIsNotReplaced(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "sock")
	start(t, &Server{Handler: echo}, listen(t, "unix:"+path, ListenOptions{}))
	_, err := Listen("unix:"+path, ListenOptions{})
	if !errors.Is(err, errInUse) || !strings.Contains(err.Error(), path) {
		t.Errorf("the second listener: %v", err)
	}
	answers(t, "unix:"+path, "sts|a")
	wantFiles(t, dir, "sock")
}

func TestBusySocketIsNotReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sock")
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	// The shortest queue, from which no process accepts.
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		conn, err := net.Dial("unix", path)
		if errors.Is(err, syscall.EAGAIN) {
			if _, err := Listen("unix:"+path, ListenOptions{}); !errors.Is(err, errInUse) {
				t.Errorf("a socket with a full queue: %v", err)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	t.Fatal("the queue never gets full")
}

func TestOtherFilesAreNeverRemoved(t *testing.T) {
	for _, c := range []struct {
		make func(path string) error
		why  string
	}{
		{func(p string) error { return os.WriteFile(p, []byte("precious"), 0o600) }, "a file"},
		{func(p string) error { return os.Mkdir(p, 0o700) }, "a directory"},
		{func(p string) error { return os.Symlink("/nowhere", p) }, "a link to nothing"},
		{func(p string) error { stale(t, p+".real"); return os.Symlink(p+".real", p) }, "a link to a stale socket"},
	} {
		path := filepath.Join(t.TempDir(), "sock")
		if err := c.make(path); err != nil {
			t.Fatal(err)
		}
		before, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		if ln, err := Listen("unix:"+path, ListenOptions{}); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: Listen = %v, %v", c.why, ln, err)
		}
		if after, err := os.Lstat(path); err != nil || !os.SameFile(before, after) {
			t.Errorf("%s was removed: %v", c.why, err)
		}
	}
}

func TestDatagramSocketIsNotRemoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sock")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := Listen("unix:"+path, ListenOptions{}); err == nil {
		t.Error("a socket that another process uses was replaced")
	}
	if _, err := os.Lstat(path); err != nil {
		t.Error(err)
	}
}

func TestMissingDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "missing")
	_, err := Listen("unix:"+dir+"/sock", ListenOptions{})
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "directory must exist") ||
		!strings.Contains(err.Error(), dir) {
		t.Errorf("Listen: %v", err)
	}
}

func TestLongDirectory(t *testing.T) {
	dir := t.TempDir()
	dir = filepath.Join(dir, strings.Repeat("d", maxSocketPath-len(dir)-len("//s")))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	// The socket's own path is short enough, the hidden path that it is bound to first is not.
	if _, err := Listen("unix:"+dir+"/s", ListenOptions{}); err == nil || !strings.Contains(err.Error(), "too long") {
		t.Errorf("Listen: %v", err)
	}
}

func TestSocketIsHiddenUntilItHasItsMode(t *testing.T) {
	dir := t.TempDir()
	ln, path, err := bindHidden(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	file, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if file.Mode().Perm() != 0 || !strings.HasPrefix(filepath.Base(path), ".") {
		t.Errorf("%s has mode %v before it is published, want 0", path, file.Mode())
	}
}

func TestFailureLeavesNoFiles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "sock")
	if err := os.Mkdir(path, 0o700); err != nil { // checkVacant would refuse it
		t.Fatal(err)
	}
	if ln, err := replaceSocket(path, 0o666, -1); err == nil {
		ln.Close()
		t.Error("a socket replaced a directory")
	}
	wantFiles(t, dir, "sock")
}

func TestCloseKeepsTheSocketOfAnother(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "sock")
	old := listen(t, "unix:"+path, ListenOptions{})
	if err := os.Remove(path); err != nil { // as an administrator may do
		t.Fatal(err)
	}
	start(t, &Server{Handler: echo}, listen(t, "unix:"+path, ListenOptions{}))
	if err := old.Close(); err != nil {
		t.Error(err)
	}
	answers(t, "unix:"+path, "sts|a")
}

func TestCloseTwiceRemovesOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sock")
	ln := listen(t, "unix:"+path, ListenOptions{})
	if err := ln.Close(); err != nil {
		t.Error(err)
	}
	next := listen(t, "unix:"+path, ListenOptions{}) // it may get the inode number of the first
	ln.Close()
	if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) || !strings.Contains(err.Error(), path) {
		t.Errorf("Accept after Close: %v; want an error that names %s", err, path)
	}
	start(t, &Server{Handler: echo}, next)
	answers(t, "unix:"+path, "sts|a")
}

func TestOneOfManyGetsTheSocket(t *testing.T) {
	const many = 20
	dir := t.TempDir()
	path := filepath.Join(dir, "sock")
	stale(t, path)
	type result struct {
		ln  net.Listener
		err error
	}
	results := make(chan result, many)
	for range many {
		go func() {
			ln, err := Listen("unix:"+path, ListenOptions{})
			results <- result{ln, err}
		}()
	}
	winners := 0
	for range many {
		r := <-results
		switch {
		case r.err == nil:
			winners++
			t.Cleanup(func() { r.ln.Close() })
		case !errors.Is(r.err, errInUse):
			t.Errorf("another Listen returned %v", r.err)
		}
	}
	if winners != 1 {
		t.Errorf("%d listeners got the socket, want 1", winners)
	}
	wantFiles(t, dir, "sock")
}

func TestShutdownRemovesTheSocket(t *testing.T) {
	dir := t.TempDir()
	srv := &Server{Handler: echo}
	start(t, srv, listen(t, "unix:"+filepath.Join(dir, "sock"), ListenOptions{}))
	answers(t, "unix:"+filepath.Join(dir, "sock"), "sts|a")
	if err := srv.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	wantFiles(t, dir)
}
