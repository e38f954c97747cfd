package world

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Doctor runs `stsmapd postfix` on this Postfix, as root does. The files of the world have the same paths in its tree,
// so it is enough that the tree's own postconf and postmap are run.
func (p *Postfix) Doctor(t testing.TB, w *World, args ...string) Result {
	t.Helper()
	args = append([]string{"postfix", "-c", p.Config}, args...)
	if p.tree == nil {
		return w.Command(t, nil, args...)
	}
	programs := t.TempDir()
	for _, name := range []string{"postconf", "postmap"} {
		script := fmt.Sprintf("#!/bin/sh\nexec chroot '%s' /usr/sbin/%s \"$@\"\n", p.tree.root, name)
		WriteProgram(t, filepath.Join(programs, name), []byte(script))
	}
	return w.Command(t, append(os.Environ(), "PATH="+programs+":"+os.Getenv("PATH")), args...)
}

// Postconf runs postconf on this Postfix, which must succeed, and returns what it prints.
func (p *Postfix) Postconf(t testing.TB, args ...string) string {
	t.Helper()
	r := complete(t, p.tree.command("postconf", append([]string{"-c", p.Config}, args...)...))
	if r.Code != 0 {
		t.Fatalf("postconf %s: exit code %d\n%s", strings.Join(args, " "), r.Code, r.Stderr)
	}
	return r.Stdout
}

// Master replaces the SMTP clients of master.cf by these lines; the other services stay.
func (p *Postfix) Master(t testing.TB, clients string) {
	t.Helper()
	name := filepath.Join(p.Config, "master.cf")
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	others, _, found := strings.Cut(string(text), "smtp-inet ")
	if !found {
		t.Fatalf("no service smtp-inet in %s", name)
	}
	p.write(t, name, others+clients)
}

// Reload makes Postfix read its configuration again.
func (p *Postfix) Reload(t testing.TB) {
	t.Helper()
	if r := complete(t, p.tree.command("postfix", "-c", p.Config, "reload")); r.Code != 0 {
		t.Fatalf("postfix reload: exit code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
}

// Forward serves a listener by passing its connections on to the UNIX socket at this path, until the listener is
// closed.
func Forward(l net.Listener, path string) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			other, err := net.Dial("unix", path)
			if err != nil {
				return // whoever asked sees the connection end
			}
			defer other.Close()
			go func() {
				_, _ = io.Copy(other, conn)
				_ = other.Close()
			}()
			_, _ = io.Copy(conn, other)
		}()
	}
}
