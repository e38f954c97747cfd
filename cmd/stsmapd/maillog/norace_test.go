//go:build !race

package maillog

// queueIDs is how many messages the test of memory has.
const queueIDs = 2_000_000
