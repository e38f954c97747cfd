package cache

import (
	"sync"
	"time"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// policyShard holds policies up to a bound. A map of Go's does without what go-cache needs of each besides: an
// interface, an end that no policy has here, a copy of the name, and the name once more in a list to draw victims from.
// Of 100 bytes that leaves 40.
type policyShard struct {
	mu    sync.RWMutex
	held  map[dnsname.Name]*resolver.CachedPolicy
	bound int
}

func newPolicyShards(bound int) []policyShard {
	shards := make([]policyShard, (bound+share-1)/share)
	for i := range shards {
		shards[i].held = map[dnsname.Name]*resolver.CachedPolicy{}
		shards[i].bound = (bound + i) / len(shards)
	}
	return shards
}

func (s *policyShard) get(domain dnsname.Name) (*resolver.CachedPolicy, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	h, ok := s.held[domain]
	return h, ok
}

// put takes a policy in. For a new one, when there is no room, it drops of a few the one that was longest unused.
func (s *policyShard) put(h *resolver.CachedPolicy) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.held[h.Entry.Domain]; known {
		delete(s.held, h.Entry.Domain) // the map would keep the name that it has, and what that is a part of
	} else if len(s.held) >= s.bound {
		delete(s.held, s.victim())
	}
	s.held[h.Entry.Domain] = h
}

func (s *policyShard) forget(domain dnsname.Name) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.held, domain)
}

// victim is the domain whose policy was longest unused, of a few: a walk over a map begins anywhere.
func (s *policyShard) victim() (victim dnsname.Name) {
	var earliest time.Time
	seen := 0
	for domain, h := range s.held {
		if t := lastUse(h); seen == 0 || t.Before(earliest) {
			victim, earliest = domain, t
		}
		if seen++; seen == candidates {
			break
		}
	}
	return victim
}

// lastUse is when a policy last mattered to somebody.
func lastUse(h *resolver.CachedPolicy) time.Time {
	if used := h.Used(); used.After(h.Entry.Fetched) {
		return used
	}
	return h.Entry.Fetched
}

func (s *policyShard) all() []*resolver.CachedPolicy {
	s.mu.RLock()
	defer s.mu.RUnlock()
	all := make([]*resolver.CachedPolicy, 0, len(s.held))
	for _, h := range s.held {
		all = append(all, h)
	}
	return all
}

func (s *policyShard) len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.held)
}
