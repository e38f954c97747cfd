// Package deliveries says what a mail log's deliveries came to under TLS policies: how many were verified, what a
// policy kept back and why, and what to do about the mail that waits. A Summary is made of a maillog.Report without
// any I/O; it is the JSON output of `stsmapd deliveries`, and Print writes it for people.
package deliveries

import (
	"fmt"
	"strings"
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/check"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/maillog"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/socketmap/tlspolicy"
)

// Summary is what became of the mail to other hosts. The names of its JSON form stay, and members may be added. Times
// are RFC 3339, UTC; lists are never null; texts of the log are as they came.
type Summary struct {
	From     *time.Time `json:"from"`   // lines before it were left out; null: none were
	First    *time.Time `json:"first"`  // the first line that says something of mail to other hosts; null: none does
	Last     *time.Time `json:"last"`   // the last one
	Domain   string     `json:"domain"` // the only recipient domain that is counted; "": all
	Domains  int        `json:"domains"`
	Counts   Counts     `json:"recipients"`
	Levels   []string   `json:"levels"`    // TLS levels that deliveries reached, by tls=… (Postfix 3.11 and later)
	KeptBack []KeptBack `json:"kept_back"` // one for each reason for which a policy kept mail back
	Waiting  []Waiting  `json:"waiting"`   // the mail that waits because of a policy now, the most messages first
	Notes    []Note     `json:"notes"`
}

// Counts says what became of recipients, each counted once however often delivery was tried.
type Counts struct {
	Verified  int `json:"verified"`  // sent to a server that was authenticated
	Encrypted int `json:"encrypted"` // sent by TLS to a server that was not: no policy asks for it
	Plaintext int `json:"plaintext"` // sent without TLS
	Unlogged  int `json:"unlogged"`  // sent, and the log does not say with which TLS
	Below     int `json:"below"`     // of those sent: at a lower TLS level than was wanted (Postfix 3.11 and later)
	Bounced   int `json:"bounced"`   // returned to the sender
	Removed   int `json:"removed"`   // left the queue in another way
	Other     int `json:"other"`     // an address probe, or a line that was cut
	Waiting   int `json:"waiting"`   // for whatever reason
	// WaitingForPolicy is how many of them wait because of a policy.
	WaitingForPolicy int `json:"waiting_for_policy"`
}

// KeptBack is what became of the recipients that a policy kept back for one reason.
type KeptBack struct {
	Reason    maillog.Reason `json:"reason"`
	Attempts  int            `json:"attempts"` // delivery attempts
	Waiting   int            `json:"waiting"`
	SentAfter int            `json:"sent_after"` // sent after all
	Bounced   int            `json:"bounced"`    // returned to the sender
	Removed   int            `json:"removed"`    // left the queue in another way
}

// Waiting is the mail for one domain that waits for one reason.
type Waiting struct {
	Domain     string         `json:"domain"` // "" for domains that the report had no room for
	Messages   int            `json:"messages"`
	Recipients int            `json:"recipients"`
	Oldest     *time.Time     `json:"oldest"` // when the oldest message arrived; null: the log does not say
	MX         string         `json:"mx"`     // the MX host concerned; ""
	NextHop    string         `json:"next_hop"`
	Reason     maillog.Reason `json:"reason"`
	Text       string         `json:"text"`     // what Postfix says beyond the reason; ""
	Remedy     string         `json:"remedy"`   // what to do
	Override   string         `json:"override"` // lines for stsmapd.toml that let the mail go; "": none would
	Policy     *Policy        `json:"policy"`   // what the running daemon says of it; null: nothing

	policyDomain dnsname.Name
}

// Policy is what the running daemon knows of a domain.
type Policy struct {
	Mode    string     `json:"mode"` // enforce, testing or none; "" where it has none
	MX      []string   `json:"mx"`
	Expires *time.Time `json:"expires"`
	Answer  string     `json:"answer"` // to the map name sts
}

// Note is something to know about the numbers.
type Note struct {
	Code string `json:"code"` // no_mail, tls_not_logged, below_level, forgotten, daemon
	Text string `json:"text"`
}

// Options says what to sum up.
type Options struct {
	From   time.Time    // as Summary.From; zero: null
	Domain dnsname.Name // zero: all
	Now    time.Time    // for the dates of overrides
}

