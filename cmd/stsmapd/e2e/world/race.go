//go:build race

package world

// raceEnabled says whether this test was built with the race detector.
const raceEnabled = true
