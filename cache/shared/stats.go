package shared

import "sync/atomic"

// Stats are counts since a Fleet was opened, but for Failing and Queued.
type Stats struct {
	Failing bool // the engine cannot be asked, or takes no writes
	Queued  int  // values that wait to be pushed

	Hits, Misses, Failed, Skipped uint64 // reads; Skipped: not tried, for the engine is failing
	Stored, Stale, Unwritten      uint64 // writes; Stale: the engine had something newer
	Dropped                       uint64 // values that found no room to wait
	// claims; Taken: another host fetches, Unclaimed: the engine could not be asked, or a claim not prolonged
	Granted, Taken, Unclaimed uint64
	Refused                   uint64 // claims of which enough other hosts' fetches have failed
	Messages, BadMessages     uint64 // from other hosts; BadMessages: that were none
	Poisoned                  uint64 // values that could not be read
}

type counters struct {
	hits, misses, failed, skipped, stored, stale, unwritten, granted, taken, refused, unclaimed, messages, badMessages,
	poisoned atomic.Uint64
}

// Failing reports whether the engine cannot be asked, or takes no writes.
func (s *Fleet) Failing() bool { return s.health.failing() }

// Stats returns the counts.
func (s *Fleet) Stats() Stats {
	c := &s.stats
	return Stats{
		Failing: s.health.failing(), Queued: s.queue.len(),
		Hits: c.hits.Load(), Misses: c.misses.Load(), Failed: c.failed.Load(), Skipped: c.skipped.Load(),
		Stored: c.stored.Load(), Stale: c.stale.Load(), Unwritten: c.unwritten.Load(), Dropped: s.queue.dropped.Load(),
		Granted: c.granted.Load(), Taken: c.taken.Load(), Refused: c.refused.Load(), Unclaimed: c.unclaimed.Load(),
		Messages: c.messages.Load(), BadMessages: c.badMessages.Load(), Poisoned: c.poisoned.Load(),
	}
}
