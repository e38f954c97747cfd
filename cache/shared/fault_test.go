package shared

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/cache/shared/enginetest"
	"github.com/stsmapd/stsmapd/cache/store/storetest"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// TestFaults: whatever ails the engine, an operation takes its budget at most, soon nothing at all; one line tells of
// it, one of the end; what was learnt meanwhile is pushed, and the other host hears of it.
func TestFaults(t *testing.T) {
	t.Parallel()
	password := "right"
	for _, c := range []struct {
		why        string
		begin, end func(t *testing.T, e *enginetest.Engine)
		reads      bool // the engine can still be read
		empty      bool // it has lost its memory
	}{
		{why: "killed, and restarted empty",
			begin: func(_ *testing.T, e *enginetest.Engine) { e.Kill() },
			end: func(_ *testing.T, e *enginetest.Engine) {
				e.Restart()
				e.Do("CONFIG", "SET", "requirepass", password)
			}, empty: true},
		{why: "it hangs",
			begin: func(_ *testing.T, e *enginetest.Engine) { e.Freeze() },
			end:   func(_ *testing.T, e *enginetest.Engine) { e.Thaw() }},
		{why: "out of memory",
			begin: func(t *testing.T, e *enginetest.Engine) {
				asAdmin(t, e, password, "CONFIG", "SET", "maxmemory", "1")
			},
			end: func(t *testing.T, e *enginetest.Engine) {
				asAdmin(t, e, password, "CONFIG", "SET", "maxmemory", "0")
			}, reads: true},
		{why: "it has become a replica of nobody",
			begin: func(t *testing.T, e *enginetest.Engine) { asAdmin(t, e, password, "REPLICAOF", "127.0.0.1", "1") },
			end:   func(t *testing.T, e *enginetest.Engine) { asAdmin(t, e, password, "REPLICAOF", "NO", "ONE") },
			reads: true},
		{why: "the password is wrong all at once",
			begin: func(t *testing.T, e *enginetest.Engine) {
				asAdmin(t, e, password, "CONFIG", "SET", "requirepass", "other")
				asAdmin(t, e, "other", "CLIENT", "KILL", "TYPE", "normal")
				asAdmin(t, e, "other", "CLIENT", "KILL", "TYPE", "pubsub")
			},
			end: func(t *testing.T, e *enginetest.Engine) {
				asAdmin(t, e, "other", "CONFIG", "SET", "requirepass", password)
			}},
	} {
		t.Run(c.why, func(t *testing.T) {
			t.Parallel()
			e := enginetest.Start(t, enginetest.Redis(t))
			e.Do("CONFIG", "SET", "requirepass", password)
			endpoint := mustEndpoint(t, "redis://default:"+password+"@"+e.Addr())
			const budget = 500 * time.Millisecond
			a, b := join(t, Options{Endpoint: endpoint, Budget: budget}),
				join(t, Options{Endpoint: endpoint, Budget: budget})
			before, meanwhile := fresh(1), fresh(2)
			a.Share(t.Context(), before)
			b.hears(t, before.Domain)
			a.times.Store(0)

			c.begin(t, e)
			watch := testkit.StartWatch(t)
			for i := range 2 * tripAfter { // as questions would
				begin := time.Now()
				a.Find(t.Context(), storetest.Domain(50+i))
				a.Claim(t.Context(), storetest.Domain(50+i), first)
				if took := time.Since(begin); took > watch.Limit(4*budget) { // two operations and one release
					t.Errorf("a question waited for %v", took)
				}
			}
			a.awaitFailing(t)
			begin := time.Now()
			for i := range 1000 {
				a.Find(t.Context(), storetest.Domain(1000+i))
			}
			if took := time.Since(begin); !c.reads && took > watch.Limit(2*budget) {
				t.Errorf("1000 reads of an engine that is known to fail took %v", took)
			}
			if got := a.Claim(t.Context(), storetest.Domain(3), first); got.State != resolver.ClaimAlone {
				t.Errorf("a claim was granted: %+v", got)
			}
			a.Share(t.Context(), meanwhile)
			if s := a.Stats(); s.Queued != 1 || !s.Failing {
				t.Errorf("%+v", s)
			}
			c.end(t, e)
			b.hears(t, meanwhile.Domain)
			testkit.Eventually(t, patience, "the policy learnt meanwhile is in the engine",
				func() bool { return b.has(t, meanwhile) })
			a.awaitWell(t)
			if failing, well := a.log.Lines("event=shared_failing"),
				a.log.Lines("event=shared_recovered"); len(failing) != 1 || len(well) != 1 {
				t.Errorf("%d lines tell that it fails, %d that it is well again:\n%s", len(failing), len(well),
					strings.Join(a.log.Lines("event="), "\n"))
			}
			if renewed := a.times.Load(); (renewed > 0) != c.empty {
				t.Errorf("found %d times that the engine had lost its memory", renewed)
			}
			if !c.empty && !a.has(t, before) {
				t.Error("what was known before is gone")
			}
		})
	}
}

// asAdmin runs a command as somebody with the engine's password.
func asAdmin(t *testing.T, e *enginetest.Engine, password string, words ...string) {
	t.Helper()
	if _, err := e.TryAs(password, words...); err != nil {
		t.Fatalf("%v: %v", words, err)
	}
}

