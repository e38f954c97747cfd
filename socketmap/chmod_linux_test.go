package socketmap

import (
	"net"
	"os"
	"path/filepath"
	"testing"
)

// TestChmodSocketFollowsNothing: a process that may write to the socket's directory cannot change the mode of another
// file through chmodSocket.
func TestChmodSocketFollowsNothing(t *testing.T) {
	dir := t.TempDir()
	precious := filepath.Join(dir, "shadow")
	if err := os.WriteFile(precious, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	link, sock, toSock := filepath.Join(dir, "link"), filepath.Join(dir, "sock"), filepath.Join(dir, "toSock")
	l, err := net.Listen("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for name, target := range map[string]string{link: precious, toSock: sock} {
		if err := os.Symlink(target, name); err != nil {
			t.Fatal(err)
		}
	}
	for why, path := range map[string]string{
		"a link to a file": link, "a link to a socket": toSock, "a file": precious, "nothing": sock + "x"} {
		if err := chmodSocket(path, 0o666); err == nil {
			t.Errorf("%s: no error", why)
		}
	}
	if err := chmodSocket(sock, 0o620); err != nil {
		t.Errorf("a socket: %v", err)
	}
	for path, want := range map[string]os.FileMode{precious: 0o600, sock: 0o620} {
		if file, err := os.Lstat(path); err != nil || file.Mode().Perm() != want {
			t.Errorf("%s has mode %v, %v, want %v", path, file.Mode(), err, want)
		}
	}
}
