// Package fleet tests daemons that share a Valkey or Redis engine, all of them real, in a World of
// cmd/stsmapd/e2e/world: which host fetches, which hosts learn of it, and what happens to questions while the engine is
// killed, hangs, comes back empty or fails over. It runs without the race detector, because it counts and measures
// thousands of questions; the tests of the packages run with it.
package fleet
