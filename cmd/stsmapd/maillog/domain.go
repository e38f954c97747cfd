package maillog

import (
	"slices"
	"time"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// Domain is what became of the mail for one recipient domain. Counts are of recipients.
type Domain struct {
	Name    dnsname.Name
	Levels  LevelSet        // those that deliveries reached, as far as tls=… words say (Postfix 3.11 and later)
	Reasons []*ReasonRecord // one for each reason for which a policy kept mail back; nearly always none

	verified, encrypted, plaintext uint32
	silent                         uint32 // sent, and no line says with which TLS
	silentIn                       uint32 // the instances that say nothing
	below, bounced, removed, other uint32
	deferrals                      uint32
	waiting                        uint32
	lastReason                     Reason
}

// LevelSet is a set of levels, the bit 1<<Level for each.
type LevelSet uint16

// Has reports whether a level is in the set.
func (s LevelSet) Has(l Level) bool { return s&(1<<l) != 0 }

// ReasonRecord is what became of mail that a policy kept back for one reason. Counts are of recipients, Deferrals of
// attempts.
type ReasonRecord struct {
	Reason    Reason
	Deferrals uint32    // delivery attempts, those that the queue manager did not even make among them
	SentAfter uint32    // sent after all
	Bounced   uint32    // returned to the sender: expired, or given up for another reason later
	Removed   uint32    // left the queue in another way: deleted, or queued under another id
	MX        string    // the last MX host concerned, "" where no line names it
	NextHop   string    // the destination whose policy it was, where a line names it; for a relay, not the domain
	Text      string    // the last text of the log, at most 256 bytes; "" where it says no more than Reason and MX do
	Last      time.Time // when it was last seen
}

func (r *ReasonRecord) note(host, nextHop, text []byte, at time.Time) {
	setString(&r.MX, host)
	setString(&r.NextHop, nextHop)
	setString(&r.Text, text)
	r.Last = at
}

// setString does not allocate for a string that is the same. An empty one says nothing new.
func setString(s *string, b []byte) {
	b = b[:min(len(b), maxKept)]
	if len(b) > 0 && *s != string(b) {
		*s = string(b)
	}
}

// reason returns the record of a reason.
func (d *Domain) reason(reason Reason) *ReasonRecord {
	for _, r := range d.Reasons {
		if r.Reason == reason {
			return r
		}
	}
	r := &ReasonRecord{Reason: reason}
	d.Reasons = append(d.Reasons, r)
	return r
}

// Recipients returns how many recipients the mail for the domain had, each counted once however often it was tried.
// Those that were forgotten while they waited are missing.
func (d *Domain) Recipients() int {
	n := int(d.verified) + int(d.encrypted) + int(d.plaintext) + int(d.silent) +
		int(d.bounced) + int(d.removed) + int(d.other) + int(d.waiting)
	for _, r := range d.Reasons {
		n += int(r.Bounced) + int(r.Removed)
	}
	return n
}

// domainTable is a bounded table of domains.
type domainTable struct {
	limit   int
	byName  map[string]*Domain
	hiding  func() uint32 // the instances that do not say with which TLS they send
	rest    Domain        // what there was no room for, under no name
	gone    Counts        // what forgotten domains had
	dropped int64         // domains that were forgotten
	refused int           // how often not to try to make room, since it failed
}

// find returns the domain of an address, a new one where it must; nil for what is no domain name of two labels or
// more. Most names are spelled as they are kept, and cost no memory. Where there is no room it returns the rest.
func (t *domainTable) find(name []byte) *Domain {
	if d, ok := t.byName[string(name)]; ok {
		return d
	}
	if len(name) == 0 || len(name) > maxKept*4 {
		return nil
	}
	parsed, err := dnsname.Parse(string(name))
	if err != nil {
		return nil
	}
	if d, ok := t.byName[parsed.String()]; ok {
		return d
	}
	if len(t.byName) >= t.limit && !t.makeRoom() {
		return &t.rest
	}
	d := &Domain{Name: parsed}
	t.byName[parsed.String()] = d
	return d
}

// makeRoom forgets the half of the domains that have the least mail, those that a policy kept mail back for last.
// Those with waiting mail stay. It looks through all domains, and so, if it fails, not soon again.
func (t *domainTable) makeRoom() bool {
	if t.refused > 0 {
		t.refused--
		return false
	}
	var weights []int
	for _, d := range t.byName {
		if d.waiting == 0 {
			weights = append(weights, d.weight())
		}
	}
	if len(weights) <= t.limit/4 {
		t.refused = t.limit / 4
		return false
	}
	slices.Sort(weights)
	heaviest, left, hiding := weights[len(weights)/2], len(weights)/2+1, t.hiding()
	for name, d := range t.byName {
		if left > 0 && d.waiting == 0 && d.weight() <= heaviest {
			t.gone.add(d, hiding)
			t.dropped++
			left--
			delete(t.byName, name)
		}
	}
	return true
}

// weight says which domains to forget first.
func (d *Domain) weight() int {
	if len(d.Reasons) > 0 {
		return d.Recipients() + 1<<40
	}
	return d.Recipients()
}
