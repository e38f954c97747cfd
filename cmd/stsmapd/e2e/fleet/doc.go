// Package fleet tests daemons that share a Valkey or Redis engine, all of them real, in a World of
// cmd/stsmapd/e2e/world: who fetches, who hears of it, and what becomes of questions while the engine is killed, hangs,
// comes back empty or fails over. It runs without the race detector, for it counts and measures thousands of questions;
// the units under it run with it.
package fleet
