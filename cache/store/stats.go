package store

import "sync/atomic"

// Stats are counts since a Store was opened, but for Policies.
type Stats struct {
	Policies       uint64 // in the store now
	Puts           uint64 // that succeeded, the stale ones and those without a change included
	Stale          uint64 // Puts that an entry fetched later made void
	Deletes        uint64 // that succeeded
	WriteErrors    uint64 // Puts, Deletes, and repairs of a record, that failed
	Commits        uint64 // transactions: each made one or more operations durable
	CommitErrors   uint64
	CorruptRecords uint64 // single records dropped, or replaced by the snapshot's
	Heals          uint64 // files set aside
	Salvaged       uint64 // records put back from those files and the snapshot
	Lost           uint64 // records known to be lost in those files
	Snapshots      uint64 // written
	SnapshotErrors uint64

	removed uint64 // records
	changed uint64 // policies, more than what is noted of their use
}

// counts are the Stats of a store. Only the writer changes them; who reads them takes no lock.
type counts struct{ atomic.Pointer[Stats] }

// note changes the counts.
func (c *counts) note(change func(*Stats)) {
	n := *c.Load()
	change(&n)
	c.Store(&n)
}