// TestEndsWhileItHangs: a daemon has 10 s to end, whatever its engine does.
func TestEndsWhileItHangs(t *testing.T) {
	t.Parallel()
	e := enginetest.Start(t, enginetest.Redis(t))
	h := join(t, Options{Endpoint: mustEndpoint(t, "redis://"+e.Addr()), Budget: 50 * time.Millisecond})
	e.Freeze()
	h.Find(t.Context(), storetest.Domain(1))
	watch, begin := testkit.StartWatch(t), time.Now()
	h.close()
	if took := time.Since(begin); took > watch.Limit(5*time.Second) {
		t.Errorf("it took %v to close the connection to an engine that hangs", took)
	}
}

// TestAwayAtStart: the daemon starts without the engine, and finds it when it comes.
func TestAwayAtStart(t *testing.T) {
	t.Parallel()
	e := enginetest.Start(t, enginetest.Redis(t))
	e.Kill()
	h := open(t, Options{Endpoint: mustEndpoint(t, "valkey://"+e.Addr()+"/3")})
	testkit.Eventually(t, patience, "one line tells of it",
		func() bool { return len(h.log.Lines("event=shared_failing")) == 1 })
	entry := fresh(1)
	h.Share(t.Context(), entry)
	if err := h.End(t.Context(), storetest.Domain(2), time.Now()); err == nil {
		t.Error("End says that the fleet was told")
	}
	e.Restart()
	testkit.Eventually(t, patience, "it was pushed", func() bool { return h.has(t, entry) })
}

// TestPasswordFile: the file is read again, so that a password can be changed without a restart.
func TestPasswordFile(t *testing.T) {
	t.Parallel()
	e := enginetest.Start(t, enginetest.Redis(t))
	e.Do("ACL", "SETUSER", "fleet", "on", ">pw-one", "~*", "&*", "+@all")
	endpoint := mustEndpoint(t, "redis://fleet@"+e.Addr())
	endpoint.PasswordFile = filepath.Join(t.TempDir(), "password")
	writePassword := func(text string) {
		if err := os.WriteFile(endpoint.PasswordFile, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	writePassword("pw-one\n")
	h := open(t, Options{Endpoint: endpoint})
	h.awaitWell(t)
	e.Do("ACL", "SETUSER", "fleet", "resetpass", ">pw-two")
	e.Do("CLIENT", "KILL", "USER", "fleet")
	h.awaitFailing(t)
	writePassword("pw-two")
	h.awaitWell(t)
	for _, line := range h.log.Lines("event=") {
		if strings.Contains(line, "pw-") {
			t.Errorf("a line holds the password: %s", line)
		}
	}
}

// TestSentinel: the primary is killed, a replica is promoted, and the fleet goes on there.
func TestSentinel(t *testing.T) {
	t.Parallel()
	p := enginetest.Redis(t)
	primary := enginetest.Start(t, p)
	replica := enginetest.Replica(t, p, primary)
	sentinels := enginetest.Sentinels(t, p, primary)
	endpoint := mustEndpoint(t, "redis+sentinel://"+enginetest.Addrs(sentinels)+"/"+enginetest.PrimaryName)
	a, b := join(t, Options{Endpoint: endpoint}), join(t, Options{Endpoint: endpoint})
	exercise(t, a, b)
	before := fresh(5000)
	a.Share(t.Context(), before)
	b.hears(t, before.Domain)
	testkit.Eventually(t, patience, "the replica has it",
		func() bool { return replica.Do("EXISTS", a.engine.commands.valueKey(before.Domain)) == "1" })
	primary.Kill()
	meanwhile := fresh(5001)
	a.Share(t.Context(), meanwhile)
	testkit.Eventually(t, 2*patience, "the replica is promoted", func() bool {
		info, err := replica.Try("INFO", "replication") // it ends connections when it is promoted
		return err == nil && strings.Contains(info, "role:master")
	})
	testkit.Eventually(t, 2*patience, "what was learnt meanwhile is in the new primary",
		func() bool { return b.has(t, meanwhile) })
	b.hears(t, meanwhile.Domain)
	if !a.has(t, before) || !b.has(t, before) {
		t.Error("what was known before the failover is gone")
	}
	a.awaitWell(t)
	b.awaitWell(t)
	exercise(t, b, a)
}

// TestClusterNodeDies: the domains of the other nodes are shared on.
func TestClusterNodeDies(t *testing.T) {
	t.Parallel()
	nodes := enginetest.Cluster(t, enginetest.Redis(t))
	endpoint := mustEndpoint(t, "redis+cluster://"+enginetest.Addrs(nodes))
	a, b := join(t, Options{Endpoint: endpoint, Budget: time.Second}),
		join(t, Options{Endpoint: endpoint, Budget: time.Second})
	nodes[2].Kill()
	for i := range 60 {
		a.Share(t.Context(), fresh(i)) // a third of them has no home
	}
	nodes[2].Restart()
	testkit.Eventually(t, 2*patience, "all are shared in the end", func() bool {
		for i := range 60 {
			if b.Find(t.Context(), storetest.Domain(i)).Entry == nil {
				return false
			}
		}
		return true
	})
}
