package world

import (
	"os/exec"
	"testing"

	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// Program returns the path of a program of the machine's. Where it is not installed the test is skipped and `make test`
// is told; with CI=true, and for root on Debian, where `make deps` installs it, the test fails.
func Program(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		testkit.Missing(t, "no "+name)
	}
	return path
}
