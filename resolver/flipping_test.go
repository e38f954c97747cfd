package resolver_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/fetch"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// flip gives a domain another of two ids, as name servers that disagree do.
func (w *world) flip(domain string, turn int) {
	w.set(func() { w.ids[domain] = fmt.Sprint(turn % 2) })
}

// TestFlippingIDs: a question and another id every 6 seconds, for an hour. The policy host is asked no more than twice
// in 5 minutes, whether it serves a policy or fails.
func TestFlippingIDs(t *testing.T) {
	for _, c := range []struct {
		why  string
		file string
		want resolver.Outcome
		most int // GETs in an hour
	}{
		{"the policy host serves a policy: it stays live", body("enforce", day, "mx.a.test"), resolver.Enforce, 26},
		{"the policy host fails: its backoff doubles, whatever the id is", "", resolver.Unfetched, 10},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.ttl = time.Second
			w.publish("a.test", "0", c.file)
			s := w.start()
			defer s.Close()
			total, last := 0, 0
			for turn := range 600 {
				w.flip("a.test", turn)
				wantOutcome(t, c.why, s, "a.test", c.want)
				pass(6 * time.Second)
				_, gets := w.counts()
				total, last = total+gets, last+gets
				if turn%50 == 49 { // each 5 minutes
					if last > 3 { // of two windows
						t.Errorf("%s: %d GETs within 5 minutes", c.why, last)
					}
					last = 0
				}
			}
			if total > c.most || total < 2 {
				t.Errorf("%s: %d GETs in an hour, want %d at most", c.why, total, c.most)
			}
		})
	}
}

// TestNewIDAfterFlips: the end of the limit is found by a check of the id, and the new policy is fetched then.
func TestNewIDAfterFlips(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.ttl = time.Second
		w.publish("a.test", "1", body("enforce", day, "mx1.a.test"))
		s := w.start()
		defer s.Close()
		for id := range 3 {
			w.publish("a.test", fmt.Sprint(id+1), body("enforce", day, fmt.Sprintf("mx%d.a.test", id+1)))
			wantOutcome(t, "a new id", s, "a.test", resolver.Enforce)
			pass(6 * time.Second)
			ask(s, "a.test")
			synctest.Wait()
		}
		if _, gets := w.counts(); gets != 2 {
			t.Errorf("three ids within seconds: %d GETs, want 2", gets)
		}
		pass(5 * minute)
		ask(s, "a.test")
		synctest.Wait()
		if v := ask(s, "a.test"); v.Policy.Entry().ID != "3" || v.Policy.Policy().MX()[0].String() != "mx3.a.test" {
			t.Errorf("after the limit: %+v", v.Policy.Entry())
		}
	})
}

// silentHost is a policy host that answers nothing within 30 s.
type silentHost struct{ *world }

func (h silentHost) Fetch(ctx context.Context, domain dnsname.Name) (mtasts.Policy, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, 30*time.Second, errors.New("not finished within 30s"))
	defer cancel()
	<-ctx.Done()
	return mtasts.Policy{}, &fetch.Error{Domain: domain, Kind: fetch.Unreachable, Err: context.Cause(ctx)}
}

// TestSilentHostIsWaitedForOnce: ids flip, and the policy host is silent. The first question waits for it, the second
// for 5 seconds, and no other one of the next minutes.
func TestSilentHostIsWaitedForOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.ttl = time.Second
		w.publish("a.test", "0", "")
		s := w.start()
		defer s.Close()
		s.Reconfigure(resolver.Settings{DNS: w, Fetcher: silentHost{w}})
		var waits []time.Duration
		for turn := range 40 {
			w.flip("a.test", turn)
			begin := time.Now()
			wantOutcome(t, "a silent policy host", s, "a.test", resolver.Unfetched)
			if took := time.Since(begin); took > 0 {
				waits = append(waits, took)
			}
			pass(6 * time.Second)
		}
		if fmt.Sprint(waits) != "[30s 5s]" {
			t.Errorf("questions of four minutes have waited %v, want 30s and 5s", waits)
		}
	})
}

// crowdedHost is an internet whose policy hosts are in one network, of which one may be asked at a time. Each takes its
// time, which is told once.
type crowdedHost struct {
	*world
	takes map[string][]time.Duration // by domain; the fetch works if it has the time, unless there is no file
}

func (h crowdedHost) Fetch(ctx context.Context, domain dnsname.Name) (mtasts.Policy, error) {
	if err := fetch.Admit(ctx, 7); err != nil {
		return mtasts.Policy{}, &fetch.Error{Domain: domain, Kind: fetch.HostFault, Err: err}
	}
	var takes time.Duration
	h.set(func() {
		if left := h.takes[domain.String()]; len(left) > 0 {
			takes, h.takes[domain.String()] = left[0], left[1:]
		}
	})
	if testkit.Pause(ctx, takes) != nil {
		return mtasts.Policy{}, &fetch.Error{Domain: domain, Kind: fetch.Unreachable, Err: context.Cause(ctx)}
	}
	return h.world.Fetch(ctx, domain)
}

// TestWaitForSlotIsNoSlowness: a fetch waits for a slot while another domain's policy host in the same network takes
// 12 seconds. That wait makes its own policy host no slow one, and takes nothing of the time of a fetch whose policy
// host was slow before.
func TestWaitForSlotIsNoSlowness(t *testing.T) {
	const crowd = 12 * time.Second
	for _, c := range []struct {
		why    string
		first  time.Duration // that the policy host takes to fail, at the first question
		second time.Duration // that it takes for the policy, at the second
	}{
		{"it failed at once: the next question has all the time", 0, 8 * time.Second},
		{"it failed after 11 s: the next question has 5 s, all of it for the policy host", 11 * time.Second,
			4 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.ttl = time.Second
			h := crowdedHost{w, map[string][]time.Duration{"a.test": {c.first, c.second}}}
			s := w.start()
			defer s.Close()
			s.Reconfigure(resolver.Settings{DNS: w, Fetcher: h, FetchConcurrency: 4})
			for turn, file := range []string{"", body("enforce", day, "mx.a.test")} {
				other := fmt.Sprintf("crowd%d.test", turn)
				w.publish(other, "1", body("enforce", day, "mx."+other))
				w.set(func() { h.takes[other] = []time.Duration{crowd} })
				go ask(s, other)
				synctest.Wait()
				w.publish("a.test", fmt.Sprint(turn), file)
				begin, want := time.Now(), []resolver.Outcome{resolver.Unfetched, resolver.Enforce}[turn]
				wantOutcome(t, c.why, s, "a.test", want)
				if took := time.Since(begin); took < crowd {
					t.Errorf("%s: question %d waited %v, less than for the slot", c.why, turn, took)
				}
				pass(2 * time.Second) // the record has expired
			}
		})
	}
}
