package dane

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestInspect compares what Inspect finds, and why, with what the service finds.
func TestInspect(t *testing.T) {
	const mx1, mx2 = "TLSA _25._tcp.mx1.example.test", "TLSA _25._tcp.mx2.example.test"
	for _, c := range []struct {
		why      string
		zone     testZone
		unsigned []string
		hosts    string // name, state, where, how many records
	}{
		{"usable", twoHosts(), nil,
			"mx1.example.test usable _25._tcp.mx1.example.test 1, " +
				"mx2.example.test usable _25._tcp.mx2.example.test 1"},
		{"unusable, and none", twoHosts().with(testZone{mx1: "pkix short", mx2: "NXDOMAIN"}), nil,
			"mx1.example.test unusable _25._tcp.mx1.example.test 2, " +
				"mx2.example.test plain _25._tcp.mx2.example.test 0"},
		{"records that are not signed are none", twoHosts(), []string{"_tcp.mx1.example.test"},
			"mx1.example.test plain _25._tcp.mx1.example.test 0, " +
				"mx2.example.test usable _25._tcp.mx2.example.test 1"},
		{"one cannot be looked up", twoHosts().with(testZone{mx2: "SERVFAIL"}), nil,
			"mx1.example.test usable _25._tcp.mx1.example.test 1, " +
				"mx2.example.test unknown _25._tcp.mx2.example.test 0"},
		{"none can", twoHosts().with(testZone{mx1: "SERVFAIL", mx2: "SERVFAIL"}), nil,
			"mx1.example.test unknown _25._tcp.mx1.example.test 0, " +
				"mx2.example.test unknown _25._tcp.mx2.example.test 0"},
		{"a host away", twoHosts().with(testZone{"A mx2.example.test": ""}), nil,
			"mx1.example.test usable _25._tcp.mx1.example.test 1, " +
				"mx2.example.test no_address  0"},
		{"an alias: the records at its end go before",
			testZone{"MX example.test": "mx.example.test", "A mx.example.test": "-> mail.host.test",
				"A mail.host.test": "192.0.2.1", "TLSA _25._tcp.mail.host.test": "3-1-1"}, nil,
			"mx.example.test usable _25._tcp.mail.host.test 1"},
		{"not signed", testZone{"MX example.test": "mx.host.test"}, []string{"example.test"}, ""},
		{"MX cannot be looked up", testZone{"MX example.test": "SERVFAIL"}, nil, ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, c.zone)
			defer b.Close()
			b.dns.unsigned = c.unsigned
			in := Inspect(context.Background(), b.dns, exampleTest)
			var hosts []string
			for _, h := range in.Hosts {
				hosts = append(hosts, fmt.Sprintf("%s %v %s %d", h.Name, h.State, h.At, len(h.Records)))
				if (h.State == HostUnknown) != (h.Err != nil) {
					t.Errorf("%s: %s is %v, with error %v", c.why, h.Name, h.State, h.Err)
				}
			}
			if got := strings.Join(hosts, ", "); got != c.hosts {
				t.Errorf("%s: hosts\n %s, want\n %s", c.why, got, c.hosts)
			}
			want := b.Find(context.Background(), exampleTest)
			got := in.Finding()
			if got.Status != want.Status || fmt.Sprint(got.Err) != fmt.Sprint(want.Err) {
				t.Errorf("%s: found %v (%v), the service %v (%v)", c.why, got.Status, got.Err, want.Status, want.Err)
			}
		})
	}
}

func TestInspectInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newFakeDNS(t, twoHosts())
		d.slow["TLSA _25._tcp.mx1.example.test"] = time.Hour
		d.slow["TLSA _25._tcp.mx2.example.test"] = time.Hour
		begin := time.Now()
		in := Inspect(context.Background(), d, exampleTest)
		if in.Status != Failed || in.Err == nil || time.Since(begin) != lookupLimit {
			t.Errorf("%v (%v) after %v", in.Status, in.Err, time.Since(begin))
		}
		direct := Destination{Domain: exampleTest.Domain, Port: 587, Direct: true}
		d = newFakeDNS(t, testZone{"A example.test": "192.0.2.1", "TLSA _587._tcp.example.test": "3-1-1"})
		if in := Inspect(context.Background(), d, direct); in.Status != Usable ||
			in.Hosts[0].At != "_587._tcp.example.test" {
			t.Errorf("a next hop in brackets: %+v", in)
		}
	})
}

func TestHostWords(t *testing.T) {
	for s, want := range []string{"unknown", "no_address", "plain", "unusable", "usable", "invalid"} {
		if got := HostState(s).String(); got != want {
			t.Errorf("state %d is %q, want %q", s, got, want)
		}
	}
}
