package torture

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

func storeFaults() []fault {
	return []fault{
		{name: "store corrupted while stopped", run: corruptStopped},
		{name: "store corrupted while running", run: corruptRunning},
		{name: "store truncated", run: truncated},
		{name: "store deleted under the daemon", run: deleted},
		{name: "state directory removed", run: removed},
	}
}

// image is the file of a sound store, where its contents end, its snapshot, and the number of its last commit.
type image struct {
	bytes            []byte
	used             int64
	snapshot, commit []byte
}

// snapshot is the file of the store's snapshot.
func (r *rig) snapshot() string { return filepath.Join(r.d.StateDir, "policies.snapshot") }

// commit is the file with the number of the store's last commit.
func (r *rig) commit() string { return r.d.Store() + ".commit" }

// image stops the daemon and returns its store. It has long and short policies, some changed and some forgotten, so
// that the file has branches, overflow pages, and free pages with old contents.
func (r *rig) image(t *testing.T) image {
	t.Helper()
	var gone, long []string
	for i, domain := range r.oracle.Known() {
		was, _ := r.p.Of(domain)
		switch i % 4 {
		case 0:
			gone = append(gone, domain)
		case 1:
			long = append(long, domain)
			r.p.Publish(domain, world.Publication{ID: was.ID + 1, Policy: was.Policy + 1, Length: i * 100})
		}
	}
	r.d.Forget(t, gone...)
	for _, domain := range gone {
		r.oracle.Forget(domain)
		r.p.Withdraw(domain)
	}
	a := NewAsker(r.oracle, r.d.Address)
	defer a.Close()
	for _, domain := range long {
		world.Eventually(t, recoveryLimit, "the new policy of "+domain, func() bool {
			answer, err := a.Ask(domain)
			return err == nil && world.PolicyOf(domain, answer) == 2
		})
	}
	r.d.Signal(t, syscall.SIGTERM)
	r.d.Wait(t)
	bytes, err := os.ReadFile(r.d.Store())
	if err != nil {
		t.Fatal(err)
	}
	snapshot, err := os.ReadFile(r.snapshot())
	if err != nil {
		t.Fatal(err)
	}
	commit, err := os.ReadFile(r.commit())
	if err != nil {
		t.Fatal(err)
	}
	used := int64(len(bytes))
	for used > 0 && bytes[used-1] == 0 { // the file is longer than what is in it
		used--
	}
	return image{bytes, used, snapshot, commit}
}

