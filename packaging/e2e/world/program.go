package world

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// Program returns the path of a program of the machine's. Where it is not installed the test is skipped and `make test` is
// told; with CI=true, and for root on Debian, where `make deps` installs it, the test fails.
func Program(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		missing := fmt.Sprintf("%s (packaging/e2e): %s is not installed, which `make deps` does as root on Debian", t.Name(), name)
		if os.Getenv("CI") == "true" || onDebian() {
			t.Fatal(missing)
		}
		leaveOut(missing)
		t.Skip(missing)
	}
	return path
}
