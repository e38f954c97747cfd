package fetch

import (
	"context"
	"crypto/x509"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stsmapd/stsmapd/resolver/fair"
	"github.com/stsmapd/stsmapd/resolver/fault"
)

// TestAdmission: before the first connection, and once, a fetch asks whether it may connect to the network of the
// address that it tries first. The wait is no time of the fetch; a refusal ends it, and is no fault of the domain's.
func TestAdmission(t *testing.T) {
	refusal := &fault.Error{Kind: fault.Exhausted, Err: errors.New("no slot")}
	for _, c := range []struct {
		why     string
		takes   time.Duration // of the only address, which then refuses
		refuses error
		want    string // in the error
		kind    Kind
		outer   time.Duration // the limit of the caller's context
	}{
		{"there is time left after the wait", 900 * ms, nil, "5.0.0.1 refuses", Unreachable, time.Minute},
		{"there is not", 1100 * ms, nil, "not finished within 1s", Unreachable, time.Minute},
		{"there is, by the caller's limit too", 900 * ms, nil, "5.0.0.1 refuses", Unreachable, 950 * ms},
		{"there is not, by the caller's limit", 900 * ms, nil, ": the caller's limit", Unreachable, 850 * ms},
		{"it is refused", 0, refusal, "no slot", HostFault, time.Minute},
	} {
		synctest.Test(t, func(t *testing.T) {
			n := &network{t: t, begin: time.Now(), takes: map[string]time.Duration{"5.0.0.1": c.takes},
				refusing: map[string]bool{"5.0.0.1": true}}
			d := testDialer(t, n, said{}, said{addrs: []string{"5.0.0.1"}})
			roots := x509.NewCertPool()
			roots.AddCert(newCA(t).cert)
			f := New(d.dns, Config{Roots: roots, Timeout: time.Second})
			f.dialer = d
			var asked []fair.Network
			limited, limit, cancel := WithLimit(t.Context(), c.outer, errors.New("the caller's limit"))
			defer cancel()
			ctx := WithAdmission(limited, func(_ context.Context, network fair.Network) error {
				asked = append(asked, network)
				<-time.After(20 * time.Second)
				return c.refuses
			})
			_, err := f.Fetch(ctx, fetchDomain())
			if spent, most := limit.Spent(), min(c.takes, c.outer, time.Second); spent != most {
				t.Errorf("%s: the fetch took %v, want %v", c.why, spent, most)
			}
			var failed *Error
			if !errors.As(err, &failed) || failed.Kind != c.kind || !strings.Contains(err.Error(), c.want) ||
				strings.Contains(err.Error(), "context canceled") {
				t.Errorf("%s: %v, want %q", c.why, err, c.want)
			}
			if want := fair.NetworkOf(netip.MustParseAddr("5.0.0.200")); len(asked) != 1 || asked[0] != want {
				t.Errorf("%s: asked for the networks %x, want %x", c.why, asked, want)
			}
			if tried := len(n.tried()); (c.refuses == nil) != (tried == 1) {
				t.Errorf("%s: %d connections", c.why, tried)
			}
		})
	}
}