// Summarize sums a report up.
func Summarize(r *maillog.Report, o Options) *Summary {
	first, last := r.Period()
	s := &Summary{From: instant(o.From), First: instant(first), Last: instant(last), Domain: o.Domain.String(),
		Levels: []string{}, KeptBack: []KeptBack{}, Waiting: []Waiting{}, Notes: []Note{}}
	var levels maillog.LevelSet
	kept := make([]KeptBack, maillog.ReasonCount)
	var one maillog.Counts
	for _, d := range r.Domains() {
		if !o.Domain.IsZero() && d.Name != o.Domain {
			continue
		}
		s.Domains++
		levels |= d.Levels
		one = r.Counts(d)
		for _, record := range d.Reasons {
			k := &kept[record.Reason]
			k.Attempts += int(record.Deferrals)
			k.SentAfter += int(record.SentAfter)
			k.Bounced += int(record.Bounced)
			k.Removed += int(record.Removed)
		}
	}
	total := r.Total()
	if !o.Domain.IsZero() {
		total = one
	}
	s.Counts = countsOf(total)
	for _, w := range r.Waiting() {
		if !o.Domain.IsZero() && w.Domain.Name != o.Domain {
			continue
		}
		s.Counts.WaitingForPolicy += w.Recipients
		kept[w.Record.Reason].Waiting += w.Recipients
		s.Waiting = append(s.Waiting, waitingOf(w, o.Now))
	}
	for reason, k := range kept {
		if k != (KeptBack{}) {
			k.Reason = maillog.Reason(reason)
			s.KeptBack = append(s.KeptBack, k)
		}
	}
	for l := maillog.LevelUnknown; l <= maillog.LevelSecure; l++ {
		if levels.Has(l) {
			s.Levels = append(s.Levels, l.String())
		}
	}
	s.note(r)
	return s
}

func instant(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func countsOf(c maillog.Counts) Counts {
	return Counts{Verified: c.Verified, Encrypted: c.Encrypted, Plaintext: c.Plaintext, Unlogged: c.Unlogged,
		Below: c.Below, Bounced: c.Bounced, Removed: c.Removed, Other: c.Other, Waiting: c.Waiting}
}

// overrideTime is for how long an override that is offered lasts.
const overrideTime = 30 * 24 * time.Hour

func waitingOf(w maillog.Wait, now time.Time) Waiting {
	out := Waiting{Domain: w.Domain.Name.String(), Messages: w.Messages, Recipients: w.Recipients,
		Oldest: instant(w.Oldest), MX: w.Record.MX, NextHop: w.Record.NextHop, Reason: w.Record.Reason,
		Text: w.Record.Text, policyDomain: w.Domain.Name}
	nextHop := out.Domain
	if d, ok := tlspolicy.ParseNextHop(out.NextHop).(tlspolicy.Domain); ok && out.NextHop != "" {
		nextHop, out.policyDomain = d.Destination.String(), d.Destination.Domain
	}
	out.Remedy = remedy(w.Record.Reason, quoted(nextHop))
	if isPublishers(w.Record.Reason) && !out.policyDomain.IsZero() {
		out.Override = check.OverrideText(out.policyDomain, Words(w.Record.Reason), now.Add(overrideTime))
	}
	return out
}

// quoted keeps brackets from the shell.
func quoted(nextHop string) string {
	if strings.ContainsAny(nextHop, "[]") {
		return "'" + nextHop + "'"
	}
	return nextHop
}

// note adds what to know about the numbers.
func (s *Summary) note(r *maillog.Report) {
	if s.Domains == 0 {
		s.addNote("no_mail", "the log says nothing of such mail in that time")
	}
	if hidden := r.Hidden(); len(hidden) > 0 && s.Counts.Unlogged > 0 {
		s.addNote("tls_not_logged", fmt.Sprintf("%s does not log TLS, so that verified deliveries cannot be told from "+
			"others: set smtp_tls_loglevel = 1 in main.cf", strings.Join(hidden, ", ")))
	}
	if s.Counts.Below > 0 {
		s.addNote("below_level", fmt.Sprintf("%d sent at a lower TLS level than was wanted, which the level allows "+
			"(tls=wanted:reached in the log)", s.Counts.Below))
	}
	if d := r.Dropped(); d.Domains > 0 || d.Held > 0 || d.Waiting > 0 {
		s.addNote("forgotten", fmt.Sprintf("the log has more than is remembered: %d domains with little mail and %d "+
			"waiting recipients are missing from the tables", d.Domains, d.Held+d.Waiting))
	}
}

func (s *Summary) addNote(code, text string) { s.Notes = append(s.Notes, Note{code, text}) }

// maxAsked bounds for how many domains the daemon is asked.
const maxAsked = 200

// AddPolicies asks what the daemon knows of each domain whose mail waits. An error of show ends it, and is a note: the
// rest of the Summary is right without. nil of show and no error: the daemon knows nothing.
func (s *Summary) AddPolicies(show func(dnsname.Name) (*Policy, error)) {
	for i := range s.Waiting[:min(len(s.Waiting), maxAsked)] {
		w := &s.Waiting[i]
		if w.policyDomain.IsZero() {
			continue
		}
		policy, err := show(w.policyDomain)
		if err != nil {
			s.addNote("daemon", "which policies apply is not known: "+err.Error())
			return
		}
		w.Policy = policy
	}
}
