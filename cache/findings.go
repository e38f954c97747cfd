package cache

import "github.com/stsmapd/stsmapd/resolver/dane"

// maxDANEFindings bounds how many destinations have a DANE finding in memory. Only those with a live enforce policy
// are asked about.
const maxDANEFindings = 100_000

// NewDANEFindings returns an empty dane.Memory.
func NewDANEFindings() *Bounded[dane.Destination, dane.Entry] {
	return NewBounded[dane.Destination](Bounds{Count: maxDANEFindings}, Rank[dane.Entry]{})
}