// restore puts the sound store back, and makes the oracle forget what was learnt since.
func (r *rig) restore(t *testing.T, sound image, known []string) {
	t.Helper()
	if err := os.RemoveAll(r.d.StateDir); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(r.d.StateDir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		r.d.Store(): sound.bytes, r.snapshot(): sound.snapshot, r.commit(): sound.commit} {
		if content == nil {
			continue
		}
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	keep := map[string]bool{}
	for _, domain := range known {
		keep[domain] = true
	}
	for _, domain := range r.oracle.Known() {
		if !keep[domain] {
			r.oracle.Forget(domain)
		}
	}
}

// corrupt strews random bytes over the store's file, half of them where the structure of a page is.
func (r *rig) corrupt(t *testing.T, sound image, random *rand.Rand) {
	t.Helper()
	f, err := os.OpenFile(r.d.Store(), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	page := int64(os.Getpagesize())
	for range 1 + random.IntN(20) {
		at := random.Int64N(sound.used)
		if random.IntN(2) == 0 {
			at = at/page*page + random.Int64N(128)
		}
		if _, err := f.WriteAt([]byte{byte(random.Uint32())}, at); err != nil {
			t.Fatal(err)
		}
	}
	if r.damaged, err = os.ReadFile(r.d.Store()); err != nil {
		t.Fatal(err)
	}
}

// keep leaves the store of a seed that failed behind, as it was damaged. A daemon wrote it, each time another one: the
// seed alone does not bring it back.
func (r *rig) keep(t *testing.T, sound image, seed uint64) {
	t.Helper()
	if !t.Failed() {
		return
	}
	dir, err := os.MkdirTemp("", "stsmapd-torture-")
	for name, content := range map[string][]byte{
		r.d.Store(): r.damaged, r.snapshot(): sound.snapshot, r.commit(): sound.commit} {
		if err == nil && content != nil {
			err = os.WriteFile(filepath.Join(dir, filepath.Base(name)), content, 0o600)
		}
	}
	t.Logf("STSMAPD_SEED=%d damages the same places; the store as it was damaged is in %s: %v", seed, dir, err)
}

// deadly is how many policies are asked for, one after the other, while they are in doubt and cannot be looked up.
const deadly = 4

// corruptStopped starts the daemon on damaged stores. With a snapshot no policy is lost, with the internet dead
// (TestRandomDamage of cache/store asks for all of them so). Without one the DNS and the policy hosts answer, so that
// what the damage has destroyed is looked up again before the answer; everything else is answered as before.
func corruptStopped(t *testing.T, r *rig) {
	sound := r.image(t)
	known := r.oracle.Known()
	served := r.p.Served.Load()
	snapshot := sound.snapshot
	seed := uint64(0)
	defer func() { r.keep(t, sound, seed) }()
	for seed = range testkit.Seeds(rounds(500, 50)) {
		if t.Failed() {
			return
		}
		if sound.snapshot = snapshot; seed%2 == 1 {
			sound.snapshot = nil
		}
		r.restore(t, sound, known)
		random := rand.New(rand.NewPCG(seed, 1))
		r.corrupt(t, sound, random)
		r.injected++
		end := time.Now()
		r.d.Start(t)
		r.ask(t, known[0])
		r.recovery = max(r.recovery, time.Since(end))
		if sound.snapshot != nil && seed%20 == 0 { // each answer waits for the dead DNS
			at := random.IntN(len(known) - deadly)
			r.remembers(t, known[at:at+deadly])
		}
		r.all(t, known, fmt.Sprintf("seed %d", seed))
		r.learn(t, 1)
		r.kill(t)
	}
	r.destroyed(r.p.Served.Load()-served-int64(r.injected), len(known))
}

// corruptRunning damages the store of a running daemon that has read a part of it and that must write.
func corruptRunning(t *testing.T, r *rig) {
	sound := r.image(t)
	known := r.oracle.Known()
	served := r.p.Served.Load()
	seed := uint64(0)
	defer func() { r.keep(t, sound, seed) }()
	for seed = range testkit.Seeds(rounds(500, 50)) {
		if t.Failed() {
			return
		}
		r.restore(t, sound, known)
		r.d.Start(t)
		r.all(t, known[:len(known)/3], fmt.Sprintf("seed %d", seed))
		r.corrupt(t, sound, rand.New(rand.NewPCG(seed, 2)))
		r.injected++
		end := time.Now()
		r.recovers(t, end)
		r.all(t, known, fmt.Sprintf("seed %d", seed))
		r.kill(t)
		r.d.Start(t)
		r.all(t, known, fmt.Sprintf("seed %d, after a restart", seed))
		r.kill(t)
	}
	r.destroyed(r.p.Served.Load()-served-int64(r.injected), len(known))
}

// all asks for all these domains while the DNS and the policy hosts answer: each answer must be a policy.
func (r *rig) all(t *testing.T, domains []string, when string) {
	t.Helper()
	a := NewAsker(r.oracle, r.d.Address)
	defer a.Close()
	before := r.oracle.Tally()
	if _, err := a.Ask(domains...); err != nil {
		t.Fatalf("%s: %v; log:\n%s", when, err, r.d.Log)
	}
	if after := r.oracle.Tally(); after.Policies-before.Policies-(after.Wrong-before.Wrong) < len(domains) {
		t.Errorf("%s: not all %d domains were answered: %q; log:\n%s", when, len(domains), after.Faults, r.d.Log)
	}
}

// destroyed notes how many policies were looked up again, of so many in each store.
func (r *rig) destroyed(lookups int64, each int) {
	part := float64(lookups) / float64(r.injected*each)
	r.note = fmt.Sprintf("%.1f %% of the policies were looked up before the answer", 100*part)
}

// truncated cuts the file at a random place, under a daemon and between two.
func truncated(t *testing.T, r *rig) {
	r.restart(t)
	for seed := range testkit.Seeds(rounds(20, 4)) {
		known := r.oracle.Known()
		running := seed%2 == 0
		if !running {
			r.kill(t)
		}
		info, err := os.Stat(r.d.Store())
		if err == nil {
			size := rand.New(rand.NewPCG(seed, 3)).Int64N(info.Size())
			t.Logf("STSMAPD_SEED=%d: cut at %d of %d bytes", seed, size, info.Size())
			err = os.Truncate(r.d.Store(), size)
		}
		if err != nil {
			t.Fatal(err)
		}
		r.injected++
		end := time.Now()
		if !running {
			r.d.Start(t)
		}
		r.all(t, known, "after the cut") // what is lost and not in memory is looked up again
		r.recovers(t, end)
		r.goesOn(t)
	}
}

// goesOn ends a fault that destroyed the store under a daemon that had read all of it. The store must soon have all of
// it again, and what is learnt from now on, for the next daemon.
func (r *rig) goesOn(t *testing.T) {
	t.Helper()
	r.learn(t, 20)
	world.Eventually(t, recoveryLimit, "the store to have all again", func() bool {
		log := r.d.Log.String()
		begun := max(strings.LastIndex(log, "event=store_corrupt"), strings.LastIndex(log, "event=store_replaced"))
		return strings.LastIndex(log, "event=store_renewed") >= begun // both -1: the damage was none
	})
	r.census(t)
}

// deleted removes the file. The daemon must answer from memory while the DNS and the policy hosts are dead.
func deleted(t *testing.T, r *rig) {
	for range rounds(10, 3) {
		known := r.oracle.Known()
		if err := os.Remove(r.d.Store()); err != nil {
			t.Fatal(err)
		}
		r.injected++
		end := time.Now()
		r.remembers(t, known)
		r.recovers(t, end)
		r.remembers(t, known)
		r.goesOn(t)
	}
}

// removed removes the state directory with all that is in it.
func removed(t *testing.T, r *rig) {
	for range rounds(10, 3) {
		known := r.oracle.Known()
		if err := os.RemoveAll(r.d.StateDir); err != nil {
			t.Fatal(err)
		}
		r.injected++
		end := time.Now()
		r.remembers(t, known)
		r.recovers(t, end)
		r.remembers(t, known)
		r.goesOn(t)
	}
}
