package resolver_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// TestRefreshSlotsFollowAReload: refreshes have half of fetch.concurrency, of the settings that are in force.
func TestRefreshSlotsFollowAReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		fetched := w.now()
		for i := range 500 {
			name := fmt.Sprintf("d%d.test", i)
			w.publish(name, "1", body("enforce", 60*day, "mx.example.test"))
			domain := dnsname.MustParse(name)
			p, err := w.Fetch(t.Context(), domain)
			if err != nil {
				t.Fatal(err)
			}
			w.stored[domain] = resolver.Entry{
				Domain: domain, ID: "1", Policy: p, Fetched: fetched, Checked: fetched, Used: fetched}
		}
		pass(2 * day)
		w.delay = 5 * time.Second // of the lookup, and again of the fetch
		s := w.start()
		s.Reconfigure(resolver.Settings{DNS: w, Fetcher: w, FetchConcurrency: 2})
		defer runUpkeep(s)()
		w.counts()
		pass(time.Minute + time.Second)
		if _, gets := w.counts(); gets < 5 || gets > 7 {
			t.Errorf("with one slot: %d refreshes of 10 s each in a minute", gets)
		}
		s.Reconfigure(resolver.Settings{DNS: w, Fetcher: w, FetchConcurrency: 40})
		pass(10 * time.Second) // the one that waits for the old slot
		w.counts()
		pass(time.Minute + time.Second)
		if _, gets := w.counts(); gets < 100 || gets > 130 {
			t.Errorf("with twenty slots: %d refreshes of 10 s each in a minute", gets)
		}
	})
}
