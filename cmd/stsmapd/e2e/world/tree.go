package world

import (
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// Tree is a root directory with the programs and /etc of a Debian, and an /etc/resolv.conf that names the tree's
// resolver. The files of the tests have the same path in it as outside. It consists of bind mounts in this mount
// namespace, read-only except for the files of the tests.
//
// A nil Tree is the machine itself, with the World's DNS server.
type Tree struct {
	root       string
	resolvConf string // the file that is its /etc/resolv.conf
}

// System is a Debian from which trees are made.
type System int

// The systems.
const (
	Own            System = iota // the machine's own: its Postfix is Debian 12's 3.7, or whatever else there is
	Trixie                       // Debian 13, as packaging/tools/chroot.sh unpacked it: Postfix 3.10, and valkey-server
	TrixieSendmail               // Debian 13, likewise, with Sendmail 8.18 in Postfix's place
	Sid                          // Debian sid, likewise: Postfix 3.11 or later
)

// treeKey identifies a tree.
type treeKey struct {
	system   System
	resolver netip.Addr
}

// Resolver returns the address of the World's DNS server, which does no DNSSEC.
func (w *World) Resolver() netip.Addr { return netip.MustParseAddr(dnsAddress) }

// Tree returns a tree of this system whose programs ask this resolver, on port 53. If the system is missing, or this
// run does not cover it, the test is skipped or fails as by [testkit.Folder].
func (w *World) Tree(t testing.TB, system System, resolver netip.Addr) *Tree {
	t.Helper()
	base := system.base(t)
	w.mu.Lock()
	defer w.mu.Unlock()
	key := treeKey{system, resolver}
	if w.trees[key] == nil {
		tree, err := newTree(base, filepath.Join(os.Getenv(envDir), fmt.Sprintf("tree-%d-%s", system, resolver)),
			resolver)
		if err != nil {
			t.Fatalf("making a tree of %s: %v", base, err)
		}
		if w.trees == nil {
			w.trees = map[treeKey]*Tree{}
		}
		w.trees[key] = tree
	}
	return w.trees[key]
}

// base returns the directory of a system.
func (s System) base(t testing.TB) string {
	t.Helper()
	switch s {
	case Own:
		return "/"
	case Trixie:
		return testkit.Folder(t, "debian-13")
	case TrixieSendmail:
		return testkit.Folder(t, "debian-13-sendmail")
	}
	return testkit.Folder(t, "debian-sid")
}

// newTree lays out a tree at root.
func newTree(base, root string, resolver netip.Addr) (*Tree, error) {
	for _, dir := range []string{
		root, filepath.Join(root, "tmp"), filepath.Join(root, "run"), filepath.Join(root, "var")} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return nil, err
		}
	}
	for _, name := range []string{"usr", "etc", "bin", "sbin", "lib", "lib32", "lib64", "libx32"} {
		if err := mountReadOnly(filepath.Join(base, name), filepath.Join(root, name)); err != nil {
			return nil, err
		}
	}
	here := os.Getenv(envDir)
	for _, bind := range []string{"/dev", "/proc", here} {
		if err := os.MkdirAll(filepath.Join(root, bind), 0o755); err != nil {
			return nil, err
		}
		if err := unix.Mount(bind, filepath.Join(root, bind), "", unix.MS_BIND, ""); err != nil {
			return nil, fmt.Errorf("binding %s: %w", bind, err)
		}
	}
	tree := &Tree{root: root, resolvConf: root + ".resolv.conf"}
	text := fmt.Sprintf("nameserver %s\noptions timeout:10 attempts:2\n", resolver)
	if err := os.WriteFile(tree.resolvConf, []byte(text), 0o644); err != nil {
		return nil, err
	}
	return tree, tree.setResolver(base)
}

// mountReadOnly adds a directory of the system to the tree. A symbolic link is copied; what does not exist is left out.
func mountReadOnly(from, to string) error {
	info, err := os.Lstat(from)
	switch {
	case os.IsNotExist(err):
		return nil
	case err != nil:
		return err
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(from)
		if err != nil {
			return err
		}
		return os.Symlink(target, to)
	}
	if err := os.Mkdir(to, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("binding %s: %w", from, err)
	}
	if err := unix.Mount("", to, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("making %s read-only: %w", to, err)
	}
	return nil
}

// setResolver mounts the tree's resolv.conf over that of the system, or over what that is a link to.
func (tree *Tree) setResolver(base string) error {
	real, err := filepath.EvalSymlinks(filepath.Join(base, "etc/resolv.conf"))
	if err != nil {
		return err
	}
	within, err := filepath.Rel(base, real)
	if err != nil {
		return err
	}
	target := filepath.Join(tree.root, within)
	if _, err := os.Stat(target); os.IsNotExist(err) { // a link out of /etc
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(target, nil, 0o644); err != nil {
			return err
		}
	}
	if err := unix.Mount(tree.resolvConf, target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mounting over %s: %w", target, err)
	}
	return nil
}

// etc returns the path, from outside, of the tree's file /etc/<name>.
func (tree *Tree) etc(name string) string {
	switch {
	case tree == nil:
		return filepath.Join("/etc", name)
	case name == "resolv.conf":
		return tree.resolvConf // /etc/resolv.conf may be a link
	}
	return filepath.Join(tree.root, "etc", name)
}

// command returns a command that runs a program of /usr/sbin with the tree as its root.
func (tree *Tree) command(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(program, args...)
	if tree != nil {
		cmd.Path, cmd.Err = filepath.Join("/usr/sbin", program), nil // what the machine itself has does not matter
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: tree.root}
	}
	return cmd
}

// uid returns the id of a user of the tree.
func (tree *Tree) uid(t testing.TB, user string) int {
	t.Helper()
	text, err := os.ReadFile(tree.etc("passwd"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Split(line, ":"); len(fields) > 2 && fields[0] == user {
			uid, err := strconv.Atoi(fields[2])
			if err != nil {
				t.Fatal(err)
			}
			return uid
		}
	}
	t.Fatalf("no user %s in %s", user, tree.etc("passwd"))
	return 0
}
