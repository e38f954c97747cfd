package main

import (
	"os"
	"runtime/debug"
)

// Go's garbage collector lets the heap grow by so much of what is in use before it collects, by default to the double.
// That suits neither end of what this daemon is: with few policies it would collect at every few hundred new domains,
// with many it would hold as much garbage as policies. So it may grow by a fifth, of what is in use and of a ballast
// that is never touched, and so takes no memory: 14 MiB when there is next to nothing, 50 MiB with 250,000 policies.
const (
	gcPercent = 20
	ballast   = 64 << 20 // bytes; go_memstats_heap_alloc_bytes and its kin count them, resident memory does not
)

// tuneGC sets this, unless GOGC says what an administrator wants. What it returns must be kept alive.
func tuneGC() []byte {
	if os.Getenv("GOGC") != "" {
		return nil
	}
	debug.SetGCPercent(gcPercent)
	return make([]byte, ballast)
}
