// Package leftout tells `make test` what could not be tested on this machine, so that its last lines say so: a test that is
// skipped in silence looks like one that has passed.
package leftout

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// env names the file whose lines `make test` prints at its end; with CI=true a line in it is a failure.
const env = "STSMAPD_TEST_LEFT_OUT"

// Note tells what is not tested, and why.
func Note(what string) {
	fmt.Fprintln(os.Stderr, "left out:", what)
	name := os.Getenv(env)
	if name == "" {
		return
	}
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err == nil {
		_, err = fmt.Fprintln(f, what)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "noting what was left out:", err)
	}
}

// Skip skips a test for something that this machine does not have or allow, and notes it. With CI=true the test fails.
func Skip(t testing.TB, why string) {
	t.Helper()
	what := t.Name() + ": " + why
	if os.Getenv("CI") == "true" {
		t.Fatal(what)
	}
	Note(what)
	t.Skip(what)
}

// Missing is Skip for what `make deps` installs as root on Debian: there the test fails.
func Missing(t testing.TB, what string) {
	t.Helper()
	why := what + ", which `make deps` makes or installs as root on Debian"
	if Installable() {
		t.Fatalf("%s: %s", t.Name(), why)
	}
	Skip(t, why)
}

// Installable reports whether `make deps` could install things here: it needs root's rights and Debian's packages.
func Installable() bool {
	text, err := os.ReadFile("/etc/os-release")
	return err == nil && os.Geteuid() == 0 && slices.Contains(strings.Fields(string(text)), "ID=debian")
}
