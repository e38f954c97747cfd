package resolver_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// TestRefresh: an administrator's refresh fetches whatever the id, the backoff and the due time, and tells what came of
// it.
func TestRefresh(t *testing.T) {
	const file = "mx.example.test"
	for _, c := range []struct {
		why     string
		prepare func(*world, *resolver.Service)
		gets    int
		error   string
		then    resolver.Outcome
	}{
		{"nothing known, a policy", func(w *world, _ *resolver.Service) {
			w.publish("example.test", "1", body("enforce", 7*day, file))
		}, 1, "", resolver.Enforce},
		{"nothing known, no policy", nil, 0, "", resolver.Absent},
		{"nothing known, the DNS mute", func(w *world, _ *resolver.Service) { w.set(func() { w.mute = true }) },
			0, "SERVFAIL", resolver.Unknown},
		{"nothing known, the policy host down",
			func(w *world, _ *resolver.Service) { w.publish("example.test", "1", "") },
			1, "connection refused", resolver.Unfetched},
		{"a live policy, the file changed under the same id", func(w *world, s *resolver.Service) {
			w.publish("example.test", "1", body("enforce", 7*day, file))
			ask(s, "example.test")
			w.publish("example.test", "1", body("testing", 7*day, file))
		}, 1, "", resolver.Testing},
		{"a live policy in the store alone", func(w *world, _ *resolver.Service) {
			w.publish("example.test", "1", body("enforce", 7*day, file))
			other := w.start()
			ask(other, "example.test")
			other.Close()
			w.publish("example.test", "1", body("testing", 7*day, file))
		}, 1, "", resolver.Testing},
		{"a live policy, the TXT record gone", func(w *world, s *resolver.Service) {
			w.publish("example.test", "1", body("enforce", 7*day, file))
			ask(s, "example.test")
			w.publish("example.test", "", body("testing", 7*day, file))
		}, 1, "", resolver.Testing},
		{"a live policy, the policy host down", func(w *world, s *resolver.Service) {
			w.publish("example.test", "1", body("enforce", 7*day, file))
			ask(s, "example.test")
			w.publish("example.test", "1", "")
		}, 1, "connection refused", resolver.Enforce},
		{"a live policy, an invalid file", func(w *world, s *resolver.Service) {
			w.publish("example.test", "1", body("enforce", 7*day, file))
			ask(s, "example.test")
			w.publish("example.test", "1", body("enforce", 7*day))
		}, 1, "no mx field", resolver.Enforce},
		{"in the backoff of a failed fetch", func(w *world, s *resolver.Service) {
			w.publish("example.test", "1", "")
			ask(s, "example.test")
			w.publish("example.test", "1", body("enforce", 7*day, file))
		}, 1, "", resolver.Enforce},
		{"in the backoff of a failed refresh", func(w *world, s *resolver.Service) {
			w.publish("example.test", "1", body("enforce", 7*day, file))
			ask(s, "example.test")
			w.publish("example.test", "1", "")
			_, _ = s.Admin().Refresh(context.Background(), dnsname.MustParse("example.test"))
			w.publish("example.test", "1", body("testing", 7*day, file))
		}, 1, "", resolver.Testing},
		{"mode none, withdrawn", func(w *world, s *resolver.Service) {
			w.publish("example.test", "1", body("none", 7*day))
			ask(s, "example.test")
			w.publish("example.test", "", "")
		}, 0, "", resolver.Absent},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			s := w.start()
			defer s.Close()
			if c.prepare != nil {
				c.prepare(w, s)
			}
			synctest.Wait()
			w.counts()
			found, err := s.Admin().Refresh(t.Context(), dnsname.MustParse("example.test"))
			if (err == nil) != (c.error == "") || err != nil && !strings.Contains(err.Error(), c.error) {
				t.Errorf("%s: error %v, want %q", c.why, err, c.error)
			}
			if errors.Is(err, resolver.ErrNotTried) || found == nil {
				t.Errorf("%s: %v, not even tried: %v", c.why, found, err)
			}
			w.want(c.why, 1, c.gets)
			wantOutcome(t, c.why, s, "example.test", c.then)
		})
	}
}

// TestRefreshDoesNotJoinAnOlderFetch: what was under way before the administrator asked may bring the file of before.
func TestRefreshDoesNotJoinAnOlderFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.delay = 2 * time.Second
		w.publish("example.test", "1", body("enforce", 7*day, "mx.example.test"))
		s := w.start()
		defer s.Close()
		var all sync.WaitGroup
		all.Go(func() { wantOutcome(t, "the question before", s, "example.test", resolver.Enforce) })
		pass(3 * time.Second) // in its fetch
		for range 5 {
			all.Go(func() {
				if _, err := s.Admin().Refresh(t.Context(), dnsname.MustParse("example.test")); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		w.want("a question, then five refreshes at once", 2, 2)
	})
}

