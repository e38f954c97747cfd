package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
)

// The environment of the process in the namespaces.
const (
	envDir    = "STSMAPD_BENCH_DIR" // the directory for all files that are written
	envBinary = "STSMAPD_BINARY"    // the stsmapd to measure
)

const namespaces = syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID

// endLimit is how long the process in the namespaces may take to end after a signal.
const endLimit = 10 * time.Second

// outside makes a directory, builds stsmapd, and starts this program again in namespaces of its own.
func outside(ctx context.Context, args []string) error {
	o, err := parseOptions(args)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "stsmapd-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	binary, err := build(ctx, o.binary, dir)
	if err != nil {
		return err
	}
	runtime.LockOSThread() // Pdeathsig is the death of the thread that started the child
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), envProgram+"=inside", envDir+"="+dir, envBinary+"="+binary)
	cmd.SysProcAttr = isolated()
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = endLimit
	err = cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return errors.New("not all was measured, see above")
	}
	return err
}

// isolated starts a process in new namespaces and a new session (see raisePriority); without root in a user namespace
// too.
func isolated() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Cloneflags: namespaces, Setsid: true, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
	}
	return attr
}

// build returns the absolute path of the given binary, or builds one in dir as `make build` does.
func build(ctx context.Context, given, dir string) (string, error) {
	if given != "" {
		return filepath.Abs(given)
	}
	binary := filepath.Join(dir, "stsmapd")
	const program = "github.com/stsmapd/stsmapd/cmd/stsmapd"
	cmd := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-trimpath", "-o", binary, program)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build of cmd/stsmapd: %w\n%s", err, out)
	}
	return binary, nil
}

// enter sets up the new namespaces: mounts are not seen outside, /proc shows the processes in here, and the loopback
// interface is up.
func enter() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making all mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	return world.LoopbackUp()
}

// raisePriority makes the kernel prefer the session of this process. The kernel divides the processors among sessions
// first (sched(7), autogroup), so nice(2) would have no effect.
func raisePriority() error {
	return os.WriteFile("/proc/self/autogroup", []byte("-20"), 0)
}
