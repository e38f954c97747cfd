package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
)

const (
	systemRuntimeDir = "/run/stsmapd"
	controlName      = "control.sock"
)

// SystemControl is the control socket of the system's daemon.
const SystemControl = systemRuntimeDir + "/" + controlName

// runtimeDir returns the default directory of the control socket, and where that comes from: $RUNTIME_DIRECTORY
// (systemd), else systemRuntimeDir for root, else a directory in $XDG_RUNTIME_DIR, else, for a user without a session,
// the default directory of the store; or "" if there is none.
func runtimeDir(env func(string) string, uid int) (dir, from string) {
	switch {
	case env("RUNTIME_DIRECTORY") != "":
		first, _, _ := strings.Cut(env("RUNTIME_DIRECTORY"), ":")
		return first, "$RUNTIME_DIRECTORY"
	case uid == 0:
		return systemRuntimeDir, fromDefault
	case env("XDG_RUNTIME_DIR") != "":
		return filepath.Join(env("XDG_RUNTIME_DIR"), "stsmapd"), "$XDG_RUNTIME_DIR"
	}
	return userStateDir(env)
}

// userStateDir returns the default directory of the store of a user other than root, and where that comes from; or "".
func userStateDir(env func(string) string) (dir, from string) {
	switch {
	case env("XDG_STATE_HOME") != "":
		return filepath.Join(env("XDG_STATE_HOME"), "stsmapd"), "$XDG_STATE_HOME"
	case env("HOME") != "":
		return filepath.Join(env("HOME"), ".local/state/stsmapd"), "$HOME"
	}
	return "", ""
}

// ControlSocket returns the control socket that the daemon opens, as unix:/PATH; "" for none. The error says that no
// directory for it is known.
func (c *Config) ControlSocket(env func(string) string, uid int) (string, error) {
	if c.Control != nil {
		return *c.Control, nil
	}
	dir, _ := runtimeDir(env, uid)
	if dir == "" {
		return "", errors.New("no directory for it: none of RUNTIME_DIRECTORY, XDG_RUNTIME_DIR, XDG_STATE_HOME and " +
			"HOME is set")
	}
	return "unix:" + filepath.Join(dir, controlName), nil
}

// FindControl returns the path of the control socket of a daemon without a configuration: that of this user's own
// daemon if it exists, else that of the system's daemon.
func FindControl(env func(string) string, uid int) string {
	dir, _ := runtimeDir(env, uid)
	if dir == "" {
		return SystemControl
	}
	path := filepath.Join(dir, controlName)
	if _, err := os.Lstat(path); err != nil && env("RUNTIME_DIRECTORY") == "" {
		return SystemControl
	}
	return path
}

// SetStateDirectory chooses the directory of the store where none is configured: $STATE_DIRECTORY (systemd), else the
// default of the user. The error says that there is none.
func (c *Config) SetStateDirectory(env func(string) string, uid int) error {
	dir, from := "", fromDefault
	switch {
	case c.StateDir != "":
		return nil
	case env("STATE_DIRECTORY") != "":
		dir, _, _ = strings.Cut(env("STATE_DIRECTORY"), ":")
		from = "$STATE_DIRECTORY"
	case uid == 0:
		dir = "/var/lib/stsmapd"
	default:
		if dir, from = userStateDir(env); dir != "" {
			break
		}
		return errors.New("no state directory: set state_dir or --state-dir (HOME and STATE_DIRECTORY are not set)")
	}
	c.StateDir, c.from["state_dir"] = dir, from
	return nil
}

const fromDefault = "default"
