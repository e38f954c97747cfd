package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/admin"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/config"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/hostlog"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/usage"
	"github.com/stsmapd/stsmapd/socketmap"
)

const controlMode = 0o660

// adminServer serves administrators.
type adminServer interface {
	Serve(net.Listener) error
	Shutdown(context.Context)
}

// adminGrace is how long pages, scrapes and replies to commands in progress may take at shutdown.
const adminGrace = time.Second

// startServing serves a listener until stop is called. It calls failed if that ends too early.
func startServing(s adminServer, l net.Listener, failed func(error)) (stop func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.Serve(l); err != nil {
			failed(err)
		}
	}()
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), adminGrace)
		defer cancel()
		s.Shutdown(ctx)
		<-done
	}
}

// openControl opens the control socket, if there is to be one. A configured socket that cannot be opened is an error;
// without the default socket the daemon only logs a warning.
func (d *daemon) openControl(c config.Config, monitor *admin.Monitor, probe *admin.Prober) (stop func(), err error) {
	if c.Control != nil && *c.Control == "" {
		return func() {}, nil
	}
	l, spec, err := listenControl(c)
	switch {
	case err != nil && (c.Control != nil || c.ControlGroup != ""):
		return nil, fmt.Errorf("control socket: %w", err)
	case err != nil:
		d.log.Warn("no control socket: the commands cache, warm and status cannot query this daemon; mail is not "+
			"affected; set control in the configuration",
			"event", "no_control", "error", err)
		return func() {}, nil
	}
	return startServing(admin.NewControl(monitor, probe), l, func(err error) {
		d.log.Error("the control socket failed: the commands cache, warm and status cannot query this daemon until it "+
			"is restarted; mail is not affected", "event", "control_failed", "control", spec, "error", err)
	}), nil
}

// listenControl listens on the control socket. It creates the last directory of the path if that is missing.
func listenControl(c config.Config) (l net.Listener, spec string, err error) {
	if spec, err = c.ControlSocket(os.Getenv, os.Getuid()); err != nil {
		return nil, "", err
	}
	_, path, err := socketmap.ParseSpec(spec)
	if err != nil {
		return nil, spec, err
	}
	if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, spec, err
	}
	l, err = socketmap.Listen(spec, socketmap.ListenOptions{Mode: controlMode, Group: c.ControlGroup})
	return l, spec, err
}

// controlFlags are the flags of the commands that query a running daemon.
type controlFlags struct {
	config  string
	control string
}

// addConfig adds the flag --config.
func addConfig(flags *pflag.FlagSet, file *string) {
	flags.StringVar(file, "config", "",
		"stsmapd's configuration `FILE` (default "+config.DefaultFile+", where it exists)")
	flags.Lookup("config").Annotations = map[string][]string{cobra.BashCompFilenameExt: {"toml"}}
}

func (f *controlFlags) add(cmd *cobra.Command) {
	cmd.PersistentFlags().StringVar(&f.control, "control", "",
		"the daemon's control `SOCKET`, unix:/PATH (default: that of the configuration)")
	addConfig(cmd.PersistentFlags(), &f.config)
}

// logFlags are the flags of the commands that read mail logs and ask the daemon.
type logFlags struct {
	control controlFlags
	logs    hostlog.Flags
	out     output
}

// command returns the command with the help of name, which reads the log of the last time back where --since does not
// say otherwise. what is what it prints as JSON.
func (f *logFlags) command(name string, back time.Duration, what string,
	run func(*cobra.Command, []string) error) *cobra.Command {
	cmd := usage.Command(name, nil, run)
	cmd.ValidArgsFunction = usage.Files
	f.control.add(cmd)
	f.logs.Add(cmd, back)
	f.out.add(cmd, what)
	return cmd
}

// ask returns what a command without arguments runs that asks the daemon: do gets a client, which is then closed.
func (f *controlFlags) ask(do func(*cobra.Command, *admin.Client) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, _ []string) error {
		client, err := f.client()
		if err != nil {
			return err
		}
		defer client.Close()
		return do(cmd, client)
	}
}

// client returns a client for the daemon that the flags select.
func (f *controlFlags) client() (*admin.Client, error) {
	spec, err := f.spec()
	if err != nil {
		return nil, err
	}
	client, err := admin.NewClient(spec)
	if err != nil {
		return nil, // the configuration's was checked when it was read
			fmt.Errorf("--control is %.80q, must be unix:/PATH, such as unix:%s", spec, config.SystemControl)
	}
	return client, nil
}

// listeners returns where the daemon answers Postfix: by the configuration or, where that is wrong, by the word of the
// daemon, which may run with the old one.
func (f *controlFlags) listeners(ctx context.Context) ([]string, error) {
	c, err := config.Load(f.config)
	var wrong *config.Error
	if err == nil || !errors.As(err, &wrong) {
		return c.Listen, err
	}
	client, cerr := f.client()
	if cerr != nil {
		return nil, err
	}
	defer client.Close()
	s, serr := client.Status(ctx)
	if serr != nil || len(s.Listen) == 0 {
		return nil, err
	}
	return s.Listen, nil
}

// spec returns the control socket of the flags, of the configuration, or else the one that serves by default. A wrong
// configuration is no error where that is known: the daemon may run with the old one. Nor is one that a member of the
// socket's group may not read.
func (f *controlFlags) spec() (string, error) {
	if f.control != "" {
		return f.control, nil
	}
	standard := config.FindControl(os.Getenv, os.Getuid())
	c, err := config.Load(f.config)
	var wrong *config.Error
	switch _, missing := os.Stat(standard); {
	case err == nil:
	case errors.As(err, &wrong) && (c.Control != nil || missing == nil):
	case f.config == "" && errors.Is(err, fs.ErrPermission):
	default:
		return "", err
	}
	switch {
	case c.Control == nil:
		return "unix:" + standard, nil
	case *c.Control == "":
		return "", c.At("control", `control is "": the daemon has no socket for this command`)
	}
	return *c.Control, nil
}
