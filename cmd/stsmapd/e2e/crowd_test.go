package e2e

import (
	"testing"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
)

// TestCrowdSharesOneLookup asks for one new domain over many connections at a time, as Postfix does for a mailing list.
func TestCrowdSharesOneLookup(t *testing.T) {
	t.Parallel()
	w := world.Open(t)
	daemon := w.StartDaemon(t, world.DaemonConfig{})
	d := w.Domain("crowd")
	d.Publish(t, "1", d.EnforcedText())
	const crowd = 200
	type outcome struct {
		reply string
		err   error
	}
	outcomes := make(chan outcome, crowd)
	for range crowd {
		go func() {
			reply, err := daemon.TryAsk("postfix", d.Name)
			outcomes <- outcome{reply, err}
		}()
	}
	want := outcome{"OK secure match=mx1." + d.Name + " servername=hostname", nil}
	for range crowd {
		if got := <-outcomes; got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	if lookups, gets := d.Lookups(), d.Policy.Requests(); lookups != 1 || gets != 1 {
		t.Errorf("%d questions made %d lookups of the TXT record and %d GETs, want 1 and 1", crowd, lookups, gets)
	}
}
