package main

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
)

// metricsSocket is the name (FileDescriptorName=) of a socket from systemd that takes the place of the setting
// `metrics`. Sockets of every other name are for Postfix's questions.
const metricsSocket = "metrics"

// manager is the service manager that has started the daemon, if it is one that speaks systemd's protocols
// (sd_listen_fds(3), sd_notify(3)); else there are no sockets, nobody is told and nothing is watched.
type manager struct {
	log      *slog.Logger
	postfix  []net.Listener // in place of those of the setting `listen`; they stay open in systemd when the daemon ends
	metrics  net.Listener   // nil: none
	watchdog time.Duration  // after so long without a sign of life systemd kills the daemon; 0: never
}

// newManager takes over what systemd hands to the daemon, once. An error means that a unit is wrong.
func newManager(log *slog.Logger) (*manager, error) {
	m := &manager{log: log}
	for _, file := range activation.Files(true) {
		if err := m.adopt(file); err != nil {
			m.close()
			return nil, err
		}
	}
	var err error
	if m.watchdog, err = sd.SdWatchdogEnabled(true); err != nil {
		m.close()
		return nil, fmt.Errorf("WATCHDOG_USEC or WATCHDOG_PID in the environment: %w", err)
	}
	return m, nil
}

// adopt makes a listener of a socket from systemd.
func (m *manager) adopt(file *os.File) error {
	defer file.Close() // the listener has a descriptor of its own
	l, err := net.FileListener(file)
	if err != nil {
		return fmt.Errorf("socket %q from systemd: only ListenStream= is of use: %w", file.Name(), err)
	}
	network := l.Addr().Network()
	switch {
	// a datagram socket passes for a listener until somebody accepts from it
	case network != "tcp" && network != "unix":
		err = fmt.Errorf("socket %q from systemd: only ListenStream= is of use, this one is of type %s", file.Name(),
			network)
	case file.Name() != metricsSocket:
		m.postfix = append(m.postfix, l)
	case m.metrics == nil:
		m.metrics = l
	default:
		err = fmt.Errorf("more than one socket from systemd has the name %q", metricsSocket)
	}
	if err != nil {
		l.Close()
		return err
	}
	m.log.Info("a socket from systemd is used", "event", "activated", "name", file.Name(), "listen", specOf(l.Addr()))
	return nil
}

func (m *manager) close() {
	closeAll(m.postfix)
	if m.metrics != nil {
		m.metrics.Close()
	}
}

// specOf writes a listener's address as Postfix and socketmap.Dial want it.
func specOf(a net.Addr) string {
	if a.Network() == "unix" {
		return "unix:" + a.String()
	}
	return "inet:" + a.String()
}

// ready tells systemd that questions are answered, and by which settings: at start and after a reload.
func (m *manager) ready() { m.notify(sd.SdNotifyReady) }

// reloading tells systemd that a reload begins, and when: so it knows which reload the next ready is about.
func (m *manager) reloading() { m.notify(sd.SdNotifyReloading, sd.SdNotifyMonotonicUsec()) }

// stopping tells systemd that the end has begun.
func (m *manager) stopping() { m.notify(sd.SdNotifyStopping) }

// notify does nothing where nobody wants to be told.
func (m *manager) notify(state ...string) {
	if _, err := sd.SdNotify(false, strings.Join(state, "\n")); err != nil {
		m.log.Warn("systemd cannot be told how the daemon does, and may take it for hung; check NotifyAccess= of the "+
			"unit",
			"event", "notify_failed", "state", state[0], "error", err)
	}
}

// feeds is how often the watchdog is fed in the time after which it bites: two probes may fail before it does.
const feeds = 3

// watch feeds systemd's watchdog until ctx ends: each time that probe, which asks a question as Postfix does, is
// answered. While none is, the watchdog goes hungry, and systemd starts the daemon again.
func (m *manager) watch(ctx context.Context, probe func(context.Context) error) {
	if m.watchdog <= 0 {
		return
	}
	tick := time.NewTicker(m.watchdog / feeds)
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

func (m *manager) logHealth(err error) {
	if err == nil {
		m.log.Info("stsmapd answers its own questions again", "event", "self_check_recovered")
		return
	}
	m.log.Error("stsmapd does not answer a question of its own; if this goes on, systemd kills it and starts it "+
		"again; its last words "+
		"will say where it hangs: please report them", "event", "self_check_failed", "watchdog", m.watchdog, "error",
		err)
}
