package doctor

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/socketmap/tlspolicy"
)

func TestFindPostfix(t *testing.T) {
	dir := t.TempDir()
	if _, err := findPostfix("", []string{filepath.Join(dir, "postconf"), "no-such-program"}); !errors.Is(err,
		errNoPostfix) {
		t.Errorf("without postconf: %v", err)
	}
	program := write(t, filepath.Join(dir, "postconf"), "")
	if err := os.Chmod(program, 0o755); err != nil {
		t.Fatal(err)
	}
	p, err := findPostfix("my config", []string{"no-such-program", program})
	if err != nil || p.postconf != program || !strings.HasSuffix(p.Flags(), "/my config' ") {
		t.Errorf("found %q with flags %q, %v", p.postconf, p.Flags(), err)
	}
}

// fake is a Postfix of two scripts.
func fake(t *testing.T, postconf, postmap string) Postfix {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"postconf": postconf, "postmap": postmap} {
		if err := os.Chmod(write(t, filepath.Join(dir, name), "#!/bin/sh\n"+text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return Postfix{postconf: filepath.Join(dir, "postconf")}
}

func TestSearch(t *testing.T) {
	p := fake(t, "", `[ "$1 $2" = "-q stsmapd-probe.invalid" ] || exit 99
case $3 in
all) echo may ;;
broken) echo 'postmap: warning: x' >&2; echo 'postmap: fatal: open broken: No such file or directory' >&2; exit 1 ;;
closed) echo 'postmap: fatal: open closed: Permission denied' >&2; exit 1 ;;
complaining) echo 'postmap: warning: line 3: ignored' >&2; exit 1 ;;
*) exit 1 ;;
esac`)
	for table, want := range map[string]TableState{
		"all":         {Kind: TableMatchesAll, Value: "may"},
		"some":        {Kind: TableSelective},
		"complaining": {Kind: TableSelective},
		"broken":      {Kind: TableBroken, Detail: "postmap: fatal: open broken: No such file or directory"},
		"closed":      {},
	} {
		if got := p.search(t.Context(), Lookup{table, probeDomain}, identity{}); got != want {
			t.Errorf("%s: %v, want %v", table, got, want)
		}
	}
	p.postconf = "/nonexistent/postconf"
	if got := p.search(t.Context(), Lookup{"all", probeDomain}, identity{}); got.Kind != TableUnknown {
		t.Errorf("without postmap: %v", got)
	}
}

// TestOldPostconf: what an old postconf cannot print is not asked of it.
func TestOldPostconf(t *testing.T) {
	for version, want := range map[string]string{
		"2.8.0":  "N",
		"2.9.0":  "N -M",
		"2.10.1": "N -x -d -M",
		"2.11.0": "N -x -d -M -x",
	} {
		calls := filepath.Join(t.TempDir(), "calls")
		p := fake(t, `case $1 in -*) printf ' %s' "$1" ;; *) printf N ;; esac >>`+calls+"\necho mail_version = "+
			version, "")
		if _, err := p.Facts(t.Context(), nil, tlspolicy.MapNames{}); err != nil {
			t.Errorf("%s: %v", version, err)
		}
		got, err := os.ReadFile(calls)
		if err != nil || string(got) != want {
			t.Errorf("%s: postconf was run as %q, want %q (%v)", version, got, want, err)
		}
	}
}

func TestCancelled(t *testing.T) {
	p := fake(t, "exec sleep 100", "")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := p.Facts(ctx, nil, tlspolicy.MapNames{}); err == nil {
		t.Error("no error from a postconf that was cut short")
	}
}
