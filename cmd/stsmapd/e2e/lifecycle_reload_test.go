package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
	"github.com/stsmapd/stsmapd/socketmap"
)

// reloading is a daemon whose configuration changes.
type reloading struct {
	p    *world.Publishers
	d    *world.Daemon
	base string // the part of the configuration that stays
	file string
}

func newReloading(t *testing.T, w *world.World, overrides string) *reloading {
	t.Helper()
	r := &reloading{p: w.Publishers(t), file: filepath.Join(t.TempDir(), "stsmapd.toml")}
	inet := netip.AddrPortFrom(w.Host(), 8461)
	r.base = fmt.Sprintf("[dns]\nservers = [%q]\n[fetch]\nca_file = %q\nallow_private_addresses = true\n", r.p.Resolver,
		w.CAFile)
	r.write(t, overrides)
	r.d = w.StartProcess(t, nil, "serve", "--config", r.file, "--state-dir", t.TempDir(), "--listen",
		"inet:"+inet.String())
	r.d.Inet = inet
	return r
}

func (r *reloading) write(t *testing.T, overrides string) {
	t.Helper()
	if err := os.WriteFile(r.file, []byte(r.base+overrides), 0o600); err != nil {
		t.Fatal(err)
	}
}

// reload puts other overrides into the file, sends SIGHUP, and waits for the line that it makes.
func (r *reloading) reload(t *testing.T, overrides, event string) {
	t.Helper()
	before := len(r.d.Log.Lines("event=" + event))
	r.write(t, overrides)
	r.d.Signal(t, syscall.SIGHUP)
	world.Eventually(t, world.Hang, "event="+event, func() bool { return len(r.d.Log.Lines("event="+event)) > before })
}

// override is the text of one in the configuration.
func override(domain, action string, more ...string) string {
	return fmt.Sprintf("[[override]]\ndomain = %q\naction = %q\nreason = \"ticket 4711\"\n%s\n", domain, action,
		strings.Join(more, "\n"))
}

// TestOverridesReload changes overrides under questions. A domain's policy is learnt while it is overridden, so that
// the override's end takes effect with the next question, and with the DNS and HTTPS dead.
func TestOverridesReload(t *testing.T) {
	t.Parallel()
	w := world.Open(t)
	yesterday, tomorrow := time.Now().UTC().AddDate(0, 0, -1).Format(time.DateOnly),
		time.Now().UTC().AddDate(0, 0, 1).Format(time.DateOnly)
	r := newReloading(t, w, "")
	domain, other := r.p.Domain(0), r.p.Domain(1)
	for _, d := range []string{domain, other} {
		r.p.Publish(d, world.Publication{ID: 1, Policy: 1})
	}
	r.reload(t, override(domain, "ignore", "until = "+tomorrow)+
		override("partner.test", "ignore", "until = "+yesterday), "reloaded")
	if lines := r.d.Log.Lines("event=override_ended"); len(lines) != 1 ||
		!strings.Contains(lines[0], "domain=partner.test") || !strings.Contains(lines[0], "ticket 4711") {
		t.Errorf("an override that has ended made these lines at load: %q", lines)
	}

	crowd := r.crowd(t, domain, other)
	r.expect(t, "ignored", domain, "NOTFOUND ")
	world.Eventually(t, world.Hang, "the overridden policy to be learnt", func() bool {
		return len(r.d.Log.Lines("event=policy_learnt", "domain="+domain)) == 1
	})
	r.expect(t, "learnt, and still ignored", domain, "NOTFOUND ")
	r.p.Dead.Store(true)
	for _, step := range []struct{ why, overrides, event, want string }{
		{"a bad file changes nothing", override(domain, "forget"), "reload_failed", "NOTFOUND "},
		{"the override taken away", "", "reloaded", r.policy(domain)},
		{"one that has ended", override(domain, "ignore", "until = "+yesterday), "reloaded", r.policy(domain)},
		{"one for all names below", override("."+r.p.Zone, "ignore"), "reloaded", "NOTFOUND "},
		{"the domain's own counts for more",
			override("."+r.p.Zone, "ignore") + override(domain, "enforce", `mx = ["mail.partner.test"]`), "reloaded",
			"OK secure match=mail.partner.test servername=hostname"},
		{"strict leaves a policy to enforce as it is", override(domain, "strict"), "reloaded", r.policy(domain)},
		{"one twice changes nothing", override(domain, "ignore") + override(domain, "ignore"), "reload_failed",
			r.policy(domain)},
		{"none", "", "reloaded", r.policy(domain)},
	} {
		crowd.allow(step.want)
		r.reload(t, step.overrides, step.event)
		r.expect(t, step.why, domain, step.want)
		crowd.allowOnly(step.want)
	}
	crowd.end(t)
	if n := len(r.d.Log.Lines("event=override_ended", "domain="+domain)); n != 1 {
		t.Errorf("%d lines about the override of %s that had ended, want one, at its load", n, domain)
	}
}

