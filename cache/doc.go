// Package cache is what a question is answered from: memory. It is bounded and may drop anything: policies are in the store
// (cache/store), and that a domain has no policy the DNS will say again.
//
// Memory keeps policies, domains without a policy in a table of their own (30 bytes each), and failures. Bounded is the
// bounded memory over go-cache that serves everything but that table. The interfaces are those of package resolver; their
// comments say what callers may rely on.
package cache
