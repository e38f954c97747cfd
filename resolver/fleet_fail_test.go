package resolver_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
)

// faults are what fails on one host and on no other.
var faults = []struct {
	why   string
	fetch broken
}{
	{"stale roots: each fetch fails at once", broken{}},
	{"a dead proxy: each fetch hangs until its limit", broken{30 * time.Second}},
}

// TestFleetFailureBindsItsHost: what host a cannot fetch, b and c fetch, when all are asked at the same time and when
// a is asked first; and a has it then too.
func TestFleetFailureBindsItsHost(t *testing.T) {
	for _, c := range faults {
		for _, head := range []time.Duration{0, 2 * time.Second, 40 * time.Second, 4 * minute} {
			t.Run(fmt.Sprintf("%s, asked %v before the others", c.why, head), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w, h := newWorld(t), newHub()
					w.publish(shared, "1", body("enforce", 30*day, "mx.example.test"))
					a := startHosts(t, w, c.fetch, h, "a")[0]
					healthy := startFleet(t, w, h, "b", "c")
					var asked sync.WaitGroup
					asked.Go(func() { a.ask(shared) }) // it may win or lose the race
					pass(head)
					begin := time.Now()
					askAll(t, healthy, shared, resolver.Enforce)
					if took := time.Since(begin); took > c.fetch.takes+2*time.Second {
						t.Errorf("the healthy hosts waited %v", took)
					}
					asked.Wait()
					synctest.Wait()
					askAll(t, []*host{a}, shared, resolver.Enforce)
					if _, gets := w.counts(); gets != 1 {
						t.Errorf("%d GETs by the healthy hosts, want 1", gets)
					}
				})
			})
		}
	}
}

// TestFleetRefreshesBesideABrokenHost: live policies are refreshed in time by the healthy hosts, and none expires on
// any host.
func TestFleetRefreshesBesideABrokenHost(t *testing.T) {
	for _, c := range faults {
		t.Run(c.why, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, h := newWorld(t), newHub()
				hosts := append(startHosts(t, w, c.fetch, h, "a"), startFleet(t, w, h, "b", "c")...)
				ages := []time.Duration{20 * minute, time.Hour, 6 * time.Hour, day, 2 * day, 10 * day}
				domains := make([]string, len(ages))
				for i := range domains {
					domains[i] = fmt.Sprintf("d%d.example", i)
					w.publish(domains[i], "1", body("enforce", ages[i], "mx.example.test"))
					askAll(t, hosts[1:], domains[i], resolver.Enforce)
				}
				for now := time.Duration(0); now < 36*time.Hour; now += 20 * minute {
					pass(20 * minute)
					for i, domain := range domains {
						askAll(t, hosts, domain, resolver.Enforce)
						// its due time, and what spreads the refreshes over the hosts
						limit := min(day, ages[i]/2)*11/10 + 5*minute
						if e := hosts[1].policy(domain); time.Since(e.Fetched) > limit {
							t.Errorf("after %v: the policy of %v was fetched %v ago, want %v at most", now, ages[i],
								time.Since(e.Fetched), limit)
						}
					}
				}
				if log := hosts[1].own.log.String(); strings.Contains(log, "policy_expired") ||
					strings.Contains(log, "refresh_failing") {
					t.Error("a policy expired or failed on a healthy host")
				}
			})
		})
	}
}

// TestFleetChangeBesideABrokenHost: a new id that one host cannot fetch is fetched by the next host that looks.
func TestFleetChangeBesideABrokenHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, h := newWorld(t), newHub()
		w.publish(shared, "1", body("enforce", 30*day, "mx.example.test"))
		hosts := append(startHosts(t, w, broken{}, h, "a"), startFleet(t, w, h, "b", "c")...)
		askAll(t, hosts[1:], shared, resolver.Enforce)
		pass(6 * minute)
		w.publish(shared, "2", body("testing", 30*day, "mx.example.test"))
		hosts[0].ask(shared) // sets the look off
		pass(time.Second)
		if e := hosts[0].policy(shared); e.Failures.Count != 1 {
			t.Fatalf("the broken host holds %+v", e)
		}
		if e := hosts[1].policy(shared); e.Failures != (resolver.FetchFailures{}) {
			t.Errorf("its failure is adopted: %+v", e.Failures)
		}
		hosts[1].ask(shared)
		pass(time.Second)
		askAll(t, hosts, shared, resolver.Testing)
		if e := hosts[0].policy(shared); e.Failures != (resolver.FetchFailures{}) || e.Origin != "b" {
			t.Errorf("the broken host holds %+v, want what b has fetched", e)
		}
	})
}

// deadHost is the Fetcher of a fleet whose policy host is dead: it notes when it was tried.
type deadHost struct {
	broken
	mu    sync.Mutex
	tried []time.Time
	file  string // once it is well again
}

func (d *deadHost) Fetch(ctx context.Context, domain dnsname.Name) (mtasts.Policy, error) {
	d.mu.Lock()
	d.tried = append(d.tried, time.Now())
	file := d.file
	d.mu.Unlock()
	if file != "" {
		return mtasts.ParsePolicy([]byte(file))
	}
	return d.broken.Fetch(ctx, domain)
}

