package resolver_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
	"github.com/stsmapd/stsmapd/resolver/tlsrpt"

	"github.com/stsmapd/stsmapd/resolver/fetch"

	"github.com/stsmapd/stsmapd/resolver/dane"
)

// collector keeps the reports that it is sent.
type collector struct {
	mu      sync.Mutex
	reports []tlsrpt.Report
}

// Stats implements resolver.Reporter.
func (c *collector) Stats() (sent, dropped uint64) { return 0, 0 }

func (c *collector) Send(r tlsrpt.Report) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reports = append(c.reports, r)
}

// take returns the reports since it was last called.
func (c *collector) take() []tlsrpt.Report {
	c.mu.Lock()
	defer c.mu.Unlock()
	taken := c.reports
	c.reports = nil
	return taken
}

// failing is a Fetcher that fails in one way.
type failing fetch.Kind

func (f failing) Fetch(_ context.Context, domain dnsname.Name) (mtasts.Policy, error) {
	return mtasts.Policy{}, &fetch.Error{Domain: domain, Kind: fetch.Kind(f), Err: errMute}
}

func TestReports(t *testing.T) {
	const record = "v=TLSRPTv1; rua=mailto:tls@example.test"
	for _, c := range []struct {
		why  string
		kind fetch.Kind
		want tlsrpt.Failure
	}{
		{"no connection", fetch.Unreachable, tlsrpt.FetchError},
		{"a status other than 200", fetch.Refused, tlsrpt.FetchError},
		{"not text/plain", fetch.MediaType, tlsrpt.FetchError},
		{"too large", fetch.TooLarge, tlsrpt.FetchError},
		{"an invalid policy", fetch.Invalid, tlsrpt.PolicyInvalid},
		{"a bad certificate", fetch.Certificate, tlsrpt.WebPKIInvalid},
	} {
		synctest.Test(t, func(t *testing.T) {
			w, to := newWorld(t), new(collector)
			w.publish("example.test", "1", "")
			s := w.start()
			defer s.Close()
			settings := resolver.Settings{DNS: w, Fetcher: failing(c.kind), Reporter: to}
			s.Reconfigure(settings)

			wantOutcome(t, c.why, s, "example.test", resolver.Unfetched)
			synctest.Wait()
			if got := to.take(); len(got) != 0 {
				t.Errorf("%s: a report for a domain without a TLSRPT record: %+v", c.why, got)
			}

			w.set(func() { w.tlsrpt = map[string][]string{"example.test": {record}} })
			pass(5 * minute)
			wantOutcome(t, c.why, s, "example.test", resolver.Unfetched)
			synctest.Wait()
			got := to.take()
			if len(got) != 1 || got[0].Failure != c.want || got[0].Record != record ||
				got[0].Domain.String() != "example.test" ||
				got[0].Policy != nil || got[0].MX != nil || got[0].Reason == "" {
				t.Fatalf("%s: reports %+v", c.why, got)
			}
			wantOutcome(t, c.why, s, "example.test", resolver.Unfetched)
			synctest.Wait()
			if got := to.take(); len(got) != 0 {
				t.Errorf("%s: a question without a fetch was reported: %+v", c.why, got)
			}
		})
	}
}

// TestReportsOfLivePolicies: a failed refresh is reported with the policy that is still in force; not for mode none.
func TestReportsOfLivePolicies(t *testing.T) {
	for _, mode := range []string{"enforce", "testing", "none"} {
		synctest.Test(t, func(t *testing.T) {
			w, to := newWorld(t), new(collector)
			w.tlsrpt = map[string][]string{"example.test": {"v=TLSRPTv1; rua=mailto:tls@example.test"}}
			w.publish("example.test", "1", body(mode, 7*day, "mx.example.test", "*.example.net"))
			s := w.start()
			defer s.Close()
			ask(s, "example.test")
			if w.tlsrptLookups != 0 {
				t.Error("the TLSRPT record was looked up though there was nothing to report")
			}
			w.set(func() { w.ids["example.test"] = "2" })
			s.Reconfigure(resolver.Settings{DNS: w, Fetcher: failing(fetch.Invalid), Reporter: to})
			pass(6 * time.Minute)
			ask(s, "example.test")
			synctest.Wait()
			got := to.take()
			if mode == "none" {
				if len(got) != 0 || w.tlsrptLookups != 0 {
					t.Errorf("a failed fetch was reported though the policy has mode none: %+v", got)
				}
				return
			}
			if len(got) != 1 || got[0].Failure != tlsrpt.PolicyInvalid ||
				!slices.Contains(got[0].Policy, "mode: "+mode) ||
				!slices.Equal(got[0].MX, []string{"mx.example.test", "*.example.net"}) {
				t.Errorf("mode %s: reports %+v", mode, got)
			}
		})
	}
}

// TestDANEIsAskedOnlyWhereAPolicyBinds: for every other domain Postfix's own DANE acts.
func TestDANEIsAskedOnlyWhereAPolicyBinds(t *testing.T) {
	for _, c := range []struct {
		mode    string
		strict  bool
		lookups int
		want    resolver.Outcome
	}{
		{"testing", false, 0, resolver.Testing},
		{"none", true, 0, resolver.None},
		{"testing", true, 1, resolver.Enforce},
		{"enforce", false, 2, resolver.Enforce}, // one is the lint's
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.publish("example.test", "1", body(c.mode, day, "mx.example.test"))
			s := w.start()
			defer s.Close()
			q := resolver.Question{Destination: dane.Destination{Domain: dnsname.MustParse("example.test")},
				Strict: c.strict, DANE: true}
			v := s.Answer(t.Context(), q)
			synctest.Wait()
			if v.Outcome != c.want || w.mxLookups != c.lookups {
				t.Errorf("mode %s, strict %v: %v after %d MX lookups, want %v after %d", c.mode, c.strict, v.Outcome,
					w.mxLookups, c.want, c.lookups)
			}
		})
	}
}
