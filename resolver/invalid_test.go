package resolver_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// TestInvalidNames: a question about a name that nobody can have waits for no network, and nothing is remembered of it.
// This is what health checks ask.
func TestInvalidNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.delay, w.mute = time.Second, true
		s := w.start()
		defer s.Close()
		for range 3 {
			atOnce(t, "RFC 6761 section 6.4",
				func() { wantOutcome(t, "below .invalid", s, "healthz.invalid", resolver.Absent) })
		}
		w.want("questions about healthz.invalid", 0, 0)
		name := dnsname.MustParse("healthz.invalid")
		if found, err := s.Admin().Refresh(t.Context(), name); err != nil || found == nil {
			t.Errorf("an administrator's refresh: %v, %v", found, err)
		}
		if k, err := s.Admin().Known(t.Context(), name); err != nil || k.Negative != nil {
			t.Errorf("it is remembered: %v, %v", k.Negative, err)
		}
		wantOutcome(t, "a name that only looks like it", s, "notinvalid.test", resolver.Unknown)
		w.want("a question about another name", 1, 0)
	})
}
