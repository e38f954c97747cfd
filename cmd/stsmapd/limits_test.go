package main

import (
	"math"
	"testing"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/admin"
	"github.com/stsmapd/stsmapd/resolver/dnsclient"
	"github.com/stsmapd/stsmapd/socketmap"
)

func TestFileBudget(t *testing.T) {
	const usual = 64
	for _, c := range []struct {
		why     string
		limit   uint64
		fetches int
		want    fileBudget
	}{
		{"the unit's limit", 65536, usual,
			fileBudget{65536, socketmap.DefaultMaxConns, dnsclient.DefaultMaxSockets, usual}},
		{"no limit", math.MaxUint64, usual,
			fileBudget{math.MaxInt32, socketmap.DefaultMaxConns, dnsclient.DefaultMaxSockets, usual}},
		{"a shell's limit", 1024, usual, fileBudget{1024, 512, 160, usual}},
		{"enough for lookups, not for all connections", 4096, usual,
			fileBudget{4096, 4096 - 96 - 1000 - 256, 1000, usual}},
		{"many fetches under a small limit", 1024, 1000, fileBudget{1024, 512, 140, 69}},
		{"hardly anything", 256, usual, fileBudget{256, 128, 12, 5}},
		{"less than stsmapd needs for itself", 64, usual, fileBudget{64, 32, 1, 1}},
	} {
		if got := newFileBudget(c.limit, fixedFiles, c.fetches); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.why, got, c.want)
		}
	}
}

// TestFileBudgetLeavesRoom: whatever the limit, connections and lookups never need more than it has.
func TestFileBudgetLeavesRoom(t *testing.T) {
	for limit := uint64(768); limit < 1<<17; limit += 97 {
		for _, fetches := range []int{1, 64, 5000} {
			for _, fixed := range []int{fixedFiles, fixedFiles + admin.MaxConns} {
				b := newFileBudget(limit, fixed, fetches)
				if sum := b.connections + b.dns + filesPerFetch*b.fetches + fixed; sum > b.limit {
					t.Fatalf("limit %d, %d fetches: %+v needs %d", limit, fetches, b, sum)
				}
			}
		}
	}
}
