package doctor

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func write(t *testing.T, name, text string) string {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestCertificateFile(t *testing.T) {
	dir := t.TempDir()
	const one = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	good := write(t, filepath.Join(dir, "good"), "# Some CA\n"+one)
	for _, c := range []struct {
		why, name string
		want      File
	}{
		{"a certificate", good, FileGood},
		{"a key, then a certificate",
			write(t, filepath.Join(dir, "key"), "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"+one),
			FileGood},
		{"OpenSSL's own form", write(t, filepath.Join(dir, "trusted"),
			"-----BEGIN TRUSTED CERTIFICATE-----\nAAAA\n-----END TRUSTED CERTIFICATE-----\n"), FileGood},
		{"something else", write(t, filepath.Join(dir, "text"), "hello\n"), FileEmpty},
		{"nothing", write(t, filepath.Join(dir, "empty"), ""), FileEmpty},
		{"a directory", dir, FileEmpty},
		{"a FIFO, which nobody writes to", fifo, FileEmpty},
		{"not there", filepath.Join(dir, "gone"), FileMissing},
		{"in a file", filepath.Join(good, "x"), FileEmpty},
	} {
		if got := certificateFile(c.name); got != c.want {
			t.Errorf("%s: %d, want %d", c.why, got, c.want)
		}
	}
	if got := findBundle([]string{filepath.Join(dir, "gone"), filepath.Join(dir, "empty"), good}); got != good {
		t.Errorf("the bundle is %q", got)
	}
	if got := findBundle([]string{filepath.Join(dir, "gone")}); got != "" {
		t.Errorf("a bundle where there is none: %q", got)
	}
}

func TestCertificateDir(t *testing.T) {
	for _, c := range []struct {
		why, file string
		want      File
	}{
		{"hashed", "5ed36f99.0", FileGood},
		{"a second of that hash", "5ed36f99.12", FileGood},
		{"certificates that nobody hashed", "ca.pem", FileEmpty},
		{"a list of revoked ones", "5ed36f99.r0", FileEmpty},
	} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, c.file), "")
		if got := certificateDir(dir); got != c.want {
			t.Errorf("%s: %d, want %d", c.why, got, c.want)
		}
	}
	if got := certificateDir(filepath.Join(t.TempDir(), "gone")); got != FileMissing {
		t.Errorf("no directory: %d", got)
	}
}

// TestSocket checks the permissions of a socket for other users.
func TestSocket(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "run")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "s")
	l, err := net.Listen("unix", name)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	write(t, filepath.Join(dir, "file"), "")
	if err := os.Symlink("run", filepath.Join(root, "link")); err != nil {
		t.Fatal(err)
	}
	me, mine := uint32(os.Getuid()), uint32(os.Getgid())
	other := identity{known: true, uid: me + 12345, gids: []uint32{mine + 12345}}
	member := identity{known: true, uid: me + 12345, gids: []uint32{mine + 12345, mine}}
	owner := identity{known: true, uid: me, gids: []uint32{mine}}
	for _, c := range []struct {
		why       string
		id        identity
		path      string
		dir, mode fs.FileMode
		want      Socket
	}{
		{"open to all", other, "run/s", 0o755, 0o666, Socket{Kind: SocketOpen}},
		{"for reading only", other, "run/s", 0o755, 0o664, Socket{Kind: SocketClosed, At: name}},
		{"for the group", member, "run/s", 0o755, 0o660, Socket{Kind: SocketOpen}},
		{"the group may less than the others", member, "run/s", 0o755, 0o606, Socket{Kind: SocketClosed, At: name}},
		{"the directory is closed", other, "run/s", 0o750, 0o666, Socket{Kind: SocketClosed, At: dir}},
		{"the directory may be passed, not read", other, "run/s", 0o711, 0o666, Socket{Kind: SocketOpen}},
		{"the first obstacle is told", other, "run/s", 0o700, 0o600, Socket{Kind: SocketClosed, At: dir}},
		{"not there", other, "run/gone", 0o755, 0o666, Socket{Kind: SocketMissing}},
		{"no directory", other, "gone/s", 0o755, 0o666, Socket{Kind: SocketMissing}},
		{"a file", other, "run/file", 0o755, 0o666, Socket{Kind: SocketOther}},
		{"a link, which in a chroot may lead elsewhere", other, "link/s", 0o755, 0o666, Socket{}},
		{"out of the chroot", other, "../s", 0o755, 0o666, Socket{}},
		{"nobody known", identity{}, "run/s", 0o755, 0o666, Socket{}},
		{"his own", owner, "run/s", 0o755, 0o600, Socket{Kind: SocketOpen}},
	} {
		for file, mode := range map[string]fs.FileMode{root: 0o755, name: c.mode, dir: c.dir} {
			if err := os.Chmod(file, mode); err != nil {
				t.Fatal(err)
			}
		}
		if got := c.id.socket(SocketPath{Path: filepath.Join(root, c.path), From: root}); got != c.want {
			t.Errorf("%s: %v, want %v", c.why, got, c.want)
		}
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if got := (identity{known: true}).socket(
		SocketPath{Path: filepath.Join(root, "link/s"), From: "/"}); got.Kind != SocketOpen {
		t.Errorf("root, by a link, without a chroot: %v", got)
	}
	if got := (identity{known: true}).socket(
		SocketPath{Path: filepath.Join(root, "gone"), From: "/"}); got.Kind != SocketMissing {
		t.Errorf("not there, without a chroot: %v", got)
	}
}

func TestLookupUser(t *testing.T) {
	if id := lookupUser("root"); !id.known || id.uid != 0 || len(id.gids) == 0 {
		t.Errorf("root is %+v", id)
	}
	if id := lookupUser("no such user"); id.known {
		t.Errorf("a user that does not exist is %+v", id)
	}
}
