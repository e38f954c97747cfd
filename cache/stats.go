package cache

import "sync/atomic"

// Stats are counts since a Bolt was opened, but for Policies.
type Stats struct {
	Policies       uint64 // in the store now
	Puts           uint64 // that succeeded, the stale ones and those without a change included
	Stale          uint64 // Puts that an entry fetched later made void
	Deletes        uint64 // that succeeded
	WriteErrors    uint64 // Puts and Deletes that failed
	Commits        uint64 // transactions: each made one or more operations durable
	CommitErrors   uint64
	CorruptRecords uint64 // single records dropped
	Heals          uint64 // files set aside
	Salvaged       uint64 // records carried over from those files
	Lost           uint64 // records known to be lost in those files
}

type counters struct {
	puts, stale, deletes, writeErrors, commits, commitErrors, corrupt, heals, salvaged, lost atomic.Uint64
}

// Stats returns the counts.
func (b *Bolt) Stats() Stats {
	c := &b.stats
	return Stats{
		Policies: b.count.Load(), Puts: c.puts.Load(), Stale: c.stale.Load(), Deletes: c.deletes.Load(),
		WriteErrors: c.writeErrors.Load(), Commits: c.commits.Load(), CommitErrors: c.commitErrors.Load(),
		CorruptRecords: c.corrupt.Load(), Heals: c.heals.Load(), Salvaged: c.salvaged.Load(), Lost: c.lost.Load(),
	}
}
