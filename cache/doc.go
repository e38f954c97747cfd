// Package cache holds what stsmapd remembers: Memory for the questions of this minute, Bolt for the next restart, and Shared for
// what other hosts should know.
//
// A domain that publishes an MTA-STS policy asks senders to remember it for max_age, often months (RFC 8461 section 3.2), and
// that memory is the whole protection: an attacker who can drop or forge DNS answers can hide a policy from a sender
// that never saw it, but not from one that remembers. So a policy that was learnt must outlive a restart, a crash, a full
// disk and a damaged file, as far as a disk allows.
//
// Memory is bounded and may drop anything: policies are in the store, and that a domain has no policy the DNS will say
// again. Bolt keeps one record for each policy domain in one file. A record (codec.go) carries a checksum over its key
// and itself, and the policy as it was served, which is parsed again when it is read. Puts that wait at the same time share
// one commit (writer.go). The file's own pages carry no checksum, so each page is checked before it is trusted (pages.go);
// a file that fails is set aside and all of it that can still be read is carried over to a fresh one (heal.go).
//
// Shared is a Valkey or Redis engine between the hosts of a fleet, and beside the store, never in its place: it may hang, lose all,
// or be written to by others. Its values are records too (shared_value.go), and the newest fetch wins (shared_script.go).
//
// The interfaces are those of package resolver; their comments say what callers may rely on, and storetest tests it.
package cache
