package tlspolicy

import (
	"math/rand/v2"
	"sync/atomic"

	"github.com/stsmapd/stsmapd/resolver"
)

// Count is how often a map was asked with one outcome.
type Count struct {
	Map     string // as Features.String spells it; UnknownMap for names that are none
	Outcome string // resolver.Outcome's word, or NoDomain
	N       uint64
}

const (
	// UnknownMap is the Map of questions to a map that there is not.
	UnknownMap = "unknown"
	// NoDomainOutcome is the Outcome of questions about addresses, parent domains and what is no name: NOTFOUND, at
	// once.
	NoDomainOutcome = "no_domain"
)

const (
	countShards   = 8  // connections on several processors seldom count on the same memory
	countMaps     = 64 // every set of features
	countOutcomes = 16 // 0: no domain; the others are a resolver.Outcome
)

// counts count questions. To count is one addition, without a lock.
type counts struct {
	shards  [countShards][countMaps][countOutcomes]atomic.Uint64
	unknown atomic.Uint64
}

func (c *counts) add(f Features, o resolver.Outcome) {
	c.shards[rand.Uint32()%countShards][f.index()][o%countOutcomes].Add(1)
}

// Counts returns the questions answered since the handler was made: of each map that was asked at all, all outcomes.
func (h *Handler) Counts() []Count {
	var list []Count
	for m := range countMaps {
		var sums [countOutcomes]uint64
		asked := false
		for s := range countShards {
			for o := range sums {
				n := h.counts.shards[s][m][o].Load()
				sums[o] += n
				asked = asked || n > 0
			}
		}
		if !asked {
			continue
		}
		name := featuresAt(m).String()
		for o, n := range sums {
			if word := outcomeWord(o); word != "" {
				list = append(list, Count{name, word, n})
			}
		}
	}
	return append(list, Count{UnknownMap, NoDomainOutcome, h.counts.unknown.Load()})
}

// outcomeWord is the label of a column; "" where there is none.
func outcomeWord(o int) string {
	if o == 0 {
		return NoDomainOutcome
	}
	if word := resolver.Outcome(o).String(); word != "invalid" {
		return word
	}
	return ""
}

// words are the features in the order in which String writes them.
func (f *Features) words() [6]*bool {
	return [...]*bool{&f.DANE, &f.TLSRPT, &f.Strict, &f.Defer, &f.NoSNI, &f.Shadow}
}

// index is a number below countMaps, another for each set of features.
func (f Features) index() int {
	i := 0
	for bit, flag := range f.words() {
		if *flag {
			i |= 1 << bit
		}
	}
	return i
}

// featuresAt is the inverse of index.
func featuresAt(i int) Features {
	var f Features
	for bit, flag := range f.words() {
		*flag = i&(1<<bit) != 0
	}
	return f
}

// String is the map name that says these features, in one order whatever the one asked in: sts+dane+tlsrpt.
func (f Features) String() string {
	name := "sts"
	for i, flag := range f.words() {
		if *flag {
			name += "+" + [...]string{"dane", "tlsrpt", "strict", "defer", "nosni", "shadow"}[i]
		}
	}
	return name
}
