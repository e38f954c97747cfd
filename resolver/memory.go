package resolver

import (
	"time"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// Memory is where a question looks first. It is safe for concurrent use, bounded, and loses nothing that matters: what
// it drops the store still has, or the DNS. It keeps policies and absences apart, so that no flood of domains without a
// policy can push out a policy.
type Memory interface {
	// Policy returns what was last put for the domain, and whether there is any.
	Policy(dnsname.Name) (*CachedPolicy, bool)
	// PutPolicy remembers a policy and forgets the domain's absence.
	PutPolicy(*CachedPolicy)
	// ForgetPolicy removes a domain's policy.
	ForgetPolicy(dnsname.Name)
	// NoPolicy is Negative for the commonest one alone; it takes no memory.
	NoPolicy(dnsname.Name) (NoPolicy, bool)
	// Negative returns why a domain has no policy, as last put, expired or not, and whether there is any.
	Negative(dnsname.Name) (Negative, bool)
	// PutNegative remembers an absence. now lets the memory drop expired ones first.
	PutNegative(now time.Time, domain dnsname.Name, a Negative)
}
