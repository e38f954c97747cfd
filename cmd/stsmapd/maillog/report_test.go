package maillog

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestJoins(t *testing.T) {
	for _, c := range logCases(t, "joins.txt") {
		if got := summarize(reportOf(t, c.log)); got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", c.why, got, c.want)
		}
	}
}

// TestHidden: an instance that never says with which TLS it sends is named, and what it sent is not called plaintext.
// Another instance of the same log is not concerned.
func TestHidden(t *testing.T) {
	const sent = ": to=<u@example.com>, relay=mx1.example.com[192.0.2.1]:25, dsn=2.0.0, status=sent (250 Ok)\n"
	quiet := "Nov 23 16:00:02 mail postfix-bulk/smtp[101]: 4F0C31A2B3" + sent
	loud := "Nov 23 16:00:02 mail postfix/smtp[102]: " +
		"Trusted TLS connection established to mx1.example.net[192.0.2.2]:25: x\n" +
		strings.ReplaceAll("Nov 23 16:00:02 mail postfix/smtp[102]: 4F0C31A2B4"+sent, "example.com", "example.net")
	r := reportOf(t, quiet+loud)
	if got := r.Hidden(); !slices.Equal(got, []string{"postfix-bulk"}) {
		t.Errorf("hidden: %q", got)
	}
	if got := r.Total(); got.Unlogged != 1 || got.Encrypted != 0 || got.Plaintext != 1 {
		t.Errorf("%+v", got)
	}
	if got := summarize(r); got != "example.com: unlogged=1\nexample.net: plaintext=1" {
		t.Errorf("%s", got)
	}
}

// TestReportDetails: what a screen shows of a wait.
func TestReportDetails(t *testing.T) {
	const front = "Nov 23 16:00:02 mail postfix/smtp[101]: "
	r := reportOf(t, front+"warning: socketmap:inet:127.0.0.1:8461:sts socketmap server temporary error: no DNS\n"+
		front+"warning: TLS policy lookup for relay.example.org/mx1.example.org: client TLS configuration problem\n"+
		front+"4F0C31A2B3: to=<u@example.com>, relay=none, delay=62, delays=0/0/62/0, dsn=4.7.5, "+
		"status=deferred (client TLS configuration problem)\n"+
		"Nov 23 16:00:09 mail postfix/smtp[102]: 4F0C31A2B4: to=<u@example.com>, relay=mx1.example.org[192.0.2.1]:25, "+
		"delay=2, delays=0/0/2/0, tls=secure, dsn=2.0.0, status=sent (250 Ok)\n")
	waits := r.Waiting()
	if len(waits) != 1 {
		t.Fatalf("%d wait", len(waits))
	}
	w := waits[0]
	if w.Record.MX != "mx1.example.org" || w.Record.NextHop != "relay.example.org" ||
		w.Record.Text != "no DNS" ||
		!w.Record.Last.Equal(time.Date(2026, 11, 23, 16, 0, 2, 0, time.UTC)) ||
		!w.Oldest.Equal(time.Date(2026, 11, 23, 15, 59, 0, 0, time.UTC)) {
		t.Errorf("%+v, %+v", w, w.Record)
	}
	if levels := w.Domain.Levels; !levels.Has(LevelSecure) || levels.Has(LevelMay) {
		t.Errorf("levels %b", levels)
	}
	first, last := r.Period()
	if first.Format(time.TimeOnly) != "16:00:02" || last.Format(time.TimeOnly) != "16:00:09" {
		t.Errorf("from %v to %v", first, last)
	}
	if c := r.Counts(w.Domain); c.Verified != 1 || c.Waiting != 1 || c.Deferrals != 1 || w.Domain.Recipients() != 2 {
		t.Errorf("%+v, %d recipients", c, w.Domain.Recipients())
	}
}
