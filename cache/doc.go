// Package cache keeps in memory what questions are answered from. It is bounded and may drop anything: policies are in
// the store (cache/store), and the DNS will say again that a domain has no policy.
//
// Memory keeps policies, failures, and the domains without a policy in a table of their own (30 bytes each). Bounded is
// a bounded memory over go-cache; DANE findings are in one. The interfaces are those of package resolver; their
// comments say what callers may rely on.
package cache
