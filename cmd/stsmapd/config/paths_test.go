package config

import (
	"os"
	"path/filepath"
	"testing"
)

func TestControlPaths(t *testing.T) {
	dir := t.TempDir()
	own := filepath.Join(dir, "stsmapd", "control.sock")
	if err := os.MkdirAll(filepath.Dir(own), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(own, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	const system = "/run/stsmapd/control.sock"
	for _, c := range []struct {
		why          string
		env          map[string]string
		uid          int
		serves, asks string
	}{
		{"under systemd", map[string]string{"RUNTIME_DIRECTORY": "/run/a:/run/b", "XDG_RUNTIME_DIR": dir}, 0, "/run/a",
			"/run/a/control.sock"},
		{"under systemd, as another user", map[string]string{"RUNTIME_DIRECTORY": "/run/a"}, 7, "/run/a",
			"/run/a/control.sock"},
		{"root", map[string]string{"XDG_RUNTIME_DIR": dir}, 0, "/run/stsmapd", system},
		{"a user with a daemon of his own", map[string]string{"XDG_RUNTIME_DIR": dir}, 7, dir + "/stsmapd", own},
		{"a user without", map[string]string{"XDG_RUNTIME_DIR": dir + "/none"}, 7, dir + "/none/stsmapd", system},
		{"a user without a session", map[string]string{"HOME": dir}, 7, dir + "/.local/state/stsmapd", system},
		{"a user without a session, with a daemon of his own", map[string]string{"XDG_STATE_HOME": dir}, 7,
			dir + "/stsmapd", own},
		{"a user without a session and a home", nil, 7, "", system},
	} {
		env := func(name string) string { return c.env[name] }
		if got, _ := runtimeDir(env, c.uid); got != c.serves {
			t.Errorf("%s: serves in %q, want %q", c.why, got, c.serves)
		}
		if got := FindControl(env, c.uid); got != c.asks {
			t.Errorf("%s: asks at %q, want %q", c.why, got, c.asks)
		}
	}
}
