// Package pace bounds how often the policy host of a domain is asked, whatever the ids in the DNS do.
//
// A new id is fetched at once. Name servers that disagree make ids flip, so that each looks new again and again; a
// policy host that fails, or is merely asked by many senders, would be asked every few seconds. Fetches remembers the
// last fetches of a domain, and how often each of its recent ids has failed.
package pace

import (
	"sync"
	"time"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/fault"
)

const (
	// Limit is how many fetches of one domain begin within Window.
	Limit = 2
	// Window is the time in which Limit fetches may begin, and the backoff after the first failure of an id (RFC 8461
	// section 3.3 asks for 5 minutes); it doubles to MaxBackoff.
	Window = 5 * time.Minute
	// MaxBackoff is the longest backoff of an id.
	MaxBackoff = time.Hour

	maxIDs     = 4       // ids of a domain whose failures are remembered
	maxDomains = 100_000 // a domain needs about 200 bytes
	slow       = 10 * time.Second
)

// Fetches is what is remembered of the fetches of all domains: the last 100,000 at most. It is safe for concurrent use.
// The zero Fetches is empty. Its times must be of a clock that nobody sets.
type Fetches struct {
	mu      sync.Mutex
	domains map[dnsname.Name]*domain
}

// domain is what is remembered of the fetches of one domain.
type domain struct {
	last [Limit]time.Time // when fetches ended, the latest first; zero: none
	ids  [maxIDs]id       // that failed, the latest first; zero: none
	slow time.Time        // when a fetch ended that failed after a long wait; zero: none
}

// id is an id whose last fetch failed.
type id struct {
	id       string
	failures int // in a row; 0: none
	retryAt  time.Time
}

// Hold says when the policy of a domain may be fetched again. A zero Hold: now.
type Hold struct {
	Until time.Time
	// Failing means that not all of the fetches before have worked. If they have, a policy of a few seconds has expired
	// again, and a fetch brings the next one.
	Failing bool
}

// Hold returns when a fetch for the id may begin.
func (f *Fetches) Hold(now time.Time, name dnsname.Name, announced string) (h Hold) {
	f.mu.Lock()
	defer f.mu.Unlock()
	d := f.domains[name]
	if d == nil {
		return Hold{}
	}
	later := func(at time.Time) {
		if at.After(h.Until) && at.After(now) {
			h.Until = at
		}
	}
	if first := d.last[Limit-1]; !first.IsZero() {
		later(first.Add(Window))
	}
	for _, i := range d.ids {
		if i.failures == 0 {
			continue
		}
		h.Failing = true
		if i.id == announced {
			later(i.retryAt)
		}
	}
	return h
}

// Slow reports whether a fetch of the domain has failed after a long wait within Window, and none has worked since. A
// question has waited for it then, and should not wait as long again.
func (f *Fetches) Slow(now time.Time, name dnsname.Name) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	d := f.domains[name]
	return d != nil && !d.slow.IsZero() && now.Sub(d.slow) < Window
}

// Worked notes a fetch that worked. The failures of all ids are forgotten.
func (f *Fetches) Worked(now time.Time, name dnsname.Name) {
	f.mu.Lock()
	defer f.mu.Unlock()
	d := f.add(now, name)
	d.ids, d.slow = [maxIDs]id{}, time.Time{}
}

// Failed notes a fetch for the id that failed after it took so long. It returns how often in a row the id has failed, 1
// or more.
func (f *Fetches) Failed(now time.Time, name dnsname.Name, announced string, took time.Duration) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	d := f.add(now, name)
	if took >= slow {
		d.slow = now
	}
	latest := id{id: announced}
	at := maxIDs - 1 // the oldest is dropped
	for i, old := range d.ids {
		if old.failures > 0 && old.id == announced {
			latest, at = old, i
			break
		}
	}
	copy(d.ids[1:at+1], d.ids[:at])
	latest.failures++
	latest.retryAt = now.Add(fault.Backoff(latest.failures, Window, MaxBackoff))
	d.ids[0] = latest
	return latest.failures
}

// Forget removes what is remembered of a domain: its next fetch is as its first.
func (f *Fetches) Forget(name dnsname.Name) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.domains, name)
}

// add notes a fetch.
func (f *Fetches) add(now time.Time, name dnsname.Name) *domain {
	if f.domains == nil {
		f.domains = map[dnsname.Name]*domain{}
	}
	d := f.domains[name]
	if d == nil {
		if len(f.domains) >= maxDomains {
			f.evict(now)
		}
		d = new(domain)
		f.domains[name] = d
	}
	copy(d.last[1:], d.last[:])
	d.last[0] = now
	return d
}

// evict removes the domains whose time is over, and a tenth of the others if there are too many.
func (f *Fetches) evict(now time.Time) {
	for name, d := range f.domains {
		if d.over(now) {
			delete(f.domains, name)
		}
	}
	for name := range f.domains { // in no order
		if len(f.domains) <= maxDomains*9/10 {
			return
		}
		delete(f.domains, name)
	}
}

// over reports whether nothing of a domain counts any more. The failures of an id count for one backoff more after
// their end, so that the next failure doubles it.
func (d *domain) over(now time.Time) bool {
	for _, i := range d.ids {
		if i.failures > 0 && now.Before(i.retryAt.Add(MaxBackoff)) {
			return false
		}
	}
	return now.Sub(d.last[0]) >= Window
}
