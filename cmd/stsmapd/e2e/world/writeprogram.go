package world

import (
	"os"
	"syscall"
	"testing"
)

// WriteProgram writes a file that a test runs afterwards. A process that another test forks in the meantime would
// inherit the file open for writing, until it execs, and Linux runs no file that somebody may write (ETXTBSY): so
// nobody forks now.
func WriteProgram(t testing.TB, name string, code []byte) {
	t.Helper()
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(name, code, 0o755); err != nil {
		t.Fatal(err)
	}
}