// policy is the answer that a domain's own policy makes.
func (r *reloading) policy(domain string) string {
	return "OK secure match=g1.mx." + domain + " servername=hostname"
}

// expect asks once.
func (r *reloading) expect(t *testing.T, why, domain, want string) {
	t.Helper()
	if got := r.d.Ask(t, "sts", domain); got != want {
		t.Errorf("%s: %s is answered %q, want %q", why, domain, got, want)
	}
}

// crowd asks for a domain continuously over several connections. Time is divided into epochs: in each of them certain
// answers may come.
type crowd struct {
	mu      sync.Mutex
	epochs  []map[string]bool
	wrong   map[string]int
	asked   int
	stop    context.CancelFunc
	talkers sync.WaitGroup
}

// crowd begins. The other domain's policy is to be answered all the time.
func (r *reloading) crowd(t *testing.T, domain, other string) *crowd {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	c := &crowd{epochs: []map[string]bool{{"NOTFOUND ": true}}, wrong: map[string]int{}, stop: stop}
	t.Cleanup(func() { stop(); c.talkers.Wait() })
	r.expect(t, "without an override", other, r.policy(other))
	for range 4 {
		client, err := socketmap.Dial(ctx, r.d.Listeners()[0])
		if err != nil {
			t.Fatal(err)
		}
		c.talkers.Go(func() {
			defer client.Close()
			for ctx.Err() == nil {
				epoch := c.epoch()
				reply, err := client.Ask(ctx, "sts", domain)
				c.judge(ctx, epoch, reply.String(), err)
			}
		})
	}
	return c
}

func (c *crowd) epoch() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.epochs) - 1
}

// judge judges the answer to a question that was asked in an epoch and answered in that or a later one.
func (c *crowd) judge(ctx context.Context, epoch int, answer string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case ctx.Err() != nil:
	case err != nil:
		c.wrong[err.Error()]++
	case !slices.ContainsFunc(c.epochs[epoch:], func(allowed map[string]bool) bool { return allowed[answer] }):
		c.wrong[fmt.Sprintf("%q in epochs %d to %d", answer, epoch, len(c.epochs)-1)]++
	default:
		c.asked++
	}
}

// allow lets another answer come, from now on, besides those that may already.
func (c *crowd) allow(answer string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epochs[len(c.epochs)-1][answer] = true
}

// allowOnly begins an epoch in which only this answer may come.
func (c *crowd) allowOnly(answer string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epochs = append(c.epochs, map[string]bool{answer: true})
}

func (c *crowd) end(t *testing.T) {
	t.Helper()
	c.stop()
	c.talkers.Wait()
	for what, times := range c.wrong {
		t.Errorf("%d times answered %s", times, what)
	}
	t.Logf("%d questions in %d epochs", c.asked, len(c.epochs))
	if c.asked < 20 {
		t.Error("too few questions to say much")
	}
}
