package shared

// Stats says how the engine is used: its state, and counts since the Fleet was opened.
type Stats struct {
	Failing bool // the engine cannot be asked, or takes no writes
	Queued  int  // values that wait to be pushed
	ReadStats
	WriteStats
	ClaimStats
	MessageStats
}

// ReadStats counts reads of values.
type ReadStats struct {
	Hits, Misses, Failed uint64
	Skipped              uint64 // not tried: the engine is failing
	Poisoned             uint64 // values that could not be decoded, also those that came with a claim
}

// WriteStats counts writes of values.
type WriteStats struct {
	Stored    uint64
	Stale     uint64 // the engine had something newer
	Unwritten uint64 // the engine failed
	Dropped   uint64 // values that found no room to wait
}

// ClaimStats counts claims.
type ClaimStats struct {
	Granted   uint64
	Taken     uint64 // another host fetches
	Refused   uint64 // the fetches of enough other hosts have failed
	Unclaimed uint64 // the engine could not be asked, or a claim could not be prolonged
}

// MessageStats counts messages on the channel.
type MessageStats struct {
	Messages    uint64 // from other hosts
	BadMessages uint64 // not a message of stsmapd
}
