package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/admin"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/socketmap"
)

const (
	systemRuntimeDir = "/run/stsmapd"
	controlName      = "control.sock"
	controlMode      = 0o660
	controlGrace     = time.Second // for replies to commands in progress at shutdown
)

// runtimeDir returns the default directory of the control socket: $RUNTIME_DIRECTORY (systemd), else systemRuntimeDir
// for root, else a directory in $XDG_RUNTIME_DIR, or "" if that is not set.
func runtimeDir(env func(string) string, uid int) string {
	switch {
	case env("RUNTIME_DIRECTORY") != "":
		first, _, _ := strings.Cut(env("RUNTIME_DIRECTORY"), ":")
		return first
	case uid == 0:
		return systemRuntimeDir
	case env("XDG_RUNTIME_DIR") != "":
		return filepath.Join(env("XDG_RUNTIME_DIR"), "stsmapd")
	}
	return ""
}

// controlListener is the daemon's control socket. Its methods accept nil, a daemon without one.
type controlListener struct {
	server *admin.ControlServer
	done   chan struct{}
}

// openControl opens the control socket. A configured socket that cannot be opened is an error; without the default
// socket the daemon only logs a warning.
func (d *daemon) openControl(c config, service *resolver.Service) (*controlListener, error) {
	if c.Control != nil && *c.Control == "" {
		return nil, nil
	}
	l, spec, err := listenControl(c)
	switch {
	case err != nil && (c.Control != nil || c.ControlGroup != ""):
		return nil, fmt.Errorf("control socket: %w", err)
	case err != nil:
		d.log.Warn("no control socket: the commands cache, warm and status cannot query this daemon; mail is not "+
			"affected; set control in the configuration",
			"event", "no_control", "error", err)
		return nil, nil
	}
	info := admin.Info{Version: version(), PID: os.Getpid(), Started: time.Now().UTC().Truncate(time.Second),
		Config: c.file,
		Listen: c.Listen, StateDir: c.StateDir}
	o := &controlListener{server: admin.NewControl(service, info, d.log), done: make(chan struct{})}
	go func() {
		defer close(o.done)
		if err := o.server.Serve(l); err != nil {
			d.log.Error("the control socket failed: the commands cache, warm and status cannot query this daemon "+
				"until it is restarted; mail is not affected", "event", "control_failed", "control", spec, "error", err)
		}
	}()
	return o, nil
}

// listenControl listens on the control socket. It creates the last directory of the path if that is missing.
func listenControl(c config) (l net.Listener, spec string, err error) {
	if c.Control != nil {
		spec = *c.Control
	} else {
		dir := runtimeDir(os.Getenv, os.Getuid())
		if dir == "" {
			return nil, "", errors.New("no runtime directory: neither RUNTIME_DIRECTORY nor XDG_RUNTIME_DIR is set")
		}
		spec = "unix:" + filepath.Join(dir, controlName)
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

func (o *controlListener) close() {
	if o == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), controlGrace)
	defer cancel()
	o.server.Shutdown(ctx)
	<-o.done
}

// controlFlags are the flags of the commands that query a running daemon.
type controlFlags struct {
	config  string
	control string
}

func (f *controlFlags) add(cmd *cobra.Command) {
	cmd.PersistentFlags().StringVar(&f.control, "control", "",
		"the daemon's control socket, unix:/PATH (default: that of the configuration)")
	cmd.PersistentFlags().StringVar(&f.config, "config", "",
		"configuration file (default "+defaultConfig+", where it exists)")
}

// client returns a client for the daemon that the flags select. Its errors are of type *exitCode, with code exitError.
func (f *controlFlags) client() (*admin.Client, error) {
	spec, err := f.spec()
	if err != nil {
		return nil, &exitCode{exitError, err}
	}
	client, err := admin.NewClient(spec)
	if err != nil {
		return nil, &exitCode{exitError, fmt.Errorf("control socket: %w", err)}
	}
	return client, nil
}

func (f *controlFlags) spec() (string, error) {
	if f.control != "" {
		return f.control, nil
	}
	c, err := loadConfig(f.config)
	if err != nil && (f.config != "" || !errors.Is(err, fs.ErrPermission)) {
		return "", err // a member of the socket's group may be unable to read the configuration
	}
	switch {
	case c.Control == nil:
		return "unix:" + findControl(os.Getenv, os.Getuid()), nil
	case *c.Control == "":
		return "", c.inFile(errors.New("the daemon has no control socket (control is empty)"))
	}
	return *c.Control, nil
}

// findControl returns the path of the control socket of a daemon without a configuration: that of this user's own
// daemon if it exists, else that of the system's daemon.
func findControl(env func(string) string, uid int) string {
	system := filepath.Join(systemRuntimeDir, controlName)
	dir := runtimeDir(env, uid)
	if dir == "" {
		return system
	}
	path := filepath.Join(dir, controlName)
	if _, err := os.Lstat(path); err != nil && env("RUNTIME_DIRECTORY") == "" {
		return system
	}
	return path
}
