package dane

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// fakeAddress is an address of a fakePostfix: of which host, which preference, and which family.
type fakeAddress struct {
	host       int
	preference uint16
	v6         bool
}

// fakePostfix returns the addresses that Postfix 3.7 to 3.11 tries, by its manual: shuffled (smtp_randomize_addresses),
// sorted by preference, the families balanced (smtp_balance_inet_protocols), and five of them (smtp_mx_address_limit).
func fakePostfix(r *rand.Rand, hosts []mxHost) []fakeAddress {
	var list []fakeAddress
	for i, h := range hosts {
		for _, p := range h.preferences {
			list = append(list, slices.Repeat([]fakeAddress{{i, p, false}}, h.addresses.v4)...)
			list = append(list, slices.Repeat([]fakeAddress{{i, p, true}}, h.addresses.v6)...)
		}
	}
	r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	slices.SortStableFunc(list, func(a, b fakeAddress) int { return int(a.preference) - int(b.preference) })
	room := map[bool]int{}
	for _, a := range list {
		room[a.v6]++
	}
	if room[false] > 0 && room[true] > 0 && len(list) > 5 {
		switch {
		case room[true] <= 2:
			room[false] = 5 - room[true]
		case room[false] <= 2:
			room[true] = 5 - room[false]
		default:
			room[list[0].v6], room[!list[0].v6] = 3, 2
		}
		list = slices.DeleteFunc(list, func(a fakeAddress) bool {
			room[a.v6]--
			return room[a.v6] < 0
		})
	}
	return list[:min(5, len(list))]
}

// TestInReach compares with many orders of random hosts.
func TestInReach(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	in, out := 0, 0
	for range 400 {
		hosts := make([]mxHost, 1+r.IntN(5))
		for i := range hosts {
			h := &hosts[i]
			h.state, h.preferences = HostPlain, []uint16{uint16(r.IntN(4))}
			if r.IntN(8) == 0 {
				h.preferences = append(h.preferences, h.preferences[0]+1)
			}
			h.addresses = [...]addressCount{{1, 0}, {0, 1}, {1, 1}, {2, 1}, {1, 3}, {3, 0}, {0, 4}, {0, 0}}[r.IntN(8)]
		}
		reached := make([]bool, len(hosts))
		for range 3000 {
			for _, a := range fakePostfix(r, hosts) {
				reached[a.host] = true
			}
		}
		for i, want := range reached {
			if got := inReach(hosts, i); got != want {
				t.Errorf("host %d of %s: in reach %v, want %v", i, describeHosts(hosts), got, want)
			}
			if want {
				in++
			} else {
				out++
			}
		}
	}
	if in < 200 || out < 200 {
		t.Errorf("%d hosts in reach and %d out of it say too little", in, out)
	}
}

func describeHosts(hosts []mxHost) (text string) {
	for _, h := range hosts {
		text += fmt.Sprintf(" %v: %d IPv4, %d IPv6;", h.preferences, h.addresses.v4, h.addresses.v6)
	}
	return text
}
