package resolver

import (
	"context"
	"errors"
	"iter"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// ErrNotCached: the store holds nothing for the domain. Discover its policy.
var ErrNotCached = errors.New("not in the store")

// Store keeps entries across restarts. Its comment is the specification; cache/store/storetest tests every implementation
// by it.
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
}
