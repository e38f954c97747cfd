package main

import (
	"bytes"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/cache/shared/enginetest"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/maillog"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// migrationPage tells how the domains of other daemons' caches become a list for warm.
const migrationPage = "../../packaging/docs/migration.md"

// warmLine returns the command before "| stsmapd warm" of the page's line that begins with this program.
func warmLine(t *testing.T, program string) string {
	t.Helper()
	for line := range strings.Lines(readFile(t, migrationPage)) {
		line = strings.TrimSpace(line)
		if command, ok := strings.CutSuffix(line, " | stsmapd warm"); ok && strings.HasPrefix(command, program+" ") {
			return command
		}
	}
	t.Fatalf("%s has no line with %s", migrationPage, program)
	return ""
}

// listed runs a command and returns the domains of its output. Every line must have one.
func listed(t *testing.T, command string) []string {
	t.Helper()
	out, err := exec.Command("sh", "-c", command).Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	set := &domainSet{}
	in, err := maillog.NewInput("-", bytes.NewReader(out), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := set.readList(in, func(e *lineError) { t.Errorf("%s: %v", command, e) }); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, d := range set.domains {
		names = append(names, d.String())
	}
	slices.Sort(names)
	return names
}

// TestWarmFromSQLite: the cache of postfix-mta-sts-resolver in SQLite.
func TestWarmFromSQLite(t *testing.T) {
	sqlite, err := exec.LookPath("sqlite3")
	if err != nil {
		testkit.Missing(t, "sqlite3 is not installed")
	}
	file := filepath.Join(t.TempDir(), "cache.db")
	made := exec.Command(sqlite, file,
		"create table sts_policy_cache (domain text, ts integer, pol_id text, pol_body text);"+`insert into sts_policy_cache values ('a.example', 1, '1', '{"mode": "enforce"}'), ('b.example', 2, '7', '{}');`)
	if out, err := made.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	command := strings.Replace(warmLine(t, "sqlite3"), "/var/lib/mta-sts/cache.db", file, 1)
	if got := listed(t, command); !slices.Equal(got, []string{"a.example", "b.example"}) {
		t.Errorf("%s lists %q", command, got)
	}
}

// TestWarmFromRedis: the same in Redis, which has an entry about itself beside the domains.
func TestWarmFromRedis(t *testing.T) {
	e := enginetest.Start(t, enginetest.Redis(t))
	for i, domain := range []string{"a.example", "b.example"} {
		e.Do("ZADD", domain, fmt.Sprint(i), fmt.Sprintf(`0123456789abcdef["%d", {"mode": "enforce"}]`, i))
	}
	e.Do("HSET", "_metadata", "proactive_fetch_ts", "1.5")
	command := strings.Replace(warmLine(t, "redis-cli"), "127.0.0.1", e.Addr(), 1)
	if got := listed(t, command); !slices.Equal(got, []string{"a.example", "b.example"}) {
		t.Errorf("%s lists %q", command, got)
	}
}

// TestWarmFromTLSPol: what `postfix-tlspol -export` and -dump print.
func TestWarmFromTLSPol(t *testing.T) {
	if command := warmLine(t, "postfix-tlspol"); command != "postfix-tlspol -export" {
		t.Errorf("the page says %s", command)
	}
	for _, line := range []string{"%-28s %s\\n", "%-28s      3  %s\\n"} {
		got := listed(t, "printf '"+line+"' a.example 'secure match=mx.a.example servername=hostname' "+
			"b.example dane-only a-very-long-name-of-a-domain.example dane")
		if !slices.Equal(got, []string{"a-very-long-name-of-a-domain.example", "a.example", "b.example"}) {
			t.Errorf("%q", got)
		}
	}
}
