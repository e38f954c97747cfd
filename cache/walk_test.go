package cache

import (
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/cache/store/storetest"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

func TestMemoryWalk(t *testing.T) {
	m := NewMemory(MemoryOptions{MaxPolicies: 5000})
	for range m.All() {
		t.Fatal("an empty memory has a policy")
	}
	const n = 2000
	for i := range n {
		m.PutPolicy(resolver.NewCachedPolicy(storetest.Entry(i, storetest.Clock()), time.Time{}))
	}
	m.ForgetPolicy(storetest.Domain(7))
	seen := map[dnsname.Name]int{}
	for h := range m.All() {
		seen[h.Entry().Domain]++
	}
	if len(seen) != n-1 || seen[storetest.Domain(7)] != 0 {
		t.Errorf("%d of %d policies, the forgotten one %d times", len(seen), n-1, seen[storetest.Domain(7)])
	}
	for domain, times := range seen {
		if times != 1 {
			t.Errorf("%s: %d times", domain, times)
		}
	}
	for range m.All() {
		break // ends the walk
	}
}