// TestRefreshEnds: with its caller's patience, and with the service; and a demand of one who has gone is not met later.
func TestRefreshEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.publish("example.test", "1", body("enforce", 7*day, "mx.example.test"))
		s := w.start()
		wantOutcome(t, "learnt", s, "example.test", resolver.Enforce)
		w.set(func() { w.delay = 20 * time.Second })
		pass(10 * minute)
		ask(s, "example.test") // a look at the TXT record is under way
		synctest.Wait()
		w.counts()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.Admin().Refresh(ctx, dnsname.MustParse("example.test")); !errors.Is(err,
			context.DeadlineExceeded) {
			t.Errorf("%v, want the context's error", err)
		}
		pass(10 * minute)
		ask(s, "example.test")
		pass(minute)
		if _, gets := w.counts(); gets != 0 {
			t.Errorf("%d GETs for one who has gone", gets)
		}
		failed := make(chan error, 1)
		go func() {
			_, err := s.Admin().Refresh(context.Background(), dnsname.MustParse("example.test"))
			failed <- err
		}()
		pass(time.Second)
		s.Close()
		if err := <-failed; !errors.Is(err, resolver.ErrClosed) && !errors.Is(err, resolver.ErrNotTried) {
			t.Errorf("closed meanwhile: %v", err)
		}
		if _, err := s.Admin().Refresh(t.Context(), dnsname.MustParse("example.test")); !errors.Is(err,
			resolver.ErrClosed) {
			t.Errorf("closed before: %v", err)
		}
		if _, err := s.Admin().Forget(t.Context(), dnsname.MustParse("example.test")); !errors.Is(err,
			resolver.ErrClosed) {
			t.Errorf("forget, closed before: %v", err)
		}
	})
}

func TestForget(t *testing.T) {
	for _, c := range []struct {
		why       string
		prepare   func(*world, *resolver.Service)
		something bool
	}{
		{"nothing", func(*world, *resolver.Service) {}, false},
		{"a policy", func(w *world, s *resolver.Service) {
			w.publish("example.test", "1", body("enforce", 7*day, "mx.example.test"))
			ask(s, "example.test")
		}, true},
		{"a policy in the store alone", func(w *world, _ *resolver.Service) {
			w.publish("example.test", "1", body("enforce", 7*day, "mx.example.test"))
			other := w.start()
			ask(other, "example.test")
			other.Close()
		}, true},
		{"no policy", func(_ *world, s *resolver.Service) { ask(s, "example.test") }, true},
		{"a fetch that failed", func(w *world, s *resolver.Service) {
			w.publish("example.test", "1", "")
			ask(s, "example.test")
		}, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			s := w.start()
			defer s.Close()
			c.prepare(w, s)
			something, err := s.Admin().Forget(t.Context(), dnsname.MustParse("example.test"))
			if err != nil || something != c.something {
				t.Errorf("%s: forgotten %v, %v, want %v", c.why, something, err, c.something)
			}
			if k := known(t, s, "example.test"); !k.Empty() || w.size() != 0 {
				t.Errorf("%s: still known: %+v", c.why, k)
			}
			w.publish("example.test", "2", body("testing", 7*day, "mx.example.test"))
			wantOutcome(t, c.why+", asked again", s, "example.test", resolver.Testing)
			if again, err := s.Admin().Forget(t.Context(), dnsname.MustParse("example.test")); !again || err != nil {
				t.Errorf("%s: %v %v", c.why, again, err)
			}
		})
	}
}

// TestForgetWhatWaitsForTheDisk: it must not be written later.
func TestForgetWhatWaitsForTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		store := &fullDisk{world: w, full: true}
		w.publish("example.test", "1", body("enforce", 7*day, "mx.example.test"))
		s, stop := w.runOn(store, resolver.Settings{DNS: w, Fetcher: w})
		defer stop()
		wantOutcome(t, "learnt on a full disk", s, "example.test", resolver.Enforce)
		if something, err := s.Admin().Forget(t.Context(), dnsname.MustParse("example.test")); !something ||
			err != nil {
			t.Errorf("%v, %v", something, err)
		}
		w.set(func() { store.full = false })
		pass(minute)
		if k := known(t, s, "example.test"); !k.Empty() || w.size() != 0 {
			t.Errorf("it came back: %+v", k)
		}
	})
}

// TestForgetMeetsAFetch: a fetch that is under way ends first, and what it brought is forgotten too.
func TestForgetMeetsAFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.delay = 2 * time.Second
		w.publish("example.test", "1", body("enforce", 7*day, "mx.example.test"))
		s := w.start()
		defer s.Close()
		var asked sync.WaitGroup
		asked.Go(func() { wantOutcome(t, "the question before", s, "example.test", resolver.Enforce) })
		pass(3 * time.Second)
		if something, err := s.Admin().Forget(t.Context(), dnsname.MustParse("example.test")); !something ||
			err != nil {
			t.Errorf("%v, %v", something, err)
		}
		asked.Wait()
		if !known(t, s, "example.test").Empty() || w.size() != 0 {
			t.Error("what the fetch brought is still known")
		}
	})
}
