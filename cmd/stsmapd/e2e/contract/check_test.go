package contract

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
)

// checked is what these tests read of a report.
type checked struct {
	Domain string `json:"domain"`
	MX     struct {
		Hosts []struct {
			TLS *struct {
				Certificates []struct {
					NotAfter time.Time `json:"not_after"`
				} `json:"certificates"`
			} `json:"tls"`
		} `json:"hosts"`
	} `json:"mx"`
	Answers []struct{ Map, Reply string } `json:"answers"`
	Result  struct {
		OK       bool   `json:"ok"`
		Delivery string `json:"delivery"`
		WithDANE string `json:"delivery_with_dane"`
		Summary  string `json:"summary"`
	} `json:"result"`
}

func checkJSON(t *testing.T, w *world.World, config string, d *world.Domain) checked {
	t.Helper()
	got := w.Command(t, nil, "check", "--json", "--config", config, d.Name)
	var r checked
	if err := json.Unmarshal([]byte(got.Stdout), &r); err != nil || r.Domain != d.Name ||
		r.Result.OK != (got.Code == 0) {
		t.Fatalf("exit code %d, %v: %s%s", got.Code, err, got.Stdout, got.Stderr)
	}
	return r
}

// foretold is what becomes of a mail by Postfix's words.
func foretold(delivery string) string {
	switch delivery {
	case "verified", "unverified":
		return "sent"
	}
	return delivery
}

// TestCheckForetellsDelivery holds check to what Postfix did with the same domains in TestDeliveries.
func TestCheckForetellsDelivery(t *testing.T) {
	t.Parallel()
	w := world.Open(t)
	config := w.CheckConfig(t, netip.Addr{})
	for _, c := range deliveryCases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := w.Domain("check-" + c.name)
			c.setUp(t, w, d)
			r := checkJSON(t, w, config, d)
			if got := foretold(r.Result.Delivery); got != c.status ||
				(r.Result.Delivery == "verified") != (c.tls == "Verified") {
				t.Errorf("%s: check says %q; Postfix: %s, TLS %q", c.why, r.Result.Summary, c.status, c.tls)
			}
			if strings.Contains(r.Result.Summary, "expired on ") {
				if end := r.MX.Hosts[0].TLS.Certificates[0].NotAfter; !strings.HasSuffix(r.Result.Summary,
					"expired on "+end.Format(time.DateOnly)) {
					t.Errorf("%q, but the certificate ended %v", r.Result.Summary, end)
				}
			}
		})
	}
}

// TestCheckForetellsDANE holds check to what a Postfix with DANE did with the same domains in TestDANE, and its
// answers to the daemon's.
func TestCheckForetellsDANE(t *testing.T) {
	t.Parallel()
	w := world.Open(t)
	v := w.Validator(t)
	config := w.CheckConfig(t, v.Addr)
	daemon := w.StartDaemon(t, world.DaemonConfig{Resolver: v.Addr})
	for _, c := range daneCases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := w.SignedDomain(t, "check-"+c.name)
			if c.unsigned {
				d = w.Domain("check-" + c.name)
			}
			c.setUp(t, w, d)
			r := checkJSON(t, w, config, d)
			if got := foretold(r.Result.WithDANE); got != c.status {
				t.Errorf("%s: check says %s (%q); Postfix: %s", c.why, r.Result.WithDANE, r.Result.Summary, c.status)
			}
			for _, a := range r.Answers {
				if got := strings.TrimSpace(daemon.Ask(t, a.Map, d.Name)); got != a.Reply {
					t.Errorf("%s: to %s the daemon answers %q, check says %q", c.why, a.Map, got, a.Reply)
				}
			}
		})
	}
}
