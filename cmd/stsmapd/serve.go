package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"github.com/stsmapd/stsmapd/cache"
	"github.com/stsmapd/stsmapd/cache/store"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/admin"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/config"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/history"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/logging"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/systemd"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/usage"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/clock"
	"github.com/stsmapd/stsmapd/resolver/dnsclient"
	"github.com/stsmapd/stsmapd/socketmap"
	"github.com/stsmapd/stsmapd/socketmap/tlspolicy"
)

// grace is how long questions in flight may take at shutdown. The whole shutdown takes less than 10 s.
const grace = 5 * time.Second

// logGrace is how long the last lines of the log may take. Nothing else at the end waits for the reader of the log.
const logGrace = time.Second

// serveFlags are the flags of serve. They take precedence over the configuration file.
type serveFlags struct {
	config   string
	listen   []string
	stateDir string
	logLevel string
}

func newServe() *cobra.Command {
	var f serveFlags
	cmd := usage.Command("serve", usage.None, func(cmd *cobra.Command, _ []string) error {
		d := &daemon{flags: f, history: history.New(), out: logging.New(cmd.ErrOrStderr(),
			logging.ToJournal(cmd.ErrOrStderr(), os.Getenv("JOURNAL_STREAM")))}
		d.log = slog.New(d.history.Handler(d.out.Logger().Handler()))
		err := d.run(cmd.Context())
		if err != nil {
			printError(d.out, cmd.ErrOrStderr(), err)
			err = &answerNo{}
		}
		d.out.Close(logGrace)
		return err
	})
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &answerNo{usage.FlagError(cmd, err)}
	})
	f.add(cmd)
	return cmd
}

// add adds the flags to a command.
func (f *serveFlags) add(cmd *cobra.Command) {
	addConfig(cmd.Flags(), &f.config)
	cmd.Flags().StringSliceVar(&f.listen, "listen", nil,
		"`ADDRESS` for Postfix: inet:HOST:PORT or unix:/PATH; may be repeated (default inet:127.0.0.1:8461)")
	cmd.Flags().StringVar(&f.stateDir, "state-dir", "", "`DIRECTORY` of the policy store")
	cmd.Flags().StringVar(&f.logLevel, "log-level", "",
		"least `LEVEL` that is logged: debug, info, warn or error (default info)")
	usage.Values(cmd, "log-level", func() []string { return []string{"debug", "info", "warn", "error"} })
	usage.Dynamic(cmd, "state-dir", func(string) ([]string, cobra.ShellCompDirective) {
		return nil, cobra.ShellCompDirectiveFilterDirs
	})
}

// daemon is the state of the command serve.
type daemon struct {
	flags serveFlags
	out   *logging.Output
	log   *slog.Logger // remembers events in history

	history *history.Recorder

	manager *systemd.Manager
	reloads reloadRecord

	reports *reports // nil if no collector is configured
	network network
	dns     atomic.Pointer[dnsclient.Client] // that is in force
}

// load reads the configuration and applies the flags.
func (f *serveFlags) load() (config.Config, error) {
	c, err := config.Load(f.config)
	if err != nil {
		return c, err
	}
	if f.listen != nil {
		err = errors.Join(err, c.Set("listen", "--listen", f.listen))
	}
	if f.stateDir != "" {
		err = errors.Join(err, c.Set("state_dir", "--state-dir", f.stateDir))
	}
	if f.logLevel != "" {
		err = errors.Join(err, c.Set("log_level", "--log-level", f.logLevel))
	}
	return c, errors.Join(err, c.SetStateDirectory(os.Getenv, os.Getuid()))
}

func (d *daemon) run(ctx context.Context) error {
	defer runtime.KeepAlive(tuneGC())
	signal.Ignore(syscall.SIGPIPE) // the reader of the log may go; the daemon stays
	go d.endOnAbort()
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)
	c, err := d.flags.load()
	if err != nil {
		return err
	}
	d.out.Set(c.LogLevel, c.LogFormat)
	if d.manager, err = systemd.New(d.log); err != nil {
		return err
	}
	defer d.manager.Close()
	settings, err := d.settings(c)
	if err != nil {
		return err
	}
	d.reloads.record(nil)
	defer d.reporter("") // closes it
	store, err := store.Open(filepath.Join(c.StateDir, "policies.db"), d.log)
	if err != nil {
		return err
	}
	defer d.closeStore(store)
	if err := d.history.Open(filepath.Join(c.StateDir, "history.json"), time.Now()); err != nil {
		d.log.Warn("cannot read the history of the status page; it begins again; mail is not affected", "event",
			"history_failed", "error", err)
	}
	fleet, err := d.openShared(c)
	if err != nil {
		return err
	}
	defer fleet.close()
	registry := prometheus.NewRegistry()
	memory := cache.NewMemory(cache.MemoryOptions{MaxNegative: c.Cache.MaxNegative, MaxBytes: c.Cache.Memory,
		Logger: d.log, Registerer: registry})
	service := resolver.NewService(resolver.Options{
		DANEMemory: cache.NewDANEFindings(), Now: resolver.WallClock, Boot: clock.Boot,
		Settings: settings, Store: store, Renewed: store.Renewed(), Memory: memory, Fleet: fleet.fleet(), Logger: d.log,
		Registerer: registry,
	})
	defer service.Close()
	handler := tlspolicy.NewHandler(service, d.log)
	handler.SetMapNames(c.Maps.Names())
	server := &socketmap.Server{Handler: handler, Logger: d.log, MaxConns: currentFileBudget(c).connections}
	return d.serve(ctx, c, components{store, memory, fleet, service, handler, server, registry}, signals)
}

