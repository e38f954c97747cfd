package world

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// Log is the file to which a process writes. After the answer to a question it has all that the process wrote before.
type Log struct {
	file *os.File
}

func newLog(t testing.TB) *Log {
	t.Helper()
	file, err := os.CreateTemp(t.TempDir(), "log")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	return &Log{file: file}
}

// String returns everything written so far.
func (l *Log) String() string {
	text, err := os.ReadFile(l.file.Name())
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Lines returns the lines that contain all of these texts, without white space around them.
func (l *Log) Lines(texts ...string) []string { return linesWith(l.String(), texts) }

func linesWith(log string, texts []string) []string {
	var lines []string
line:
	for line := range strings.Lines(log) {
		for _, text := range texts {
			if !strings.Contains(line, text) {
				continue line
			}
		}
		lines = append(lines, strings.TrimSpace(line))
	}
	return lines
}

// Result is the output and the exit code of a command.
type Result struct {
	Stdout, Stderr string
	Code           int
}

// runCommand runs a command to its end. It fails the test if the command cannot be started or hangs.
func runCommand(t testing.TB, cmd *exec.Cmd) Result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatalf("%s: %v", strings.Join(cmd.Args, " "), err)
	}
	var late atomic.Bool
	limit := time.AfterFunc(Hang, func() {
		late.Store(true)
		_ = cmd.Process.Kill() // it may just have ended
	})
	defer limit.Stop()
	err := cmd.Wait()
	if late.Load() {
		t.Fatalf("%s: did not end within %v\n%s%s", strings.Join(cmd.Args, " "), Hang, &stdout, &stderr)
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", strings.Join(cmd.Args, " "), err)
	}
	return Result{Stdout: stdout.String(), Stderr: stderr.String(), Code: cmd.ProcessState.ExitCode()}
}

// Program returns the path of a program of the machine. If it is not installed, the test is skipped as by
// [testkit.Missing].
func Program(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		testkit.Missing(t, "no "+name)
	}
	return path
}

// WriteProgram writes a program that a test runs afterwards. It prevents forks meanwhile: a process that another test
// forks would have the file open for writing until it calls exec, and Linux does not run such a file (ETXTBSY).
func WriteProgram(t testing.TB, name string, code []byte) {
	t.Helper()
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(name, code, 0o755); err != nil {
		t.Fatal(err)
	}
}
