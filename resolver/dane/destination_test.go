package dane

import (
	"context"
	"testing"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// TestDestinations: TLSA records count for the port and the hosts that Postfix connects to, and for no others.
func TestDestinations(t *testing.T) {
	zone := testZone{
		"MX example.test":                 "mx1.example.test",
		"A mx1.example.test":              "192.0.2.1",
		"TLSA _25._tcp.mx1.example.test":  "3-1-1",
		"TLSA _587._tcp.mx1.example.test": "",
		"A example.test":                  "192.0.2.3",
		"TLSA _25._tcp.example.test":      "",
		"TLSA _587._tcp.example.test":     "3-1-1",
	}
	example := dnsname.MustParse("example.test")
	for _, c := range []struct {
		why  string
		to   Destination
		want Status
	}{
		{"by MX, port 25", Destination{Domain: example}, Usable},
		{"by MX, another port", Destination{Domain: example, Port: 587}, None},
		{"the name itself: the MX hosts do not matter", Destination{Domain: example, Direct: true}, None},
		{"the name itself, another port", Destination{Domain: example, Port: 587, Direct: true}, Usable},
	} {
		withBench(t, func(t *testing.T, b *bench) {
			b.dns.zone = zone
			if f := b.Find(context.Background(), c.to); f.Status != c.want {
				t.Errorf("%s: %v found %v (%v), want %v", c.why, c.to, f.Status, f.Err, c.want)
			}
			asked := b.dns.count("MX example.test")
			if (asked == 0) != c.to.Direct {
				t.Errorf("%s: %d MX lookups", c.why, asked)
			}
		})
	}
}

func TestDestinationText(t *testing.T) {
	name := dnsname.MustParse("mail.example.test")
	for want, d := range map[string]Destination{
		"mail.example.test":       {Domain: name},
		"mail.example.test:587":   {Domain: name, Port: 587},
		"[mail.example.test]":     {Domain: name, Port: 25, Direct: true},
		"[mail.example.test]:587": {Domain: name, Port: 587, Direct: true},
	} {
		if d.String() != want {
			t.Errorf("%+v is written %s, want %s", d, d, want)
		}
	}
}
