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
	// fileEnv names the file whose lines the run prints at its end; with CI=true a line about a missing part is a
	// failure.
	fileEnv = "STSMAPD_TEST_LEFT_OUT"
	// allEnv is 1 in `make test-all`.
	allEnv = "STSMAPD_TEST_ALL"
)

// The two kinds of lines, as packaging/tools/test.sh reads them.
const (
	notTested = "NOT TESTED: "
	onlyInAll = "ONLY IN make test-all: "
)

// All reports whether this run covers everything. What it leaves out otherwise, a test tells by AllOnly or Sample.
func All() bool { return os.Getenv(allEnv) == "1" }

// AllOnly skips a test that only `make test-all` runs, and notes it. That is no failure, with CI=true neither.
func AllOnly(t testing.TB, what string) {
	t.Helper()
	if All() {
		return
	}
	note(onlyInAll + t.Name() + ": " + what)
	t.Skip("only in make test-all: " + what)
}

// Sample returns how much of something large a test is to do: all of it in `make test-all`, otherwise a part, which it
// notes.
func Sample(t testing.TB, what string, all, part int) int {
	t.Helper()
	if All() || part >= all {
		return all
	}
	Shorter(t, fmt.Sprintf("%d %s, here %d", all, what, part))
	return part
}

// Shorter notes what `make test-all` does and this run does not, for a test that does a part of it.
func Shorter(t testing.TB, what string) { note(onlyInAll + t.Name() + ": " + what) }

// Note tells what is not tested, and why.
func Note(what string) {
	fmt.Fprintln(os.Stderr, "left out:", what)
	note(notTested + what)
}

// note writes a line into the run's file, if there is one.
func note(line string) {
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

// InFolder is the Debian of which packaging/tools/chroot.sh makes a folder for every run; the others are for `make
// test-all`.
const InFolder = "debian-12-base"

// Folder returns the path of a folder with another Debian in it, such as "debian-sid". A test of one that this run does
// not cover is skipped as by AllOnly, and where a folder is missing as by Missing.
func Folder(t testing.TB, name string) string {
	t.Helper()
	if name != InFolder {
		AllOnly(t, "what needs the folder "+name)
	}
	cache := os.Getenv("XDG_CACHE_HOME")
	if cache == "" {
		cache = "/var/cache"
	}
	folder := filepath.Join(cache, "stsmapd-test", name)
	if info, err := os.Stat(filepath.Join(folder, "usr")); err != nil || !info.IsDir() {
		Missing(t, "no folder "+folder)
	}
	return folder
}
