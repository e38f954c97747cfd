package fair

import "hash/maphash"

// tallyCells is how many owners a row of a Tally tells apart.
const tallyCells = 1 << 16

// Tally sums up what each of millions of owners holds, in 1 MiB. What it tells is never too little, and rarely too
// much: owners whose cells coincide in both rows count together. It is not safe for concurrent use.
type Tally struct {
	seeds [2]maphash.Seed
	rows  [2][]uint64
}

// NewTally returns an empty tally.
func NewTally() *Tally {
	t := &Tally{}
	for i := range t.rows {
		t.seeds[i], t.rows[i] = maphash.MakeSeed(), make([]uint64, tallyCells)
	}
	return t
}

// Add adds n to what each of the owners holds.
func (t *Tally) Add(owners Owners, n uint64) {
	for _, o := range owners {
		for i := range t.rows {
			if cell := t.cell(i, o); o != (Owner{}) {
				*cell += n
			}
		}
	}
}

// Of returns how much the one of the owners holds that holds most.
func (t *Tally) Of(owners Owners) (most uint64) {
	for _, o := range owners {
		if o != (Owner{}) {
			most = max(most, min(*t.cell(0, o), *t.cell(1, o)))
		}
	}
	return most
}

func (t *Tally) cell(row int, o Owner) *uint64 {
	return &t.rows[row][maphash.Comparable(t.seeds[row], o)%tallyCells]
}
