package shared

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stsmapd/stsmapd/cache/shared/enginetest"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// TestACL: a user with the rights that fleet.md gives it, and no others, can do all.
func TestACL(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, p enginetest.Program) {
		e := enginetest.Start(t, p)
		grant(t, "", e)
		limited(t, mustEndpoint(t, "redis://stsmapd:secret@"+e.Addr()), e)
		if got := e.Do("ACL", "DRYRUN", "stsmapd", "FLUSHALL"); !strings.Contains(got, "no permissions") {
			t.Errorf("the user may flush the engine: %s", got)
		}
	})
}

func TestACLDatabase(t *testing.T) {
	t.Parallel()
	e := enginetest.Start(t, enginetest.Redis(t))
	grant(t, pageRight(t, "for a database other than 0"), e)
	limited(t, mustEndpoint(t, "redis://stsmapd:secret@"+e.Addr()+"/2"), e)
}

func TestACLCluster(t *testing.T) {
	t.Parallel()
	nodes := enginetest.Cluster(t, enginetest.Redis(t))
	grant(t, pageRight(t, "for a cluster"), nodes...)
	limited(t, mustEndpoint(t, "redis+cluster://stsmapd:secret@"+enginetest.Addrs(nodes)), nodes...)
}

func TestACLSentinel(t *testing.T) {
	t.Parallel()
	p := enginetest.Redis(t)
	primary := enginetest.Start(t, p)
	enginetest.Replica(t, p, primary)
	sentinels := enginetest.Sentinels(t, p, primary)
	grant(t, pageRight(t, `for\s+engines behind sentinels`), primary)
	limited(t, mustEndpoint(t,
		"redis+sentinel://stsmapd:secret@"+enginetest.Addrs(sentinels)+"/"+enginetest.PrimaryName), primary)
}

// grant makes fleet.md's user, with what it needs besides.
func grant(t *testing.T, besides string, engines ...*enginetest.Engine) {
	t.Helper()
	m := regexp.MustCompile(`(?m)^ *(ACL SETUSER stsmapd .*)$`).FindSubmatch(page(t))
	if m == nil {
		t.Fatal("fleet.md has no line ACL SETUSER stsmapd")
	}
	for _, e := range engines {
		e.Do(strings.Fields(string(m[1]) + " " + besides)...)
	}
}

// pageRight is what fleet.md says that this needs besides.
func pageRight(t *testing.T, what string) string {
	t.Helper()
	m := regexp.MustCompile(what + "[^`]{0,3}`([^`]+)`").FindSubmatch(page(t))
	if m == nil {
		t.Fatalf("fleet.md does not say what %s needs", what)
	}
	return string(m[1])
}

func page(t *testing.T) []byte {
	t.Helper()
	text, err := os.ReadFile("../../packaging/docs/fleet.md")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// limited has two hosts do all that hosts do; the engines must refuse nothing.
func limited(t *testing.T, endpoint Endpoint, engines ...*enginetest.Engine) {
	t.Helper()
	a, b := join(t, Options{Endpoint: endpoint}), join(t, Options{Endpoint: endpoint})
	exercise(t, a, b)
	for _, e := range engines {
		if denied := e.Do("ACL", "LOG"); denied != "" {
			t.Errorf("the engine refused something:\n%s", denied)
		}
	}
}

// TestTLS: over TLS by the CA that was named, and not by another.
func TestTLS(t *testing.T) {
	t.Parallel()
	e, caFile := enginetest.StartTLS(t, enginetest.Redis(t))
	endpoint := mustEndpoint(t, "rediss://"+e.Addr())
	distrustful := open(t, Options{Endpoint: endpoint})
	endpoint.CAFile = caFile
	a, b := join(t, Options{Endpoint: endpoint}), join(t, Options{Endpoint: endpoint})
	exercise(t, a, b)
	testkit.Eventually(t, patience, "a certificate of an unknown CA is refused",
		func() bool { return len(distrustful.log.Lines("event=shared_failing")) > 0 })
	if !distrustful.Failing() {
		t.Error("a certificate of an unknown CA is accepted")
	}
}
