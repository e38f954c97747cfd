package testkit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	// fileEnv is the variable with the name of the file that the run prints at its end. With CI=true a line that starts
	// with notTested is a failure.
	fileEnv = "STSMAPD_TEST_LEFT_OUT"
	// allEnv is the variable that is 1 in `make test-all`.
	allEnv = "STSMAPD_TEST_ALL"
)

// The two kinds of lines, as packaging/tools/test.sh reads them.
const (
	notTested = "NOT TESTED: "
	onlyInAll = "ONLY IN make test-all: "
)

// All reports whether this run is `make test-all`, which covers everything. A test that leaves something out otherwise
// records it with AllOnly, Sample or Shorter.
func All() bool { return os.Getenv(allEnv) == "1" }

// AllOnly skips and records a test that only `make test-all` runs. That is not a failure, even with CI=true.
func AllOnly(t testing.TB, what string) {
	t.Helper()
	if All() {
		return
	}
	appendLine(onlyInAll + t.Name() + ": " + what)
	t.Skip("only in make test-all: " + what)
}

// Sample returns how much of a large test is run: all in `make test-all`, otherwise part, which it records.
func Sample(t testing.TB, what string, all, part int) int {
	t.Helper()
	if All() || part >= all {
		return all
	}
	Shorter(t, fmt.Sprintf("%d %s, here %d", all, what, part))
	return part
}

// Shorter records what only `make test-all` runs, for a test that runs a part of it.
func Shorter(t testing.TB, what string) { appendLine(onlyInAll + t.Name() + ": " + what) }

// Note records what is not tested, and why. With CI=true the run fails.
func Note(what string) {
	fmt.Fprintln(os.Stderr, "left out:", what)
	appendLine(notTested + what)
}

// note appends a line to the run's file, if there is one.
func appendLine(line string) {
	name := os.Getenv(fileEnv)
	if name == "" {
		return
	}
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err == nil {
		_, err = fmt.Fprintln(f, line)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cannot record what was left out:", err)
	}
}

// Skip skips and records a test that needs something which this machine does not have or allow. With CI=true the test
// fails.
func Skip(t testing.TB, why string) {
	t.Helper()
	what := t.Name() + ": " + why
	if os.Getenv("CI") == "true" {
		t.Fatal(what)
	}
	Note(what)
	t.Skip(what)
}

// Missing is Skip for something that `make deps` installs. If Installable, the test fails.
func Missing(t testing.TB, what string) {
	t.Helper()
	why := what + ", which `make deps` makes or installs as root on Debian"
	if Installable() {
		t.Fatalf("%s: %s", t.Name(), why)
	}
	Skip(t, why)
}

// Installable reports whether `make deps` can install packages here, which it can as root on Debian.
func Installable() bool {
	text, err := os.ReadFile("/etc/os-release")
	return err == nil && os.Geteuid() == 0 && slices.Contains(strings.Fields(string(text)), "ID=debian")
}

// Cache returns the directory of what packaging/tools/deps.sh gets for the tests.
func Cache() string {
	cache := os.Getenv("XDG_CACHE_HOME")
	if cache == "" {
		cache = "/var/cache"
	}
	return filepath.Join(cache, "stsmapd-test")
}

// baseFolder is the folder that packaging/tools/chroot.sh makes for every run. The others are for `make test-all`.
const baseFolder = "debian-12-base"

// Folder returns the path of a folder that contains a Debian, such as "debian-sid". It calls AllOnly if this run does
// not cover the folder, and Missing if the folder does not exist.
func Folder(t testing.TB, name string) string {
	t.Helper()
	if name != baseFolder {
		AllOnly(t, "what needs the folder "+name)
	}
	folder := filepath.Join(Cache(), name)
	if info, err := os.Stat(filepath.Join(folder, "usr")); err != nil || !info.IsDir() {
		Missing(t, "no folder "+folder)
	}
	return folder
}
