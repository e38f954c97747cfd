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

// metricsSocket is the name (FileDescriptorName=) of the socket from systemd that replaces the setting `metrics`.
// Sockets with any other name are listeners for Postfix.
const metricsSocket = "metrics"

// serviceManager is systemd as the daemon sees it (sd_listen_fds(3), sd_notify(3)). A daemon that was not started by
// systemd has no sockets, and notifications do nothing.
type serviceManager struct {
	log      *slog.Logger
	postfix  []net.Listener // replace the setting `listen`; systemd keeps them open across restarts
	metrics  net.Listener   // nil: none
	watchdog time.Duration  // systemd kills the daemon after this time without a ping; 0: never
}

// newManager takes the sockets and the watchdog interval from the environment, and removes them there. An error means
// that a systemd unit is wrong.
func newManager(log *slog.Logger) (*serviceManager, error) {
	m := &serviceManager{log: log}
	for _, file := range activation.Files(true) {
		if err := m.addListener(file); err != nil {
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

// addListener adds a socket from systemd.
func (m *serviceManager) addListener(file *os.File) error {
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
	m.log.Info("using a socket from systemd", "event", "activated", "name", file.Name(), "listen", specOf(l.Addr()))
	return nil
}

func (m *serviceManager) close() {
	closeAll(m.postfix)
	if m.metrics != nil {
		m.metrics.Close()
	}
}

// specOf returns a listener's address in the form of the setting `listen`, which Postfix and socketmap.Dial use too.
func specOf(a net.Addr) string {
	if a.Network() == "unix" {
		return "unix:" + a.String()
	}
	return "inet:" + a.String()
}

// ready tells systemd that the daemon is ready, after its start and after each reload.
func (m *serviceManager) ready() { m.notify(sd.SdNotifyReady) }

// reloading tells systemd that a reload begins. The time in the message assigns the next ready to this reload.
func (m *serviceManager) reloading() { m.notify(sd.SdNotifyReloading, sd.SdNotifyMonotonicUsec()) }

// stopping tells systemd that the daemon is shutting down.
func (m *serviceManager) stopping() { m.notify(sd.SdNotifyStopping) }

// notify sends a state to systemd. It does nothing if NOTIFY_SOCKET is not set.
func (m *serviceManager) notify(state ...string) {
	if _, err := sd.SdNotify(false, strings.Join(state, "\n")); err != nil {
		m.log.Warn("cannot notify systemd, which may restart the daemon; check NotifyAccess= of the unit",
			"event", "notify_failed", "state", state[0], "error", err)
	}
}

// watchdogPings is the number of probes in one watchdog interval: two may fail before systemd kills the daemon.
const watchdogPings = 3

// watch calls probe periodically until ctx ends, and pings systemd's watchdog each time it succeeds. Without pings,
// systemd kills the daemon and starts it again.
func (m *serviceManager) watch(ctx context.Context, probe func(context.Context) error) {
	if m.watchdog <= 0 {
		return
	}
	tick := time.NewTicker(m.watchdog / watchdogPings)
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

func (m *serviceManager) logHealth(err error) {
	if err == nil {
		m.log.Info("stsmapd answers its own health check again", "event", "self_check_recovered")
		return
	}
	m.log.Error("stsmapd does not answer its own health check; if this continues, systemd restarts it; the stack "+
		"trace in the log then shows where it hangs: please report it", "event", "self_check_failed", "watchdog",
		m.watchdog, "error",
		err)
}
