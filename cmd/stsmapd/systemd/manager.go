// Package systemd is the daemon's side of systemd: the sockets that systemd passes, the states that the daemon reports,
// and the watchdog.
package systemd

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	sd "github.com/coreos/go-systemd/v22/daemon"

	"github.com/stsmapd/stsmapd/socketmap"
)

// metricsSocket is the name (FileDescriptorName=) of the socket from systemd that replaces the setting `metrics`.
// Sockets with any other name are listeners for Postfix.
const metricsSocket = "metrics"

// Manager is the daemon's connection to systemd (sd_listen_fds(3), sd_notify(3)). A daemon that was not started by
// systemd has no sockets, and notifications do nothing.
type Manager struct {
	Log      *slog.Logger
	Postfix  []net.Listener // replace the setting `listen`; systemd keeps them open across restarts
	Metrics  net.Listener   // replaces the setting `metrics`; nil: none
	Watchdog time.Duration  // systemd kills the daemon after this time without a ping; 0: never

	notified bool                // systemd listens to notifications
	stored   map[string]*os.File // sockets of the file descriptor store, by the addresses that they were opened for
}

// New returns a Manager with the sockets and the watchdog interval of the environment, and removes them there. An error
// means that a systemd unit is wrong.
func New(log *slog.Logger) (*Manager, error) {
	m := &Manager{Log: log, notified: os.Getenv("NOTIFY_SOCKET") != "", stored: map[string]*os.File{}}
	for _, file := range activation.Files(true) {
		if m.addStored(file) {
			continue
		}
		if err := m.addListener(file); err != nil {
			m.Close()
			return nil, err
		}
	}
	var err error
	if m.Watchdog, err = sd.SdWatchdogEnabled(true); err != nil {
		m.Close()
		return nil, fmt.Errorf("WATCHDOG_USEC or WATCHDOG_PID in the environment: %w", err)
	}
	return m, nil
}

// addListener adds a socket from systemd.
func (m *Manager) addListener(file *os.File) error {
	defer file.Close() // the listener has its own descriptor
	l, err := net.FileListener(file)
	if err != nil {
		return fmt.Errorf("socket %q from systemd: only ListenStream= is supported: %w", file.Name(), err)
	}
	network := l.Addr().Network()
	switch {
	// net.FileListener accepts a datagram socket too
	case network != "tcp" && network != "unix":
		err = fmt.Errorf("socket %q from systemd: only ListenStream= is supported, this one is of type %s", file.Name(),
			network)
	case file.Name() != metricsSocket:
		m.Postfix = append(m.Postfix, l)
	case m.Metrics == nil:
		m.Metrics = l
	default:
		err = fmt.Errorf("more than one socket from systemd has the name %q", metricsSocket)
	}
	if err != nil {
		l.Close()
		return err
	}
	m.Log.Info("using a socket from systemd", "event", "activated", "name", file.Name(), "listen",
		socketmap.SpecOf(l.Addr()))
	return nil
}

// Close closes the sockets.
func (m *Manager) Close() {
	for _, l := range m.Postfix {
		l.Close()
	}
	if m.Metrics != nil {
		m.Metrics.Close()
	}
	for _, file := range m.stored {
		file.Close()
	}
}

// Ready tells systemd that the daemon is ready, after its start and after each reload.
func (m *Manager) Ready() { m.notify(sd.SdNotifyReady) }

// Reloading tells systemd that a reload begins. The time in the message assigns the next ready to this reload.
func (m *Manager) Reloading() { m.notify(sd.SdNotifyReloading, sd.SdNotifyMonotonicUsec()) }

// Stopping tells systemd that the daemon is shutting down.
func (m *Manager) Stopping() { m.notify(sd.SdNotifyStopping) }

// notify sends a state to systemd. It does nothing if NOTIFY_SOCKET is not set.
func (m *Manager) notify(state ...string) {
	if _, err := sd.SdNotify(false, strings.Join(state, "\n")); err != nil {
		m.Log.Warn("cannot notify systemd, which may restart the daemon; check NotifyAccess= of the unit",
			"event", "notify_failed", "state", state[0], "error", err)
	}
}

// watchdogPings is the number of probes in one watchdog interval: two may fail before systemd kills the daemon.
const watchdogPings = 3

// Watch calls probe periodically until ctx ends, and pings systemd's watchdog each time it succeeds. Without pings,
// systemd kills the daemon and starts it again.
func (m *Manager) Watch(ctx context.Context, probe func(context.Context) error) {
	if m.Watchdog <= 0 {
		return
	}
	tick := time.NewTicker(m.Watchdog / watchdogPings)
	defer tick.Stop()
	healthy := true
	for {
		err := probe(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			m.notify(sd.SdNotifyWatchdog)
		}
		if (err == nil) != healthy {
			healthy = err == nil
			m.logHealth(err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (m *Manager) logHealth(err error) {
	if err == nil {
		m.Log.Info("stsmapd answers its own health check again", "event", "self_check_recovered")
		return
	}
	m.Log.Error("stsmapd does not answer its own health check; if this continues, systemd restarts it; the log then "+
		"shows where it hangs: please report that", "event", "self_check_failed", "watchdog",
		m.Watchdog, "error", err)
}
