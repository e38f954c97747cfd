package tlspolicy

import (
	"math/rand/v2"
	"sync/atomic"

	"github.com/stsmapd/stsmapd/resolver"
)

// Count is the number of questions to one map with one outcome.
type Count struct {
	Map     string // as Features.String returns it; UnknownMap for an unknown name
	Outcome string // as resolver.Outcome.String returns it, or NoDomainOutcome
	N       uint64
}

const (
	// UnknownMap is the Map of questions with an unknown map name.
	UnknownMap = "unknown"
	// NoDomainOutcome is the Outcome of questions for addresses, parent domains and invalid names. They are answered
	// NOTFOUND without a lookup.
	NoDomainOutcome = "no_domain"
)

const (
	countShards   = 8  // so that processors seldom change the same cache line
	countMaps     = 64 // the number of sets of features
	countOutcomes = 16 // 0 is NoDomainOutcome; the others are a resolver.Outcome
)

// counts counts questions. Counting one is an atomic addition, without a lock.
type counts struct {
	shards  [countShards][countMaps][countOutcomes]atomic.Uint64
	unknown atomic.Uint64
}

func (c *counts) add(f Features, o resolver.Outcome) {
	c.shards[rand.Uint32()%countShards][f.index()][o%countOutcomes].Add(1)
}

// list returns the counts of all outcomes for each map with a question, and those with an unknown map name.
func (c *counts) list() []Count {
	var list []Count
	for m := range countMaps {
		var sums [countOutcomes]uint64
		asked := false
		for s := range countShards {
			for o := range sums {
				n := c.shards[s][m][o].Load()
				sums[o] += n
				asked = asked || n > 0
			}
		}
		if !asked {
			continue
		}
		name := featuresAt(m).String()
		for o, n := range sums {
			if word := outcomeLabel(o); word != "" {
				list = append(list, Count{name, word, n})
			}
		}
	}
	return append(list, Count{UnknownMap, NoDomainOutcome, c.unknown.Load()})
}

// outcomeLabel returns the Outcome of a Count, "" if o is not one.
func outcomeLabel(o int) string {
	if o == 0 {
		return NoDomainOutcome
	}
	if word := resolver.Outcome(o).String(); word != "invalid" {
		return word
	}
	return ""
}
