package resolver_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/memorytest"
)

const shared = "shared.example"

// fleetOf runs a test of three hosts whose Internet publishes a policy for shared.example.
func fleetOf(t *testing.T, test func(t *testing.T, w *world, h *hub, hosts []*host)) {
	synctest.Test(t, func(t *testing.T) {
		w, h := newWorld(t), newHub()
		w.publish(shared, "1", body("enforce", 30*day, "mx.example.test"))
		w.delay = time.Second
		test(t, w, h, startFleet(t, w, h, "a", "b", "c"))
	})
}

// askAll asks all hosts at the same time.
func askAll(t *testing.T, hosts []*host, domain string, want resolver.Outcome) {
	t.Helper()
	var all sync.WaitGroup
	for i, one := range hosts {
		all.Go(func() {
			if got := one.ask(domain); got != want {
				t.Errorf("host %d answers %v, want %v", i, got, want)
			}
		})
	}
	all.Wait()
}

func TestFleetFetchesOnce(t *testing.T) {
	fleetOf(t, func(t *testing.T, w *world, _ *hub, hosts []*host) {
		askAll(t, hosts, shared, resolver.Enforce)
		w.want("all hosts ask at the same time", 3, 1)
		if from := hosts[0].policy(shared).Origin + hosts[1].policy(shared).Origin +
			hosts[2].policy(shared).Origin; len(from) != 2 {
			t.Errorf("the policy's origins are %q, want two that name the host that fetched it", from)
		}
		for i, one := range hosts {
			if !one.own.holds(shared) {
				t.Errorf("host %d has no policy in its own store", i)
			}
		}
	})
}

// TestFleetKnowsBetter: the attacker of RFC 8461 section 10 hides the policy from a host that never saw it.
func TestFleetKnowsBetter(t *testing.T) {
	for why, hide := range map[string]func(w *world){
		"the DNS is mute":            func(w *world) { w.set(func() { w.mute = true }) },
		"the TXT record is gone":     func(w *world) { w.publish(shared, "", "") },
		"the policy host is blocked": func(w *world) { w.publish(shared, "1", "") },
	} {
		t.Run(why, func(t *testing.T) {
			fleetOf(t, func(t *testing.T, w *world, h *hub, hosts []*host) {
				h.set(func() { h.deaf = true })
				askAll(t, hosts[:1], shared, resolver.Enforce)
				hide(w)
				w.counts()
				askAll(t, hosts[1:], shared, resolver.Enforce)
				w.want("the others need no network", 0, 0)
			})
		})
	}
}

// TestFleetMissed: what other hosts learnt while this one did not listen, it learns when it listens again. Its question
// would not look again for minutes, since its own fetch or lookup has failed.
func TestFleetMissed(t *testing.T) {
	for why, fail := range map[string]func(w *world){
		"the fetch failed":  func(w *world) { w.publish(shared, "1", "") },
		"the lookup failed": func(w *world) { w.set(func() { w.mute = true }) },
	} {
		t.Run(why, func(t *testing.T) {
			fleetOf(t, func(t *testing.T, w *world, h *hub, hosts []*host) {
				h.set(func() { h.deaf = true })
				fail(w)
				if got := hosts[0].ask(shared); got == resolver.Enforce {
					t.Fatalf("got %v, want a failure", got)
				}
				w.set(func() { w.mute = false })
				w.publish(shared, "2", body("enforce", 30*day, "mx.example.test"))
				askAll(t, hosts[1:2], shared, resolver.Enforce)
				if got := hosts[0].ask(shared); got == resolver.Enforce {
					t.Fatal("the host has heard")
				}
				h.listen()
				synctest.Wait()
				w.counts()
				askAll(t, hosts[:1], shared, resolver.Enforce)
				w.want("the policy came from the fleet", 0, 0)
			})
		})
	}
}

func TestFleetHearsOfAll(t *testing.T) {
	fleetOf(t, func(t *testing.T, w *world, _ *hub, hosts []*host) {
		if got := hosts[1].ask("later.example"); got != resolver.Absent {
			t.Fatalf("got %v before there is a policy", got)
		}
		w.publish("later.example", "1", body("enforce", 30*day, "mx.example.test"))
		askAll(t, hosts[:1], "later.example", resolver.Enforce)
		w.counts()
		synctest.Wait()
		begin := time.Now()
		askAll(t, hosts[1:], "later.example", resolver.Enforce)
		if w.want("learnt on another host", 0, 0); time.Since(begin) > 0 {
			t.Errorf("the answer was waited for, %v", time.Since(begin))
		}
	})
}

func TestFleetChange(t *testing.T) {
	for _, c := range []struct {
		why  string
		lost bool
		gets int
	}{
		{"the others are told", false, 1},
		{"the news gets lost: the others look at the TXT record, and find that somebody has fetched under its id", true,
			1},
	} {
		t.Run(c.why, func(t *testing.T) {
			fleetOf(t, func(t *testing.T, w *world, h *hub, hosts []*host) {
				askAll(t, hosts, shared, resolver.Enforce)
				pass(6 * minute)
				w.counts()
				h.set(func() { h.deaf = c.lost })
				w.publish(shared, "2", body("testing", 30*day, "mx.example.test"))
				hosts[0].ask(shared) // sets the look off
				pass(3 * time.Second)
				if c.lost {
					askAll(t, hosts[1:], shared, resolver.Enforce)
					pass(3 * time.Second)
				}
				askAll(t, hosts, shared, resolver.Testing)
				if _, gets := w.counts(); gets != c.gets {
					t.Errorf("%d GETs, want %d", gets, c.gets)
				}
			})
		})
	}
}

