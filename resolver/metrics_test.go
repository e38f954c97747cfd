package resolver

import (
	"errors"
	"fmt"
	"strings"
	"testing"

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

func TestFetchKinds(t *testing.T) {
	for _, c := range []struct {
		err  error
		want fetch.Kind
	}{
		{nil, 0},
		{fmt.Errorf("refresh: %w", &fetch.Error{Kind: fetch.Certificate, Err: errors.New("expired")}),
			fetch.Certificate},
		{&fetch.Error{Kind: fetch.HostFault + 1, Err: errors.New("of a later version")}, fetch.Unreachable},
		{errors.New("no fetch.Error at all"), fetch.Unreachable},
	} {
		if got := kindOf(c.err); got != c.want {
			t.Errorf("%v is counted as %v, want %v", c.err, got, c.want)
		}
	}
}

// TestCountingDoesNotAllocate: to count and to measure is part of each answer.
func TestCountingDoesNotAllocate(t *testing.T) {
	m, looked := newMetrics(nil), discovery(announced{})
	if n := testing.AllocsPerRun(10*sampleRate, func() {
		m.answered(m.sample())
		m.discovered(looked)
		m.fetched(nil)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
