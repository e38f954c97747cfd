package socketmap

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"
)

const (
	defaultSocketMode = 0o666
	probeTimeout      = time.Second // to find out whether somebody serves a socket
	lockAttempts      = 100         // to lock the socket's directory
	lockPause         = 20 * time.Millisecond
	bindAttempts      = 10
)

// unixListener is a listener whose socket was bound to another name before it got its own.
type unixListener struct {
	*net.UnixListener
	path  string
	file  fs.FileInfo // the socket file as this listener made it
	close sync.Once
	err   error
}

// Addr is the socket's path.
func (l *unixListener) Addr() net.Addr { return &net.UnixAddr{Name: l.path, Net: "unix"} }

// Accept is that of the listener below, but an error names the socket's path, not the one that it was bound to.
func (l *unixListener) Accept() (net.Conn, error) {
	conn, err := l.UnixListener.Accept()
	if op := (*net.OpError)(nil); errors.As(err, &op) {
		op.Addr = l.Addr()
	}
	return conn, err
}

// Close stops listening and removes the socket file, unless another process has put its own there.
func (l *unixListener) Close() error {
	l.close.Do(func() {
		// The file first: once the listener is closed, another file may get the same inode number.
		var removed error
		if now, err := os.Lstat(l.path); err == nil && os.SameFile(now, l.file) {
			removed = os.Remove(l.path)
		}
		l.err = errors.Join(removed, l.UnixListener.Close())
	})
	return l.err
}

// listenUnix binds a socket to a hidden name beside path, gives it mode and group, and renames it to path. So it never
// shows with a wrong mode, and there is no moment without a socket when a stale one is replaced.
func listenUnix(path string, opt ListenOptions) (net.Listener, error) {
	mode, gid, err := opt.resolve()
	if err != nil {
		return nil, err
	}
	unlock, err := lockDir(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := checkVacant(path); err != nil {
		return nil, err
	}
	return place(path, mode, gid)
}

// place puts a new socket at path, whatever is there.
func place(path string, mode fs.FileMode, gid int) (net.Listener, error) {
	ln, hidden, err := bindHidden(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	file, err := publish(hidden, path, mode, gid)
	if err != nil {
		return nil, errors.Join(err, ln.Close(), os.Remove(hidden))
	}
	return &unixListener{UnixListener: ln, path: path, file: file}, nil
}

// resolve turns the options into what the system calls want; a gid of -1 changes nothing.
func (opt ListenOptions) resolve() (mode fs.FileMode, gid int, err error) {
	mode = opt.Mode
	if mode == 0 {
		mode = defaultSocketMode
	}
	if mode&^0o777 != 0 {
		return 0, 0, fmt.Errorf("socket mode %#o: only permission bits (up to 0777) are possible", uint32(opt.Mode))
	}
	if opt.Group == "" {
		return mode, -1, nil
	}
	if gid, err := strconv.ParseUint(opt.Group, 10, 31); err == nil {
		return mode, int(gid), nil
	}
	group, err := user.LookupGroup(opt.Group)
	if err != nil {
		return 0, 0, fmt.Errorf("socket group %q: %w", opt.Group, err)
	}
	gid, err = strconv.Atoi(group.Gid)
	return mode, gid, err
}

// lockDir keeps others who use this package from the directory meanwhile: of two processes that start at once and find
// the same stale socket, one must find the other's. Where a directory cannot be locked, it goes on without.
func lockDir(dir string) (unlock func(), err error) {
	d, err := os.Open(dir)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return func() {}, nil
	case err != nil:
		return nil, fmt.Errorf("the socket's directory must exist: %w", err)
	}
	for range lockAttempts {
		err = syscall.Flock(int(d.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return func() { d.Close() }, nil
		}
		time.Sleep(lockPause)
	}
	d.Close()
	return nil, fmt.Errorf("directory %s stays locked by another process", dir)
}

// checkVacant says why a socket must not be put at path: somebody serves the one there, or it is something else.
func checkVacant(path string) error {
	file, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case file.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s is there and is no socket: remove it, or choose another path", path)
	}
	probe, err := net.DialTimeout("unix", path, probeTimeout)
	switch {
	case err == nil:
		probe.Close()
		return ErrInUse
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		return nil // left by a process that is gone
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, os.ErrDeadlineExceeded):
		return ErrInUse // its queue is full
	}
	return fmt.Errorf("cannot tell whether somebody serves %s: %w", path, err)
}

// bindHidden listens on a socket of a random name in dir that nobody may connect to.
func bindHidden(dir string) (ln *net.UnixListener, path string, err error) {
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		// The file takes its mode from the descriptor, on Linux; elsewhere the hidden name has to do.
		return raw.Control(func(fd uintptr) { _ = syscall.Fchmod(int(fd), 0) })
	}}
	for range bindAttempts {
		path = filepath.Join(dir, fmt.Sprintf(".s%05x", rand.N(1<<20)))
		if len(path) > maxSocketPath {
			return nil, "", fmt.Errorf(
				"the path of directory %s is too long: a UNIX socket's path has at most %d bytes", dir, maxSocketPath)
		}
		var l net.Listener
		l, err = lc.Listen(context.Background(), "unix", path)
		if err == nil {
			ln = l.(*net.UnixListener)
			ln.SetUnlinkOnClose(false)
			return ln, path, nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	return nil, "", err
}

// publish gives a bound socket its group, mode and name, in this order.
func publish(hidden, path string, mode fs.FileMode, gid int) (fs.FileInfo, error) {
	if gid >= 0 { // a service in a sandbox may not even ask for no change
		if err := os.Lchown(hidden, -1, gid); err != nil {
			return nil, fmt.Errorf("set the socket's group: %w", err)
		}
	}
	if err := chmodSocket(hidden, mode); err != nil {
		return nil, err
	}
	file, err := os.Lstat(hidden)
	if err != nil {
		return nil, err
	}
	return file, os.Rename(hidden, path)
}
