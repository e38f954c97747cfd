package examine

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/doctor"
)

func write(t *testing.T, name, text string) string {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestCertificates(t *testing.T) {
	dir := t.TempDir()
	const one = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	good := write(t, filepath.Join(dir, "good"), "# Some CA\n"+one)
	for _, c := range []struct {
		why, name string
		want      doctor.File
	}{
		{"a certificate", good, doctor.FileGood},
		{"a key, then a certificate", write(t, filepath.Join(dir, "key"), "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"+one), doctor.FileGood},
		{"OpenSSL's own form", write(t, filepath.Join(dir, "trusted"), "-----BEGIN TRUSTED CERTIFICATE-----\nAAAA\n-----END TRUSTED CERTIFICATE-----\n"), doctor.FileGood},
		{"something else", write(t, filepath.Join(dir, "text"), "hello\n"), doctor.FileEmpty},
		{"nothing", write(t, filepath.Join(dir, "empty"), ""), doctor.FileEmpty},
		{"a directory", dir, doctor.FileEmpty},
		{"a FIFO, which nobody writes to", fifo, doctor.FileEmpty},
		{"not there", filepath.Join(dir, "gone"), doctor.FileMissing},
		{"in a file", filepath.Join(good, "x"), doctor.FileEmpty},
	} {
		if got := certificates(c.name); got != c.want {
			t.Errorf("%s: %d, want %d", c.why, got, c.want)
		}
	}
	if got := bundle([]string{filepath.Join(dir, "gone"), filepath.Join(dir, "empty"), good}); got != good {
		t.Errorf("the bundle is %q", got)
	}
	if got := bundle([]string{filepath.Join(dir, "gone")}); got != "" {
		t.Errorf("a bundle where there is none: %q", got)
	}
}

func TestHashed(t *testing.T) {
	for _, c := range []struct {
		why, file string
		want      doctor.File
	}{
		{"hashed", "5ed36f99.0", doctor.FileGood},
		{"a second of that hash", "5ed36f99.12", doctor.FileGood},
		{"certificates that nobody hashed", "ca.pem", doctor.FileEmpty},
		{"a list of revoked ones", "5ed36f99.r0", doctor.FileEmpty},
	} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, c.file), "")
		if got := hashed(dir); got != c.want {
			t.Errorf("%s: %d, want %d", c.why, got, c.want)
		}
	}
	if got := hashed(filepath.Join(t.TempDir(), "gone")); got != doctor.FileMissing {
		t.Errorf("no directory: %d", got)
	}
}

// TestSocket looks at a socket with the eyes of others.
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
	stranger := identity{known: true, uid: me + 12345, gids: []uint32{mine + 12345}}
	member := identity{known: true, uid: me + 12345, gids: []uint32{mine + 12345, mine}}
	owner := identity{known: true, uid: me, gids: []uint32{mine}}
	for _, c := range []struct {
		why       string
		id        identity
		path      string
		dir, mode fs.FileMode
		want      doctor.Socket
	}{
		{"open to all", stranger, "run/s", 0o755, 0o666, doctor.Socket{Kind: doctor.SocketOpen}},
		{"for reading only", stranger, "run/s", 0o755, 0o664, doctor.Socket{Kind: doctor.SocketClosed, At: name}},
		{"for the group", member, "run/s", 0o755, 0o660, doctor.Socket{Kind: doctor.SocketOpen}},
		{"the group may less than the others", member, "run/s", 0o755, 0o606, doctor.Socket{Kind: doctor.SocketClosed, At: name}},
		{"the directory is closed", stranger, "run/s", 0o750, 0o666, doctor.Socket{Kind: doctor.SocketClosed, At: dir}},
		{"the directory may be passed, not read", stranger, "run/s", 0o711, 0o666, doctor.Socket{Kind: doctor.SocketOpen}},
		{"the first obstacle is told", stranger, "run/s", 0o700, 0o600, doctor.Socket{Kind: doctor.SocketClosed, At: dir}},
		{"not there", stranger, "run/gone", 0o755, 0o666, doctor.Socket{Kind: doctor.SocketMissing}},
		{"no directory", stranger, "gone/s", 0o755, 0o666, doctor.Socket{Kind: doctor.SocketMissing}},
		{"a file", stranger, "run/file", 0o755, 0o666, doctor.Socket{Kind: doctor.SocketOther}},
		{"a link, which in a chroot may lead elsewhere", stranger, "link/s", 0o755, 0o666, doctor.Socket{}},
		{"out of the chroot", stranger, "../s", 0o755, 0o666, doctor.Socket{}},
		{"nobody known", identity{}, "run/s", 0o755, 0o666, doctor.Socket{}},
		{"his own", owner, "run/s", 0o755, 0o600, doctor.Socket{Kind: doctor.SocketOpen}},
	} {
		for file, mode := range map[string]fs.FileMode{root: 0o755, name: c.mode, dir: c.dir} {
			if err := os.Chmod(file, mode); err != nil {
				t.Fatal(err)
			}
		}
		if got := c.id.socket(doctor.Reach{Path: filepath.Join(root, c.path), From: root}); got != c.want {
			t.Errorf("%s: %v, want %v", c.why, got, c.want)
		}
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if got := (identity{known: true}).socket(doctor.Reach{Path: filepath.Join(root, "link/s"), From: "/"}); got.Kind != doctor.SocketOpen {
		t.Errorf("root, by a link, without a chroot: %v", got)
	}
	if got := (identity{known: true}).socket(doctor.Reach{Path: filepath.Join(root, "gone"), From: "/"}); got.Kind != doctor.SocketMissing {
		t.Errorf("not there, without a chroot: %v", got)
	}
}

func TestLookup(t *testing.T) {
	if id := lookup("root"); !id.known || id.uid != 0 || len(id.gids) == 0 {
		t.Errorf("root is %+v", id)
	}
	if id := lookup("no such user"); id.known {
		t.Errorf("a user that does not exist is %+v", id)
	}
}
