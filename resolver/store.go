package resolver

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/stsmapd/stsmapd/resolver/dane"
	"github.com/stsmapd/stsmapd/resolver/dnsclient"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
)

// ErrNotCached: the store holds nothing for the domain. Discover its policy.
var ErrNotCached = errors.New("not in the store")

// Store keeps entries across restarts. Its comment is the specification; cache/store/storetest tests every
// implementation by it.
//
// A Store is safe for concurrent use. An Entry read equals the Entry put, times to the second at least. Operations on
// one domain take effect in some order that keeps each caller's own. A cancelled context makes an operation return its
// error soon; a Put whose context is cancelled may or may not have taken effect.
type Store interface {
	// Get returns the entry of a domain, expired or not. ErrNotCached: there is none. Any other error: the store could
	// not be read and may hold an entry all the same.
	Get(context.Context, dnsname.Name) (Entry, error)
	// Put writes an entry over what the domain had; it is durable when Put returns nil. An entry with an older Fetched
	// never replaces a newer one: then Put does nothing and returns nil. One exception: a stored Fetched that lies
	// after the new entry's Checked was written by a clock that ran ahead, and is replaced.
	Put(context.Context, Entry) error
	// Delete removes a domain's entry, durably; removing what is not there is no error.
	Delete(context.Context, dnsname.Name) error
	// All yields every entry that was there throughout the walk, once, in no promised order; entries put or deleted
	// meanwhile may or may not appear. An entry that cannot be read yields its error (with Entry.Domain set where it is
	// known) and the walk goes on. Puts are not held up by a walk, and a walk holds no resource between two yields.
	All(context.Context) iter.Seq2[Entry, error]
	// Len is how many entries there are, expired ones included.
	Len() int
}

// Memory is where a question looks first. It is safe for concurrent use, bounded, and loses nothing that matters: what
// it drops the store still has, or the DNS. It keeps policies and negatives apart, so that no flood of domains without
// a policy can push out a policy.
type Memory interface {
	// Policy returns what was last put for the domain, and whether there is any.
	Policy(dnsname.Name) (*CachedPolicy, bool)
	// PutPolicy remembers a policy and forgets the domain's negative.
	PutPolicy(*CachedPolicy)
	// ForgetPolicy removes a domain's policy.
	ForgetPolicy(dnsname.Name)
	// All yields every policy that is in memory throughout the walk; others may or may not appear. Nothing is locked
	// between two yields.
	All() iter.Seq[*CachedPolicy]
	// NoPolicy is Negative for the commonest one alone; it does not allocate.
	NoPolicy(dnsname.Name) (NoPolicy, bool)
	// Negative returns why a domain has no policy, as last put, expired or not, and whether there is any.
	Negative(dnsname.Name) (Negative, bool)
	// PutNegative remembers why a domain has no policy. now, of clock.Monotonic, lets the memory drop expired ones
	// first.
	PutNegative(now time.Time, domain dnsname.Name, n Negative)
	// Failures yields the domains whose last lookup, fetch or host failed, as Negative returns it: every one that is in
	// memory throughout the walk; others may or may not appear. Nothing is locked between two yields.
	Failures() iter.Seq2[dnsname.Name, Negative]
	// Negatives is how many domains without a policy are remembered, expired ones included.
	Negatives() int
}

// Fetcher gets policies; *fetch.Client is one.
type Fetcher interface {
	// Fetch gets a domain's policy. Every error is a *fetch.Error.
	Fetch(context.Context, dnsname.Name) (mtasts.Policy, error)
}

// DNS is what the resolver asks of a DNS client; *dnsclient.Client is one. Names are without the final dot. A lookup
// ends promptly when its context does.
type DNS interface {
	TXT(ctx context.Context, name string) (dnsclient.Answer[string], error)
	dane.DNS
}
