package resolver

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/resolver/dnsclient"
	"github.com/stsmapd/stsmapd/resolver/mtasts"

	"github.com/stsmapd/stsmapd/resolver/fetch"
)

func TestDiscoveryResults(t *testing.T) {
	for _, c := range []struct {
		d    discovery
		want string
	}{
		{announced{id: "1"}, "announced"},
		{unannounced{why: mtasts.ErrNoRecord}, "no_record"},
		{unannounced{why: fmt.Errorf("look: %w", mtasts.ErrMultipleRecords)}, "multiple_records"},
		{unannounced{why: &mtasts.SyntaxError{Line: 1, Msg: "no id"}}, "invalid_record"},
		{undiscovered{&dnsclient.Error{Kind: dnsclient.Timeout}}, "dns_timeout"},
		{undiscovered{fmt.Errorf("look: %w", &dnsclient.Error{Kind: dnsclient.ServerFailure})}, "dns_server_failure"},
		{undiscovered{&dnsclient.Error{Kind: dnsclient.Cancelled}}, "dns_cancelled"},
		{undiscovered{&dnsclient.Error{Kind: dnsclient.Cancelled + 1}}, "dns_other"},
		{undiscovered{errors.New("no such kind")}, "dns_other"},
	} {
		if got := resultOf(c.d).String(); got != c.want {
			t.Errorf("%#v is counted as %s, want %s", c.d, got, c.want)
		}
	}
	seen := map[string]bool{}
	for r := range discoveryResults {
		word := r.String()
		if seen[word] || word == "" || strings.Trim(word, "abcdefghijklmnopqrstuvwxyz_") != "" {
			t.Errorf("result %d has the word %q", r, word)
		}
		seen[word] = true
	}
}

func TestFetchCounts(t *testing.T) {
	var m metrics
	m.fetched(nil)
	m.fetched(fmt.Errorf("refresh: %w", &fetch.Error{Kind: fetch.Certificate, Err: errors.New("expired")}))
	m.fetched(&fetch.Error{Kind: fetch.HostFault + 1, Err: errors.New("of a later version")})
	m.fetched(errors.New("no FetchError at all"))
	for kind, want := range map[fetch.Kind]uint64{0: 1, fetch.Certificate: 1, fetch.Unreachable: 2, fetch.Refused: 0} {
		if got := m.fetches[kind].Load(); got != want {
			t.Errorf("%v is counted %d times, want %d", kind, got, want)
		}
	}
}

func TestHistogram(t *testing.T) {
	h := histogram{bounds: waitBounds()}
	for _, d := range []time.Duration{0, time.Millisecond, time.Millisecond + 1, 100 * time.Second, -time.Second} {
		h.observe(d)
	}
	r := h.read()
	if r.Counts[0] != 3 || r.Counts[1] != 1 || r.Over != 1 {
		t.Errorf("counts %v, over %d", r.Counts, r.Over)
	}
	for _, bounds := range [][histogramBounds]time.Duration{waitBounds(), memoryBounds()} {
		for i := range bounds[1:] {
			if bounds[i] >= bounds[i+1] {
				t.Errorf("bounds %v and %v are not in order", bounds[i], bounds[i+1])
			}
		}
	}
	if n := testing.AllocsPerRun(100, func() { h.observe(time.Second) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