// most is the largest number of tries in a time span that is as long as the window.
func (d *deadHost) most() (most int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, begin := range d.tried {
		n := 0
		for _, at := range d.tried[i:] {
			if at.Sub(begin) < resolver.AttemptWindow {
				n++
			}
		}
		most = max(most, n)
	}
	return most
}

// TestFleetSparesADeadHost: 8 hosts are asked all the time about a domain whose policy host is dead, without a live
// policy and with one; it is tried three times in 5 minutes at most, each host has its turn, and when it is well again,
// all hosts have the policy.
func TestFleetSparesADeadHost(t *testing.T) {
	for _, c := range faults {
		for _, live := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, live policy: %v", c.why, live), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { spare(t, c.fetch, live) })
			})
		}
	}
}

func spare(t *testing.T, fault broken, live bool) {
	w, h := newWorld(t), newHub()
	dead := &deadHost{broken: fault}
	w.publish(shared, "1", "")
	names := make([]string, 8)
	for i := range names {
		names[i] = fmt.Sprintf("h%d", i)
	}
	hosts := startHosts(t, w, dead, h, names...)
	want := resolver.Unfetched
	if live {
		want = resolver.Testing
		dead.file = body("testing", 30*day, "mx.example.test")
		askAll(t, hosts, shared, want)
		pass(6 * minute)
		w.publish(shared, "2", "")
		dead.file, dead.tried = "", nil
	}
	for begin := time.Now(); time.Since(begin) < 40*minute; pass(10 * time.Second) {
		asked := time.Now()
		askAll(t, hosts, shared, want)
		if took := time.Since(asked); took > 90*time.Second {
			t.Fatalf("an answer took %v", took)
		}
	}
	if got := dead.most(); got > resolver.MaxAttempts || got < 2 {
		t.Errorf("%d attempts in 5 minutes", got)
	}
	if got := len(dead.tried); got < len(hosts) {
		t.Errorf("%d attempts in 40 minutes: a host was never allowed any", got)
	}
	dead.mu.Lock()
	dead.file = body("enforce", 30*day, "mx.example.test")
	dead.mu.Unlock()
	for begin := time.Now(); time.Since(begin) < 12*minute; pass(10 * time.Second) {
		for _, one := range hosts {
			one.ask(shared)
		}
	}
	askAll(t, hosts, shared, resolver.Enforce)
}

// TestFleetHealthyAmongBroken: three hosts cannot fetch a policy and are asked for it all the time; the fourth one
// can, and has it 5 minutes after its first question.
func TestFleetHealthyAmongBroken(t *testing.T) {
	for _, c := range faults {
		for _, head := range []time.Duration{time.Second, 2 * minute, 6 * minute, 11 * minute, 33 * minute} {
			t.Run(fmt.Sprintf("%s, asked %v before the healthy one", c.why, head), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w, h := newWorld(t), newHub()
					w.publish(shared, "1", body("enforce", 30*day, "mx.example.test"))
					sick, healthy := startHosts(t, w, c.fetch, h, "a", "b", "c"), startFleet(t, w, h, "d")[0]
					ctx, cancel := context.WithCancel(t.Context())
					var asking sync.WaitGroup
					defer asking.Wait()
					defer cancel()
					for _, one := range sick {
						asking.Go(func() {
							for ; ctx.Err() == nil; pass(time.Second) {
								one.ask(shared)
							}
						})
					}
					pass(head)
					begin := time.Now()
					for healthy.ask(shared) != resolver.Enforce {
						if time.Since(begin) > resolver.AttemptWindow {
							t.Fatal("the healthy host has no policy 5 minutes after its first question")
						}
						pass(time.Second)
					}
					t.Logf("the policy came after %v", time.Since(begin))
					synctest.Wait()
					askAll(t, sick, shared, resolver.Enforce)
				})
			})
		}
	}
}

// TestFleetRefusal: what a host says that adopts the failures of three others.
func TestFleetRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, h := newWorld(t), newHub()
		w.ttl = minute
		w.publish(shared, "1", "")
		hosts := startFleet(t, w, h, "a", "b", "c", "d")
		begin := time.Now()
		for _, one := range hosts {
			askAll(t, []*host{one}, shared, resolver.Unfetched)
			pass(minute / 2)
		}
		if _, gets := w.counts(); gets != 3 {
			t.Errorf("%d GETs, want 3", gets)
		}
		last := hosts[3]
		k, err := last.Admin().Known(t.Context(), dnsname.MustParse(shared))
		if err != nil {
			t.Fatal(err)
		}
		f, ok := k.Negative.(*resolver.FetchFailed)
		if !ok || f.Failures.Count != 0 || !strings.Contains(f.Err.Error(), "a, b, c") {
			t.Fatalf("the fourth host says %+v", k.Negative)
		}
		if until := f.Failures.RetryAt.Sub(begin); until < 5*minute || until > 5*minute+2*time.Second {
			t.Errorf("it may try after %v, want when the first failure is 5 minutes old", until)
		}
		if lines := strings.Count(last.own.log.String(), "event=fetch_failed"); lines != 1 {
			t.Errorf("%d lines tell of it, want 1", lines)
		}
		pass(time.Until(f.Failures.RetryAt) + time.Second)
		w.publish(shared, "1", body("enforce", 30*day, "mx.example.test"))
		askAll(t, []*host{last}, shared, resolver.Enforce)
	})
}
