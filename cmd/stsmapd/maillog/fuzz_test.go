package maillog

import (
	"strings"
	"testing"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// FuzzLines: whatever is in a log, reading it ends without a panic, domains are host names, and no count is out of
// bounds.
func FuzzLines(f *testing.F) {
	for _, name := range []string{"forms.txt", "joins.txt", "public.txt"} {
		for _, c := range logCases(f, name) {
			f.Add(c.log)
		}
	}
	for _, c := range frontLines() {
		f.Add(c.front + "4F0C31A2B3: to=<u@example.com>, relay=none, dsn=4.4.1, status=deferred (x)")
	}
	for _, c := range recipientLines() {
		f.Add(c.line)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.HasPrefix(text, "__") || strings.HasPrefix(text, "\x1f\x8b") || strings.HasPrefix(text, "BZh") ||
			strings.HasPrefix(text, "\xfd7zXZ") || strings.HasPrefix(text, "\x28\xb5\x2f\xfd") {
			return // the journal, or packed
		}
		report := NewReport(Limits{Domains: 10, Waiting: 10, Processes: 10})
		lines := int64(strings.Count(text, "\n")) + 1
		stats := scan(t, text, func(l *Line, e Event) {
			checkEvent(t, l, e)
			report.Add(l, e)
		})
		if stats.Lines > lines || stats.Events > stats.Lines || stats.Cut > stats.Lines {
			t.Errorf("%d lines: %+v", lines, stats)
		}
		checkReport(t, report)
	})
}

func checkEvent(t *testing.T, l *Line, e Event) {
	if l.Program == OtherProgram || l.PID < 0 || len(l.Text) > readBuffer {
		t.Errorf("%+v", l)
	}
	switch e := e.(type) {
	case *Delivery:
		if e.Reuse < 1 || e.Delay < 0 || len(e.QueueID) < 5 || len(e.Recipient) > len(l.Text) {
			t.Errorf("%+v", e)
		}
		if e.TLS.IsLogged() && ParseTLSStatus([]byte(e.TLS.String())) != e.TLS && e.TLS.Wanted != LevelOther &&
			e.TLS.Reached != LevelOther && e.TLS.RequireTLSLimit != OtherLimit {
			t.Errorf("%+v is written %q", e.TLS, e.TLS)
		}
	case *Connection:
		if e.Trust != NoTrust && len(e.Peer.Address) == 0 {
			t.Errorf("%+v", e)
		}
	case *Certificate:
		if e.Reason.family() != NotVerified {
			t.Errorf("%+v", e)
		}
	case *PolicyFailure:
		if e.Reason == NoReason || e.Reason >= ReasonCount {
			t.Errorf("%+v", e)
		}
	}
}

// checkReport: what holds for every report with limits of 10.
func checkReport(t *testing.T, r *Report) {
	t.Helper()
	domains, waiting := r.Domains(), int(r.domains.rest.waiting)
	for i, d := range domains {
		if again, err := dnsname.Parse(d.Name.String()); err != nil || again != d.Name {
			t.Errorf("%q: %v", d.Name, err)
		}
		c := r.Counts(d)
		if sum := c.Verified + c.Encrypted + c.Plaintext + c.Unlogged + c.Bounced + c.Removed + c.Other +
			c.Waiting; sum != d.Recipients() {
			t.Errorf("%s: %+v are %d recipients", d.Name, c, d.Recipients())
		}
		if i > 0 && d.Recipients() > domains[i-1].Recipients() {
			t.Errorf("%s has more recipients than the one before", d.Name)
		}
		waiting += c.Waiting
	}
	if total := r.Total().Waiting; len(domains) > 10 || waiting > 20 || waiting < len(r.held.places) ||
		total != waiting {
		t.Errorf("%d domains, %d recipients wait, %d in all", len(domains), waiting, total)
	}
	held := 0
	for _, w := range r.Waiting() {
		if w.Messages < 1 || w.Messages > w.Recipients || w.Record == nil || w.Record.Reason == NoReason {
			t.Errorf("%+v", w)
		}
		held += w.Recipients
	}
	if held > len(r.held.places) || len(r.held.messages) > len(r.held.places) || len(r.joins.processes.slots) > 10 {
		t.Errorf("%d wait, %d known of %d messages", held, len(r.held.places), len(r.held.messages))
	}
}
