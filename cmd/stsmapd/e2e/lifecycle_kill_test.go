package e2e

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/cache/store"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
	"github.com/stsmapd/stsmapd/resolver/testkit"
	"github.com/stsmapd/stsmapd/socketmap"
)

const (
	kills      = 200
	lifeMax    = 100 * time.Millisecond // from the first answer on; more where the machine does too little in that
	tries      = 10                     // times as many lives as kills: then nothing is written at all
	learners   = 3
	changers   = 2
	due        = 2000 // policies that are due for their daily refresh from the first life on
	spotChecks = 20   // in each life, besides all that were answered in the one before
)

// ledger is what a daemon has answered, and what it may have learnt besides.
type ledger struct {
	mu       sync.Mutex
	answered map[string]int // number of the newest policy that was answered, by domain
	recent   map[string]bool
	all      []string // the keys of answered
}

// note notes an answer.
func (l *ledger) note(domain string, policy int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.answered[domain] == 0 {
		l.all = append(l.all, domain)
	}
	l.answered[domain] = max(l.answered[domain], policy)
	l.recent[domain] = true
}

// recently is how many domains were answered in this life.
func (l *ledger) recently() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.recent)
}

// TestKilledAmongWrites kills the daemon 200 times and more, at random moments while it learns, changes and refreshes
// policies, until it has written enough for that to say much. Its store opens every time, and knows every policy that
// was ever answered: that or a newer one of its domain.
func TestKilledAmongWrites(t *testing.T) {
	t.Parallel()
	w := world.Open(t)
	seed := uint64(time.Now().UnixNano())
	if given := os.Getenv("STSMAPD_E2E_SEED"); given != "" {
		var err error
		if seed, err = strconv.ParseUint(given, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	k := &killing{
		w: w, p: w.Publishers(t), random: rand.New(rand.NewPCG(seed, 0)), inet: netip.AddrPortFrom(w.Host(), 8461),
		stateDir: t.TempDir(),
		ledger:   ledger{answered: map[string]int{}, recent: map[string]bool{}},
	}
	t.Logf("STSMAPD_E2E_SEED=%d", seed)
	k.seed(t)
	least := testkit.Sample(t, "kills", kills, 30)
	begin := time.Now()
	lives := 0
	for ; lives < least || !k.enough(least); lives++ {
		k.live(t, lifeMax<<(lives/least))
		if t.Failed() || lives == tries*least {
			t.Fatalf("in life %d, after %d changes", lives+1, k.changes.Load())
		}
	}
	took := time.Since(begin)
	k.p.Dead.Store(true)
	d := w.DaemonOf(t, k.p, k.inet, k.stateDir)
	for _, domain := range k.ledger.all {
		k.check(t, d, domain)
	}
	t.Logf("%d kills in %v: %d policies learnt, %d changes, %d refreshes seen, %d answers of policies checked; "+
		"all %d policies ever answered are there",
		lives, took.Round(time.Second), len(k.ledger.all)-due, k.changes.Load(), k.refreshed(), k.checks,
		len(k.ledger.all))
	k.read(t, d)
}

// enough reports whether so much was written that so many kills say something.
func (k *killing) enough(kills int) bool {
	return len(k.ledger.all)-due >= kills/2 && int(k.changes.Load()) >= kills/2 && k.refreshed() >= kills/4
}

// refreshed counts the domains that were due whose new policy was answered.
func (k *killing) refreshed() (n int) {
	for i := range due {
		if k.ledger.answered[k.p.Domain(i)] == 2 {
			n++
		}
	}
	return n
}

// killing is a test that kills its daemon repeatedly.
type killing struct {
	w        *world.World
	p        *world.Publishers
	random   *rand.Rand
	inet     netip.AddrPort
	stateDir string
	ledger   ledger
	next     atomic.Int64 // number of the next domain to be learnt
	changes  atomic.Int64
	checks   int
}

// seed makes a store of policies that were fetched two days ago. What their hosts serve by now is another file, under
// the same id.
func (k *killing) seed(t *testing.T) {
	t.Helper()
	store, err := store.Open(filepath.Join(k.stateDir, "policies.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	fetched := time.Now().UTC().Add(-48 * time.Hour)
	var all sync.WaitGroup
	for i := range due {
		domain := k.p.Domain(i)
		k.p.Publish(domain, world.Publication{ID: 1, Policy: 2})
		k.ledger.note(domain, 1)
		policy, err := mtasts.ParsePolicy([]byte(world.Publication{Policy: 1}.Text(domain)))
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			e := resolver.Entry{Domain: dnsname.MustParse(domain), ID: "1", Policy: policy, Fetched: fetched,
				Checked: fetched, Used: fetched}
			if err := store.Put(context.Background(), e); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	k.next.Store(due)
	clear(k.ledger.recent)
}

// live is one life of the daemon: what it knows from the one before is looked at with the internet dead; then it is
// given much to write, and killed after a while of at most lasting.
func (k *killing) live(t *testing.T, lasting time.Duration) {
	t.Helper()
	k.p.Dead.Store(true)
	d := k.w.DaemonOf(t, k.p, k.inet, k.stateDir)
	seen := map[string]bool{}
	for domain := range k.ledger.recent {
		seen[domain] = true
	}
	for range spotChecks {
		seen[k.ledger.all[k.random.IntN(len(k.ledger.all))]] = true
	}
	ask := d.Asker(t, d.Listeners()[0])
	for domain := range seen {
		k.judge(t, domain, ask("sts", domain))
	}
	clear(k.ledger.recent)
	k.p.Dead.Store(false)

	ctx, end := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for range learners {
		all.Go(func() { k.converse(ctx, d, k.learn) })
	}
	for range changers {
		random := rand.New(rand.NewPCG(k.random.Uint64(), 0))
		all.Go(func() {
			k.converse(ctx, d, func(ctx context.Context, c *socketmap.Client) error {
				return k.change(ctx, c, random, seen)
			})
		})
	}
	random := rand.New(rand.NewPCG(k.random.Uint64(), 0))
	all.Go(func() {
		k.converse(ctx, d, func(ctx context.Context, c *socketmap.Client) error { return k.look(ctx, c, random) })
	})
	answered := world.Poll(world.Hang, func() bool { return k.ledger.recently() > 0 })
	if !answered {
		t.Errorf("nothing is answered; log:\n%s", d.Log)
	}
	moment := time.NewTimer(time.Duration(k.random.Int64N(int64(lasting))))
	<-moment.C
	d.Signal(t, syscall.SIGKILL)
	if code := d.Wait(t); code != -1 {
		t.Errorf("exit code %d of a killed daemon", code)
	}
	end()
	all.Wait()
	k.read(t, d)
}

// converse repeats something over one connection until the daemon has ended.
func (k *killing) converse(ctx context.Context, d *world.Daemon, once func(context.Context, *socketmap.Client) error) {
	client, err := socketmap.Dial(ctx, d.Listeners()[0])
	if err != nil {
		return
	}
	defer client.Close()
	for once(ctx, client) == nil {
	}
}

// ask asks for a domain, notes the answer, and returns its number.
func (k *killing) ask(ctx context.Context, c *socketmap.Client, domain string) (int, error) {
	reply, err := c.Ask(ctx, "sts", domain)
	if err != nil {
		return 0, err
	}
	n := world.PolicyOf(domain, reply.String())
	if n > 0 {
		k.ledger.note(domain, n)
	}
	return n, nil
}

// learn asks for a new domain, so that the daemon learns it.
func (k *killing) learn(ctx context.Context, c *socketmap.Client) error {
	domain := k.p.Domain(int(k.next.Add(1) - 1))
	k.p.Publish(domain, world.Publication{ID: 1, Policy: 1})
	_, err := k.ask(ctx, c, domain)
	return err
}

// change gives a domain that the daemon has not been asked for in this life a new policy under a new id, and asks until
// that is answered.
func (k *killing) change(ctx context.Context, c *socketmap.Client, random *rand.Rand, seen map[string]bool) error {
	k.ledger.mu.Lock()
	domain := k.ledger.all[random.IntN(len(k.ledger.all))]
	skip := seen[domain] || k.ledger.recent[domain]
	k.ledger.mu.Unlock()
	if skip {
		return nil
	}
	old, _ := k.p.Of(domain)
	k.p.Publish(domain, world.Publication{ID: old.ID + 1, Policy: old.Policy + 1})
	again := time.NewTicker(2 * time.Millisecond)
	defer again.Stop()
	for {
		n, err := k.ask(ctx, c, domain)
		if err != nil {
			return err
		}
		if n > old.Policy {
			k.changes.Add(1)
			return nil
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// look asks for one of the domains that are due.
func (k *killing) look(ctx context.Context, c *socketmap.Client, random *rand.Rand) error {
	domain := k.p.Domain(random.IntN(due))
	again := time.NewTimer(time.Millisecond)
	defer again.Stop()
	<-again.C
	_, err := k.ask(ctx, c, domain)
	return err
}

// check asks for a domain and judges the answer.
func (k *killing) check(t *testing.T, d *world.Daemon, domain string) {
	t.Helper()
	k.judge(t, domain, d.Ask(t, "sts", domain))
}

// judge compares an answer with what the daemon has answered before, and with what it can have learnt since.
func (k *killing) judge(t *testing.T, domain, answer string) {
	t.Helper()
	published, _ := k.p.Of(domain)
	k.ledger.mu.Lock()
	defer k.ledger.mu.Unlock()
	k.checks++
	n := world.PolicyOf(domain, answer)
	if n < k.ledger.answered[domain] || n > published.Policy {
		t.Errorf("%s: %q, but policy %d had been answered, and %d is the newest", domain, answer,
			k.ledger.answered[domain], published.Policy)
	}
	k.ledger.answered[domain] = max(k.ledger.answered[domain], n)
}

// read looks for faults of the store in a daemon's log.
func (k *killing) read(t *testing.T, d *world.Daemon) {
	t.Helper()
	for _, line := range d.Log.Lines("event=store_") {
		t.Errorf("a fault of the store: %s", line)
	}
}
