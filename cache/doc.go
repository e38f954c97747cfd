// Package cache holds what stsmapd remembers beside its store: Memory for the questions of this minute, and Shared for
// what other hosts should know. Package store keeps policies for the next start, package record is the codec of all
// that leaves memory.
//
// Memory is bounded and may drop anything: policies are in the store, and that a domain has no policy the DNS will say
// again.
//
// Shared is a Valkey or Redis engine between the hosts of a fleet, and beside the store, never in its place: it may
// hang, lose all, or be written to by others. Its values are records too (shared_value.go), and the newest fetch wins
// (shared_script.go).
//
// The interfaces are those of package resolver; their comments say what callers may rely on.
package cache
