package systemd

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stsmapd/stsmapd/socketmap"
)

// storedPrefix begins the name of a listener in systemd's file descriptor store; its address follows, escaped: a name
// has no colon.
const storedPrefix = "listen/"

// maxStoredName is the length in bytes of the longest name of a descriptor in the store.
const maxStoredName = 255

// barrierLimit is how long systemd may take to process what it was sent.
const barrierLimit = 5 * time.Second

func storedName(spec string) string { return storedPrefix + url.QueryEscape(spec) }

// addStored notes a socket from the store: a listener of an earlier process of this daemon. It returns false if the
// socket is of a socket unit.
func (m *Manager) addStored(file *os.File) bool {
	escaped, ok := strings.CutPrefix(file.Name(), storedPrefix)
	if !ok {
		return false
	}
	spec, err := url.QueryUnescape(escaped)
	if err != nil {
		return false
	}
	m.stored[spec] = file
	return true
}

// Listen returns the listeners for Postfix: those of socket units, or else one for each address of specs, in their
// order. Where systemd's file descriptor store (FileDescriptorStoreMax= of the unit) has the listener of an earlier
// process, that is used: between the two, no connection was refused, and no other process could take the address. New
// listeners are put into the store. Listeners in the store for other addresses are closed. The errors are those of
// socketmap.Listen.
func (m *Manager) Listen(specs []string, opt socketmap.ListenOptions) (open []net.Listener, err error) {
	if len(m.Postfix) > 0 {
		m.release(nil)
		return m.Postfix, nil
	}
	opt.Keep = m.notified
	m.release(specs)
	for _, spec := range specs {
		l := m.reopen(spec, opt)
		if l == nil {
			if l, err = m.open(spec, opt); err != nil {
				for _, l := range open {
					l.Close()
				}
				return nil, err
			}
		}
		open = append(open, l)
	}
	return open, nil
}

// release closes the listeners in the store whose addresses are not in specs, here and in systemd.
func (m *Manager) release(specs []string) {
	released := false
	for spec, file := range m.stored {
		if slices.Contains(specs, spec) {
			continue
		}
		m.Log.Info("no longer listening on an address that the configuration does not have any more", "event",
			"listener_released", "listen", spec)
		if l, err := socketmap.Adopt(spec, file, socketmap.ListenOptions{}); err == nil {
			l.Close() // and removes the file of a UNIX socket
		}
		m.remove(spec)
		released = true
	}
	if released {
		m.wait()
	}
}

// remove removes a listener from the store.
func (m *Manager) remove(spec string) {
	m.stored[spec].Close()
	delete(m.stored, spec)
	m.notify("FDSTOREREMOVE=1", "FDNAME="+storedName(spec))
}

// reopen returns the listener that the store has for an address, nil if it has none that can be used.
func (m *Manager) reopen(spec string, opt socketmap.ListenOptions) net.Listener {
	file := m.stored[spec]
	if file == nil {
		return nil
	}
	l, err := socketmap.Adopt(spec, file, opt)
	if err == nil {
		file.Close() // the listener has its own descriptor
		delete(m.stored, spec)
		m.Log.Info("listening with the socket that systemd kept over the restart", "event", "listener_kept", "listen",
			spec)
		return l
	}
	m.Log.Warn("cannot use the socket that systemd kept over the restart; listening with a new one", "event",
		"listener_unusable", "listen", spec, "error", err)
	m.remove(spec)
	m.wait()
	return nil
}

// open listens on an address and puts the listener into the store.
func (m *Manager) open(spec string, opt socketmap.ListenOptions) (net.Listener, error) {
	l, err := socketmap.Listen(spec, opt)
	if err != nil || !m.notified {
		return l, err
	}
	name := storedName(spec)
	if len(name) > maxStoredName {
		m.Log.Warn("the path of the socket is too long to be kept by systemd over a restart", "event",
			"listener_not_stored", "listen", spec)
		return l, nil
	}
	if err := store(l, name); err != nil {
		m.Log.Warn("cannot put the socket into systemd's file descriptor store; connections are refused during a "+
			"restart", "event", "listener_not_stored", "listen", spec, "error", err)
	}
	return l, nil
}

// store sends a listener's descriptor to systemd.
func store(l net.Listener, name string) error {
	socket, ok := l.(syscall.Conn)
	if !ok {
		return fmt.Errorf("a listener of type %T has no descriptor", l)
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	// Not by File, whose descriptor would make the listener block.
	if cerr := raw.Control(func(fd uintptr) { err = send("FDSTORE=1\nFDNAME="+name, int(fd)) }); cerr != nil {
		return cerr
	}
	return err
}

// wait waits until systemd has processed what it was sent: only then an address of a removed listener is free.
func (m *Manager) wait() {
	if err := barrier(); err != nil {
		m.Log.Warn("systemd does not say that it has closed a socket; its address may still be in use", "event",
			"notify_failed", "error", err)
	}
}

// barrier is sd_notify_barrier(3).
func barrier() error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	err = send("BARRIER=1", int(w.Fd()))
	w.Close()
	if err != nil {
		return err
	}
	if err := r.SetReadDeadline(time.Now().Add(barrierLimit)); err != nil {
		return err
	}
	if _, err := r.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	return nil // systemd has closed its end
}

// send sends a state with a descriptor to systemd, which go-systemd cannot do (sd_pid_notify_with_fds(3)).
func send(state string, fd int) error {
	// Not connected to it: package net writes no descriptors to a connected datagram socket.
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram"})
	if err != nil {
		return err
	}
	defer conn.Close()
	to := &net.UnixAddr{Name: os.Getenv("NOTIFY_SOCKET"), Net: "unixgram"}
	_, _, err = conn.WriteMsgUnix([]byte(state), unix.UnixRights(fd), to)
	return err
}
