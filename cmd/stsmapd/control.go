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
	controlGrace     = time.Second // for the last words to commands that are under way
)

// runtimeDir is where the control socket is unless the configuration says otherwise: in $RUNTIME_DIRECTORY (systemd),
// else in the system's place for root, else in the user's; "" where there is none.
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

// openedControl is the daemon's control socket; nil: it has none.
type openedControl struct {
	server *admin.ControlServer
	served chan struct{}
}

// openControl opens the control socket. One that the configuration asks for must be had; without the one that is there
// by default the daemon does its work all the same.
func (d *daemon) openControl(c config, service *resolver.Service) (*openedControl, error) {
	if c.Control != nil && *c.Control == "" {
		return nil, nil
	}
	l, spec, err := listenControl(c)
	switch {
	case err != nil && (c.Control != nil || c.ControlGroup != ""):
		return nil, fmt.Errorf("control socket: %w", err)
	case err != nil:
		d.log.Warn("no control socket: the commands cache, warm and status cannot ask this daemon; set control in "+
			"the configuration",
			"event", "no_control", "error", err)
		return nil, nil
	}
	info := admin.Info{Version: version(), PID: os.Getpid(), Started: time.Now().UTC().Truncate(time.Second),
		Config: c.file,
		Listen: c.Listen, StateDir: c.StateDir}
	o := &openedControl{server: admin.NewControl(service, info, d.log), served: make(chan struct{})}
	go func() {
		defer close(o.served)
		if err := o.server.Serve(l); err != nil {
			d.log.Error("the control socket has failed: the commands cache, warm and status cannot ask this daemon "+
				"until it is "+
				"started again; mail is not concerned", "event", "control_failed", "control", spec, "error", err)
		}
	}()
	return o, nil
}

// listenControl listens on the control socket, and makes its directory if only that is missing.
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

func (o *openedControl) close() {
	if o == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), controlGrace)
	defer cancel()
	o.server.Shutdown(ctx)
	<-o.served
}

// controlFlags are those of the commands that ask a running daemon.
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

// client makes a client for the daemon that the flags mean; all errors are for the user, with exit code 2.
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
		return "", err // but a member of the socket's group need not be able to read the configuration
	}
	switch {
	case c.Control == nil:
		return "unix:" + findControl(os.Getenv, os.Getuid()), nil
	case *c.Control == "":
		return "", c.blame(errors.New("the daemon has no control socket (control is empty)"))
	}
	return *c.Control, nil
}

// findControl is where a daemon without a configuration has its control socket: one of this user's own, else the
// system's.
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