// serve answers questions and handles signals until SIGTERM, SIGINT or the failure of a listener.
func (d *daemon) serve(ctx context.Context, c config.Config, s components, signals <-chan os.Signal) error {
	service, server := s.service, s.server
	listeners, err := d.listen(&c)
	if err != nil {
		return err
	}
	monitor := d.monitor(c, s)
	defer monitor.Close()
	private := socketmap.NewPrivateListener()
	probe := admin.NewProber(private.Dial)
	closeControl, err := d.openControl(c, monitor, probe)
	if err != nil {
		closeAll(listeners)
		return err
	}
	defer closeControl()
	web, closeWeb, err := d.openMetrics(c, monitor, probe)
	if err != nil {
		closeAll(listeners)
		return err
	}
	defer closeWeb()
	ctx, cancel := context.WithCancel(ctx)
	var background sync.WaitGroup
	background.Go(func() { service.Run(ctx) })
	background.Go(func() { monitor.Run(ctx) })
	background.Go(func() { d.watchDANE(ctx, c.Maps.Names(), s.handler.Counts) })
	defer func() { cancel(); service.Close(); background.Wait() }()
	failed := make(chan error, len(listeners)+1)
	for _, l := range append(listeners, private) {
		go func() { failed <- server.Serve(l) }()
	}
	web.Ready(true)
	background.Go(func() { d.manager.Watch(ctx, probe.Probe) })
	d.manager.Ready()
	d.log.Info("stsmapd is ready", "event", "ready", "version", version(), "listen", c.Listen, "state_dir", c.StateDir)
	for {
		select {
		case sig := <-signals:
			if sig == syscall.SIGHUP {
				d.manager.Reloading()
				d.reload(s)
				d.manager.Ready()
				continue
			}
			d.log.Info("shutting down", "event", "shutdown", "signal", sig.String())
		case <-ctx.Done():
		case err = <-failed:
		}
		web.Ready(false)
		d.manager.Stopping()
		end, stop := context.WithTimeout(context.Background(), grace)
		defer stop()
		if serr := server.Shutdown(end); serr != nil && !errors.Is(serr, context.DeadlineExceeded) {
			err = errors.Join(err, serr)
		}
		return err
	}
}

// endOnAbort ends the process when it gets SIGABRT, by which systemd's watchdog ends a daemon that hangs. Without it,
// Go would write the stack of each goroutine: 43 MB with 20,000 connections.
func (d *daemon) endOnAbort() {
	abort := make(chan os.Signal, 1)
	signal.Notify(abort, syscall.SIGABRT)
	<-abort
	log := d.out.Logger() // not d.log: what else handles its lines may be what hangs
	log.Error("ended by SIGABRT, which systemd sends to a daemon that does not answer its own health check; mail "+
		"waits until the restart; the next lines show where it was: please report them", "event", "aborted")
	logging.LogGoroutines(log)
	d.out.Close(logGrace)
	os.Exit(exitError)
}

// listen returns the listeners for Postfix: those of socket units, with c.Listen set to their addresses, else those of
// the configuration.
func (d *daemon) listen(c *config.Config) ([]net.Listener, error) {
	open, err := d.manager.Listen(c.Listen, socketmap.ListenOptions{Mode: c.SocketMode, Group: c.SocketGroup})
	if err != nil || len(d.manager.Postfix) == 0 {
		return open, sandboxed(err, os.Getenv)
	}
	c.Listen = nil
	for _, l := range open {
		c.Listen = append(c.Listen, socketmap.SpecOf(l.Addr()))
	}
	return open, nil
}

// sandboxed adds the cure to the error of a listener that the sandbox of the systemd unit does not allow: a UNIX socket
// outside of its own directories, or a port below 1024.
func sandboxed(err error, env func(string) string) error {
	forbidden := errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS)
	if !forbidden || env("INVOCATION_ID") == "" {
		return err
	}
	return fmt.Errorf("%w: the systemd unit allows stsmapd no such listener; let systemd listen there: "+
		"`systemctl edit stsmapd.socket` with the lines [Socket] and ListenStream=ADDRESS, then "+
		"`systemctl enable --now stsmapd.socket`, which takes the place of listen", err)
}

func closeAll(listeners []net.Listener) {
	for _, l := range listeners {
		l.Close()
	}
}

// reload applies the configuration file and the CA roots. If one of them is wrong, it logs an error and keeps the old
// settings.
func (d *daemon) reload(s components) {
	c, err := d.flags.load()
	var settings resolver.Settings
	if err == nil {
		settings, err = d.settings(c)
	}
	d.reloads.record(err)
	if err != nil {
		d.log.Error("configuration not reloaded: the old settings stay in force", "event", "reload_failed", "error",
			err)
		return
	}
	d.out.Set(c.LogLevel, c.LogFormat)
	s.service.Reconfigure(settings)
	s.handler.SetMapNames(c.Maps.Names())
	s.memory.SetMaxNegative(time.Now(), c.Cache.MaxNegative)
	s.memory.SetMaxBytes(c.Cache.Memory)
	d.log.Info("configuration and CA roots reloaded; listeners, store and [shared] stay as they were", "event",
		"reloaded")
}

func (d *daemon) closeStore(store *store.Store) {
	if err := store.Close(); err != nil {
		d.log.Error("cannot close the policy store", "event", "store_close_failed", "error", err)
	}
}
