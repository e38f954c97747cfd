package testkit

import (
	"os"
	"path/filepath"
	"testing"
)

// TestCoverage: `make test` skips or shortens tests and records it, `make test-all` runs all. CI does not change that.
func TestCoverage(t *testing.T) {
	for _, c := range []struct {
		why, all string
		ran      bool
		many     int
		noted    string
	}{
		{"make test", "", false, 20, "ONLY IN make test-all: TestCoverage/make_test/one: a thing\n" +
			"ONLY IN make test-all: TestCoverage/make_test/many: 200 things, here 20\n"},
		{"make test-all", "1", true, 200, ""},
	} {
		t.Run(c.why, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "noted")
			t.Setenv(fileEnv, file)
			t.Setenv(allEnv, c.all)
			t.Setenv("CI", "true")
			ran, many := false, 0
			t.Run("one", func(t *testing.T) { AllOnly(t, "a thing"); ran = true })
			t.Run("many", func(t *testing.T) { many = Sample(t, "things", 200, 20) })
			noted, err := os.ReadFile(file)
			if err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			if ran != c.ran || many != c.many || string(noted) != c.noted {
				t.Errorf("ran: %v, %d of many; noted:\n%s", ran, many, noted)
			}
		})
	}
}

// TestFolder: a folder that this run does not cover is not looked for, and the base folder is found where chroot.sh
// makes it.
func TestFolder(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", cache)
	t.Setenv(fileEnv, "")
	t.Setenv(allEnv, "")
	want := filepath.Join(cache, "stsmapd-test", baseFolder)
	if err := os.MkdirAll(filepath.Join(want, "usr"), 0o755); err != nil {
		t.Fatal(err)
	}
	if got := Folder(t, baseFolder); got != want {
		t.Errorf("the folder is %s, want %s", got, want)
	}
	t.Run("another", func(t *testing.T) {
		Folder(t, "debian-sid")
		t.Error("a folder of make test-all was looked for")
	})
}

// TestNote: a missing part has a line of its own, on which packaging/tools/test.sh fails with CI=true.
func TestNote(t *testing.T) {
	file := filepath.Join(t.TempDir(), "noted")
	t.Setenv(fileEnv, file)
	Note("a part: no program")
	if noted, err := os.ReadFile(file); err != nil || string(noted) != "NOT TESTED: a part: no program\n" {
		t.Errorf("noted %q, %v", noted, err)
	}
}
