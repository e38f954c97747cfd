package fair

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

func TestRegistrable(t *testing.T) {
	for _, c := range []struct{ why, domain, want string }{
		{"a registered domain", "example.com", "example.com"},
		{"below it", "a.b.example.com", "example.com"},
		{"a suffix of two labels", "mail.example.co.uk", "example.co.uk"},
		{"a suffix that gives away names", "victim.github.io", "victim.github.io"},
		{"the suffix itself", "co.uk", "co.uk"},
		{"a top-level domain that is not listed", "a.example.test", "example.test"},
	} {
		if got := Registrable(dnsname.MustParse(c.domain)); got != c.want {
			t.Errorf("%s: %s, want %s", c.why, got, c.want)
		}
	}
}

func TestNetwork(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.0", "192.0.2.255", true},
		{"192.0.2.77", "::ffff:192.0.2.1", true},
		{"192.0.2.77", "192.0.3.77", false},
		{"192.0.2.77", "193.0.2.77", false},
		{"2001:db8:1:2::3", "2001:db8:1:ffff::", true},
		{"2001:db8:1:2::3", "2001:db8:2:2::3", false},
		{"2001:db8:1:2::3", "3001:db8:1:2::3", false},
		{"fe80::1%eth0", "fe80::2%eth1", true},
		{"0.0.0.0", "::", false},
	} {
		a, b := NetworkOf(netip.MustParseAddr(c.a)), NetworkOf(netip.MustParseAddr(c.b))
		if (a == b) != c.same || a == 0 || b == 0 {
			t.Errorf("%s is in %x, %s in %x", c.a, a, c.b, b)
		}
	}
	if got := NetworkOf(netip.Addr{}); got != 0 {
		t.Errorf("no address: %x", got)
	}
}

// TestTally: the owner that holds most counts; what is unknown holds nothing; a hundred thousand others hardly matter.
func TestTally(t *testing.T) {
	tally := NewTally()
	host := NetworkOf(netip.MustParseAddr("192.0.2.1"))
	for i := range 100_000 {
		tally.Add(Of(dnsname.MustParse(fmt.Sprintf("a.d%d.test", i)), 0), 1)
	}
	for i := range 1000 {
		tally.Add(Of(dnsname.MustParse(fmt.Sprintf("b%d.flood.test", i)), 0), 10)
		tally.Add(Of(dnsname.MustParse(fmt.Sprintf("hosted%d.test", i)), host), 20)
	}
	for _, c := range []struct {
		why     string
		domain  string
		network Network
		least   uint64
	}{
		{"one of many", "a.d7.test", 0, 1},
		{"a registrable domain that holds much", "new.flood.test", 0, 10_000},
		{"a network that holds more", "new.flood.test", host, 20_000},
		{"nobody", "none.test", 0, 0},
	} {
		if got := tally.Of(Of(dnsname.MustParse(c.domain), c.network)); got < c.least || got > c.least+50 {
			t.Errorf("%s: holds %d, want %d or little more", c.why, got, c.least)
		}
	}
}
