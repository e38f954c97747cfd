package main

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"
)

// TestListenUnderTheUnit: what the sandbox of the unit forbids is answered with the drop-in that is the cure.
func TestListenUnderTheUnit(t *testing.T) {
	unit := func(name string) string { return map[string]string{"INVOCATION_ID": "1"}[name] }
	none := func(string) string { return "" }
	for _, c := range []struct {
		why  string
		err  error
		env  func(string) string
		cure bool
	}{
		{"a UNIX socket in a directory of root", syscall.EACCES, unit, true},
		{"in a file system that is read-only for the unit", syscall.EROFS, unit, true},
		{"a port below 1024", syscall.EACCES, unit, true},
		{"not allowed", fs.ErrPermission, unit, true},
		{"without systemd", syscall.EACCES, none, false},
		{"a port in use", syscall.EADDRINUSE, unit, false},
	} {
		cause := fmt.Errorf("listen on unix:/run/x/y: %w", c.err)
		err := sandboxed(cause, c.env)
		if !errors.Is(err, c.err) || strings.Contains(err.Error(), "systemctl edit stsmapd.socket") != c.cure {
			t.Errorf("%s: %v", c.why, err)
		}
	}
	if err := sandboxed(nil, unit); err != nil {
		t.Errorf("no error: %v", err)
	}
}
