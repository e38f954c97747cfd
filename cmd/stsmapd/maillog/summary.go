package maillog

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Counts says what became of recipients. Each is counted once, Deferrals apart.
type Counts struct {
	Verified  int // sent to a server that was authenticated: under a policy
	Encrypted int // sent by TLS to a server that was not: under no policy, or one that does not ask for it
	Plaintext int // sent without TLS
	Unlogged  int // sent, and the log does not say how: see Hidden
	Below     int // of those sent: at a lower TLS level than was wanted, as it was allowed (Postfix 3.11 and later)
	Bounced   int // returned to the sender
	Removed   int // left the queue in another way
	Other     int // the line was cut, or only the address was verified
	Waiting   int // still in the queue at the end of the log
	Deferrals int // delivery attempts that were put off
}

// add adds a domain's counts. What no line says anything of was sent without TLS, unless it was sent by an instance
// that hides TLS connections: then it is not known.
func (c *Counts) add(d *Domain, hiding uint32) {
	c.Verified += int(d.verified)
	c.Encrypted += int(d.encrypted)
	c.Plaintext += int(d.plaintext)
	if d.silentIn&hiding != 0 {
		c.Unlogged += int(d.silent)
	} else {
		c.Plaintext += int(d.silent)
	}
	c.Below += int(d.below)
	c.Bounced += int(d.bounced)
	c.Removed += int(d.removed)
	c.Other += int(d.other)
	c.Waiting += int(d.waiting)
	c.Deferrals += int(d.deferrals)
	for _, r := range d.Reasons {
		c.Bounced += int(r.Bounced)
		c.Removed += int(r.Removed)
	}
}

// Period returns the times of the first and the last event. They are zero for an empty log.
func (r *Report) Period() (first, last time.Time) { return r.first, r.last }

// Hidden returns the names of the instances that sent mail and never said with which TLS: smtp_tls_loglevel is 0, or
// TLS is off, and Postfix is older than 3.11 or has smtp_log_tls_feature_status off. What they sent is Unlogged.
func (r *Report) Hidden() []string {
	var names []string
	for name, i := range r.instances {
		if i.hides() {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Counts returns what became of the mail for a domain.
func (r *Report) Counts(d *Domain) Counts {
	var c Counts
	c.add(d, r.instances.hiding())
	return c
}

// Total returns what became of all mail, that of the domains that were forgotten too.
func (r *Report) Total() Counts {
	c := r.domains.gone
	hiding := r.instances.hiding()
	for _, d := range r.domains.byName {
		c.add(d, hiding)
	}
	c.add(&r.domains.rest, hiding)
	return c
}

// Domains returns the domains that mail went to, the one with the most recipients first.
func (r *Report) Domains() []*Domain {
	domains := make([]*Domain, 0, len(r.domains.byName))
	for _, d := range r.domains.byName {
		domains = append(domains, d)
	}
	slices.SortFunc(domains, func(a, b *Domain) int {
		return cmp.Or(cmp.Compare(b.Recipients(), a.Recipients()), strings.Compare(a.Name.String(), b.Name.String()))
	})
	return domains
}

// Dropped says what was forgotten to keep to the Limits. What is not 0 makes counts too low.
type Dropped struct {
	Domains   int64 // domains whose mail had all left the queue
	Held      int64 // recipients that a policy has kept back
	Waiting   int64 // recipients that waited for other reasons
	Processes int64 // processes: few of them are at a delivery, so that this is no loss as a rule
}

// Dropped returns what was forgotten.
func (r *Report) Dropped() Dropped {
	return Dropped{r.domains.dropped, r.held.dropped, r.other.dropped, r.joins.processes.dropped}
}

// Wait is the mail for one domain that waits at the end of the log, because of a policy, for one reason.
type Wait struct {
	Domain     *Domain       // its Name is zero for all domains that there was no room for
	Record     *ReasonRecord // the reason, the MX host, the text
	Messages   int
	Recipients int
	Oldest     time.Time // when the oldest message arrived; zero where the log does not say
}

// Waiting returns the mail that waits because of a policy, the most messages first.
func (r *Report) Waiting() []Wait {
	type group struct {
		domain *Domain
		reason Reason
	}
	waits := map[group]*Wait{}
	counted := map[group]map[uint64]bool{}
	r.held.each(func(w *waiting) {
		if w.reason == NoReason {
			return // something else keeps it back now
		}
		g := group{w.domain, w.reason}
		wait := waits[g]
		if wait == nil {
			wait = &Wait{Domain: w.domain, Record: w.domain.reason(w.reason)}
			waits[g], counted[g] = wait, map[uint64]bool{}
		}
		wait.Recipients++
		counted[g][w.message] = true
		if arrived := time.Unix(w.arrived, 0).UTC(); w.arrived != 0 && (wait.Oldest.IsZero() ||
			arrived.Before(wait.Oldest)) {
			wait.Oldest = arrived
		}
	})
	sorted := make([]Wait, 0, len(waits))
	for g, wait := range waits {
		wait.Messages = len(counted[g])
		sorted = append(sorted, *wait)
	}
	slices.SortFunc(sorted, func(a, b Wait) int {
		return cmp.Or(cmp.Compare(b.Messages, a.Messages), strings.Compare(a.Domain.Name.String(),
			b.Domain.Name.String()),
			cmp.Compare(a.Record.Reason, b.Record.Reason))
	})
	return sorted
}