func TestFleetRefreshesOnce(t *testing.T) {
	fleetOf(t, func(t *testing.T, w *world, h *hub, hosts []*host) {
		askAll(t, hosts, shared, resolver.Enforce)
		w.counts()
		const days = 10
		pass(days * day)
		_, gets := w.counts()
		if gets < days-2 || gets > days+2 {
			t.Errorf("%d refreshes in %d days, want about one a day", gets, days)
		}
		for i, one := range hosts {
			if e := one.policy(shared); time.Since(e.Fetched) > 28*time.Hour {
				t.Errorf("host %d holds a policy of %v", i, e.Fetched)
			}
		}
	})
}

// TestFleetHostDies: the claim of a host that fetches and dies ends by itself; another host fetches.
func TestFleetHostDies(t *testing.T) {
	fleetOf(t, func(t *testing.T, w *world, h *hub, hosts []*host) {
		h.claim(claimLife)
		begin := time.Now()
		askAll(t, hosts, shared, resolver.Enforce)
		w.want("the host that had claimed the domain is dead", 3, 1)
		if took := time.Since(begin); took < claimLife || took > claimLife+4*time.Second {
			t.Errorf("the answer took %v", took)
		}
	})
}

// TestFleetHostHangs: a host that has claimed a domain does nothing; the others wait for a while only.
func TestFleetHostHangs(t *testing.T) {
	fleetOf(t, func(t *testing.T, w *world, h *hub, hosts []*host) {
		h.claim(time.Hour)
		begin := time.Now()
		if got := hosts[0].ask(shared); got != resolver.Enforce {
			t.Errorf("got %v", got)
		}
		if took := time.Since(begin); took < 30*time.Second || took > 40*time.Second {
			t.Errorf("the answer took %v", took)
		}
	})
}

func TestFleetAway(t *testing.T) {
	fleetOf(t, func(t *testing.T, w *world, h *hub, hosts []*host) {
		h.set(func() { h.away = true })
		begin := time.Now()
		askAll(t, hosts, shared, resolver.Enforce)
		w.want("each for itself", 3, 3)
		if took := time.Since(begin); took > 2*time.Second { // the two of the network
			t.Errorf("the answer took %v", took)
		}
		if err := hosts[0].Admin().ForgetEverywhere(t.Context(), dnsname.MustParse(shared)); err == nil ||
			hosts[0].ask(shared) != resolver.Enforce {
			t.Errorf("forgotten although the fleet cannot be told: %v", err)
		}
	})
}

func TestFleetForgets(t *testing.T) {
	fleetOf(t, func(t *testing.T, w *world, _ *hub, hosts []*host) {
		askAll(t, hosts, shared, resolver.Enforce)
		pass(minute)
		w.publish(shared, "", "")
		if err := hosts[1].Admin().ForgetEverywhere(t.Context(), dnsname.MustParse(shared)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for i, one := range hosts {
			if e := one.policy(shared); e != nil || one.own.holds(shared) {
				t.Errorf("host %d still holds the policy", i)
			}
		}
		askAll(t, hosts, shared, resolver.Absent)
	})
}

func TestFleetForgetsModeNone(t *testing.T) {
	fleetOf(t, func(t *testing.T, w *world, _ *hub, hosts []*host) {
		w.publish(shared, "1", body("none", 30*day))
		askAll(t, hosts, shared, resolver.None)
		pass(6 * minute)
		w.publish(shared, "", "")
		hosts[2].ask(shared)
		pass(2 * time.Second)
		for i, one := range hosts {
			if one.policy(shared) != nil {
				t.Errorf("host %d still holds the policy of mode none", i)
			}
		}
	})
}

func TestFleetIsOfferedTheStore(t *testing.T) {
	const forgotten = "forgotten.example"
	synctest.Test(t, func(t *testing.T) {
		w, h := newWorld(t), newHub()
		before := startFleet(t, w, h, "before")[0]
		synctest.Wait() // it has nothing to offer
		for _, domain := range []string{shared, forgotten} {
			w.publish(domain, "1", body("enforce", 30*day, "mx.example.test"))
			before.ask(domain)
		}
		synctest.Wait()
		h.set(func() { h.offers, h.known, h.away = 0, map[dnsname.Name]resolver.SharedState{}, true }) // all is lost
		after := resolver.NewService(
			resolver.Options{DANEMemory: &memorytest.Findings{}, Now: resolver.WallClock,
				Settings: resolver.Settings{DNS: w, Fetcher: w},
				Store:    before.own,
				Memory:   before.emptyMemory(), Fleet: &member{h, "after"}, Logger: before.quiet()})
		t.Cleanup(runUpkeep(after))
		synctest.Wait()
		if _, err := after.Admin().Forget(t.Context(), dnsname.MustParse(forgotten)); err != nil {
			t.Fatal(err)
		}
		h.set(func() { h.away = false })
		pass(2 * time.Second)
		if h.offers != 1 || h.known[dnsname.MustParse(shared)].Entry == nil {
			t.Errorf("%d offers, the fleet knows %+v: what is forgotten while the fleet is away is not offered",
				h.offers, h.known)
		}
	})
}
