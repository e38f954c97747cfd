package socketmap

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

const (
	defaultSocketMode = 0o666
	probeTimeout      = time.Second // of the connection that finds out whether a process serves a socket
	lockAttempts      = 100         // to lock the socket's directory
	lockPause         = 20 * time.Millisecond
	bindAttempts      = 10
)

// unixListener is a listener whose socket was bound under a hidden name and then renamed.
type unixListener struct {
	*net.UnixListener
	path  string
	file  fs.FileInfo // the socket file that this listener created
	keep  bool        // Close leaves the file
	close sync.Once
	err   error
}

// Addr returns the socket's path.
func (l *unixListener) Addr() net.Addr { return &net.UnixAddr{Name: l.path, Net: "unix"} }

// Accept accepts a connection. An error names the socket's path, not the hidden one that it was bound to.
func (l *unixListener) Accept() (net.Conn, error) {
	conn, err := l.UnixListener.Accept()
	if op := (*net.OpError)(nil); errors.As(err, &op) {
		op.Addr = l.Addr()
	}
	return conn, err
}

// Close stops listening and removes the socket file, unless it is to be kept or another process has replaced it.
func (l *unixListener) Close() error {
	l.close.Do(func() {
		// The file is removed first: after the listener is closed, a new file may get the same inode number.
		var removed error
		if now, err := os.Lstat(l.path); err == nil && !l.keep && os.SameFile(now, l.file) {
			removed = os.Remove(l.path)
		}
		l.err = errors.Join(removed, l.UnixListener.Close())
	})
	return l.err
}

// listenUnix binds a socket to a hidden name in the directory of path, sets its mode and group, and renames it to path.
// So the socket is never visible with a wrong mode, and while a stale socket is replaced there always is one.
func listenUnix(path string, opt ListenOptions) (net.Listener, error) {
	mode, gid, err := opt.resolve()
	if err != nil {
		return nil, err
	}
	unlock, err := lockDirectory(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := checkVacant(path); err != nil {
		return nil, err
	}
	ln, err := replaceSocket(path, mode, gid)
	if err != nil {
		return nil, err
	}
	ln.keep = opt.Keep
	return ln, nil
}

// adoptUnix returns a listener on a socket that is already at path, with its mode and group set as opt says.
func adoptUnix(ln *net.UnixListener, path string, opt ListenOptions) (net.Listener, error) {
	mode, gid, err := opt.resolve()
	var file fs.FileInfo
	if err == nil {
		file, err = restrictSocket(path, mode, gid)
	}
	if err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	return &unixListener{UnixListener: ln, path: path, file: file, keep: opt.Keep}, nil
}

// replaceSocket puts a new socket at path, also over an existing file.
func replaceSocket(path string, mode fs.FileMode, gid int) (*unixListener, error) {
	ln, hidden, err := bindHidden(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	file, err := nameSocket(hidden, path, mode, gid)
	if err != nil {
		return nil, errors.Join(err, ln.Close(), os.Remove(hidden))
	}
	return &unixListener{UnixListener: ln, path: path, file: file}, nil
}

// lockDirectory locks the directory against other processes that use this package: when two of them start at the same
// time and find the same stale socket, the second must see the socket of the first. A directory that this process may
// not open is not locked.
func lockDirectory(dir string) (unlock func(), err error) {
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
	return nil, fmt.Errorf("directory %s is locked by another process", dir)
}

// checkVacant returns nil when a socket may be created at path: nothing is there, or a socket that no process serves.
func checkVacant(path string) error {
	file, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case file.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s exists and is not a socket: remove it, or choose another path", path)
	}
	probe, err := net.DialTimeout("unix", path, probeTimeout)
	switch {
	case err == nil:
		probe.Close()
		return errInUse
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		return nil // left by a process that has ended
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, os.ErrDeadlineExceeded):
		return errInUse // its queue is full
	}
	return fmt.Errorf("cannot find out whether another process serves %s: %w", path, err)
}

// bindHidden listens on a socket with mode 0 and a random hidden name in dir.
func bindHidden(dir string) (ln *net.UnixListener, path string, err error) {
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		// On Linux the file gets the mode of the descriptor. Elsewhere only the hidden name protects it.
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

// nameSocket sets the group and mode of a bound socket and then renames it from hidden to path.
func nameSocket(hidden, path string, mode fs.FileMode, gid int) (fs.FileInfo, error) {
	file, err := restrictSocket(hidden, mode, gid)
	if err != nil {
		return nil, err
	}
	return file, os.Rename(hidden, path)
}

// restrictSocket sets the group and mode of the socket at path; a gid of -1 leaves the group unchanged.
func restrictSocket(path string, mode fs.FileMode, gid int) (fs.FileInfo, error) {
	if gid >= 0 { // a sandbox may forbid the call even when it changes nothing
		if err := os.Lchown(path, -1, gid); err != nil {
			return nil, fmt.Errorf("set the socket's group: %w", err)
		}
	}
	if err := chmodSocket(path, mode); err != nil {
		return nil, err
	}
	return os.Lstat(path)
}
