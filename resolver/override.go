package resolver

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
)

// Action is what an override does with a domain's policy.
type Action uint8

// The actions of overrides.
const (
	ActionIgnore  Action = iota + 1 // answer as if there were no policy
	ActionStrict                    // enforce a policy in mode testing too
	ActionEnforce                   // enforce the override's own MX patterns, whatever the domain publishes
)

// String is the action as the configuration spells it.
func (a Action) String() string {
	switch a {
	case ActionIgnore:
		return "ignore"
	case ActionStrict:
		return "strict"
	case ActionEnforce:
		return "enforce"
	}
	return "invalid"
}

// Override is an administrator's word on one domain, or on every name below it.
type Override struct {
	Domain dnsname.Name
	Below  bool // every name below Domain, at any depth, and not Domain itself
	Action Action
	MX     []mtasts.Pattern // for ActionEnforce only
	Until  time.Time        // from then on the override is inert; zero: it never ends
	Reason string           // for people

	policy *CachedPolicy // the policy of ActionEnforce
}

// String names the override as the configuration does.
func (o *Override) String() string {
	if o.Below {
		return "." + o.Domain.String()
	}
	return o.Domain.String()
}

// replaces reports whether the override takes the place of what the domain publishes.
func (o *Override) replaces() bool { return o != nil && o.Action != ActionStrict }

// Expired reports whether the override's time is over.
func (o *Override) Expired(now time.Time) bool { return !o.Until.IsZero() && !now.Before(o.Until) }

// Overrides is a valid set of overrides. The nil *Overrides is the empty set.
type Overrides struct {
	exact, below map[dnsname.Name]*Override
}

// NewOverrides makes a set. It is an error to override one domain twice, to enforce without MX patterns, or to give
// patterns with another action.
func NewOverrides(list []Override) (*Overrides, error) {
	set := &Overrides{exact: map[dnsname.Name]*Override{}, below: map[dnsname.Name]*Override{}}
	for _, o := range list {
		if (o.Action == ActionEnforce) != (len(o.MX) > 0) {
			return nil, fmt.Errorf("override of %s: mx belongs to action enforce, and only to it", &o)
		}
		if o.Action == ActionEnforce {
			o.policy = NewCachedPolicy(Entry{Domain: o.Domain, Policy: mtasts.Enforcing(o.MX)}, time.Time{})
		}
		where := set.exact
		if o.Below {
			where = set.below
		}
		if where[o.Domain] != nil {
			return nil, fmt.Errorf("two overrides of %s", &o)
		}
		where[o.Domain] = &o
	}
	return set, nil
}

// For returns the override that counts for a domain at now: its own, else that of the nearest name above it; nil: none.
func (s *Overrides) For(domain dnsname.Name, now time.Time) *Override {
	if s == nil {
		return nil
	}
	if o := s.exact[domain]; o != nil && !o.Expired(now) {
		return o
	}
	if len(s.below) == 0 {
		return nil
	}
	for up, ok := domain.Parent(); ok; up, ok = up.Parent() {
		if o := s.below[up]; o != nil && !o.Expired(now) {
			return o
		}
	}
	return nil
}

// Expired returns the overrides whose time is over at now, by name.
func (s *Overrides) Expired(now time.Time) []*Override {
	return slices.DeleteFunc(s.All(), func(o *Override) bool { return !o.Expired(now) })
}

// All returns all overrides, those whose time is over included, by name.
func (s *Overrides) All() []*Override {
	if s == nil {
		return nil
	}
	all := slices.AppendSeq(slices.Collect(maps.Values(s.exact)), maps.Values(s.below))
	slices.SortFunc(all, func(a, b *Override) int { return strings.Compare(a.String(), b.String()) })
	return all
}
