package cache

import (
	"iter"

	"github.com/stsmapd/stsmapd/resolver"
)

// All yields every policy that is in memory throughout the walk; others may or may not appear. The policies of one
// shard are copied at a time, so that nothing is locked between two yields.
func (m *Memory) All() iter.Seq[*resolver.CachedPolicy] {
	return func(yield func(*resolver.CachedPolicy) bool) {
		for i := range m.policies {
			for _, h := range m.policies[i].all() {
				if !yield(h) {
					return
				}
			}
		}
	}
}
