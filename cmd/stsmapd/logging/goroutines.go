package logging

import (
	"cmp"
	"log/slog"
	"runtime"
	"slices"
	"strings"
)

// Bounds of LogGoroutines.
const (
	maxStacks = 100 // distinct stacks
	maxCalls  = 12  // functions of a stack
)

// stack is a part of a goroutine's stack: the functions that called each other last.
type stack [maxCalls]uintptr

// LogGoroutines logs where the goroutines of this process are: a line for each distinct stack with the number of
// goroutines there, the fewest first, since one that hangs is not in a crowd. It logs at most 100 lines of about 1 kB,
// while the trace that Go writes at SIGABRT has 2 kB for each goroutine.
func LogGoroutines(log *slog.Logger) {
	count := map[stack]int{}
	for _, record := range goroutines() {
		count[stack(record.Stack0[:maxCalls])]++
	}
	stacks := make([]stack, 0, len(count))
	for s := range count {
		stacks = append(stacks, s)
	}
	slices.SortFunc(stacks, func(a, b stack) int { return cmp.Compare(count[a], count[b]) })
	for _, s := range stacks[:min(len(stacks), maxStacks)] {
		log.Error("where goroutines are, the last call first", "event", "goroutines", "count", count[s], stackKey,
			s.String())
	}
}

// goroutines returns the stacks of all goroutines.
func goroutines() []runtime.StackRecord {
	for {
		records := make([]runtime.StackRecord, runtime.NumGoroutine()+100) // some may begin meanwhile
		if n, ok := runtime.GoroutineProfile(records); ok {
			return records[:n]
		}
	}
}

// String returns the names of the functions, without those of the runtime and without the path of this module.
func (s stack) String() string {
	pcs := s[:]
	if end := slices.Index(pcs, 0); end >= 0 {
		pcs = pcs[:end]
	}
	var calls []string
	frames := runtime.CallersFrames(pcs)
	for more := len(pcs) > 0; more; {
		var frame runtime.Frame
		frame, more = frames.Next()
		if !strings.HasPrefix(frame.Function, "runtime.") {
			calls = append(calls, strings.TrimPrefix(frame.Function, "github.com/stsmapd/stsmapd/"))
		}
	}
	return strings.Join(calls, " < ")
}
