//go:build race

package maillog

// queueIDs is how many messages the test of memory has: the race detector makes it ten times slower.
const queueIDs = 200_000
