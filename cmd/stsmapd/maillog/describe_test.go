package maillog

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

// noon is the time by which the years of traditional times are found in tests.
func noon() time.Time { return time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC) }

// describe writes an event as a test's expectation has it.
func describe(event Event) string {
	switch e := event.(type) {
	case nil:
		return ""
	case *Delivery:
		s := fmt.Sprintf("to %s by %s: %s", e.Domain(), describePeer(e.Relay), statusWord(e.Status))
		if e.TLS.IsLogged() {
			s += " tls=" + e.TLS.String()
		}
		if len(e.DSN) > 0 {
			s += " " + string(e.DSN)
		}
		if reason, _ := classify(e.Reason); reason != NoReason {
			s += " " + reason.String()
		}
		return s
	case *Connection:
		if e.Trust == NoTrust {
			return "handshake failed " + describePeer(e.Peer)
		}
		return fmt.Sprintf("%s %s", strings.ToLower(trustWords[e.Trust]), describePeer(e.Peer))
	case *Certificate:
		return fmt.Sprintf("certificate of %s: %s", describePeer(e.Peer), e.Reason)
	case *PolicyFailure:
		return strings.TrimRight(fmt.Sprintf("policy: %s next-hop=%s host=%s text=%s", e.Reason, e.NextHop, e.Host,
			e.Text), " ")
	case *Attempt:
		return fmt.Sprintf("attempt %s: %s", e.QueueID, e.Reason)
	case *Gone:
		return fmt.Sprintf("%s %s", e.QueueID, map[Exit]string{Removed: "removed", Expired: "expired"}[e.Exit])
	default:
		return fmt.Sprintf("%T", event)
	}
}

func describePeer(p Peer) string {
	if p.IsZero() {
		return "none"
	}
	return fmt.Sprintf("%s[%s]:%s", p.Host, p.Address, p.Port)
}

func statusWord(s Status) string {
	return map[Status]string{CutStatus: "cut", Sent: "sent", Deferred: "deferred", Bounced: "bounced",
		Probed: "probed"}[s]
}

// scan reads a log and hands on its events.
func scan(t testing.TB, text string, handle func(*Line, Event)) Stats {
	t.Helper()
	in, err := NewInput("test", strings.NewReader(text), noon())
	if err != nil {
		t.Fatal(err)
	}
	in.Zone = time.UTC
	stats, err := in.Scan(context.Background(), handle)
	if err != nil {
		t.Fatal(err)
	}
	return stats
}

// events reads a log and describes its events, one a line.
func events(t testing.TB, text string) string {
	t.Helper()
	var out bytes.Buffer
	scan(t, text, func(_ *Line, e Event) { fmt.Fprintln(&out, describe(e)) })
	return strings.TrimSpace(out.String())
}

// reportOf reads a log into a report.
func reportOf(t testing.TB, text string) *Report {
	t.Helper()
	r := NewReport(DefaultLimits())
	scan(t, text, r.Add)
	return r
}

// summarize writes what a report says, a line for each domain and each wait.
func summarize(r *Report) string {
	var out bytes.Buffer
	for _, d := range r.Domains() {
		fmt.Fprintf(&out, "%s:%s", d.Name, countWords(r.Counts(d)))
		for _, reason := range d.Reasons {
			fmt.Fprintf(&out, " [%s mx=%s", reason.Reason, reason.MX)
			for _, c := range []struct {
				name  string
				count uint32
			}{{"deferrals", reason.Deferrals}, {"sent-after", reason.SentAfter}, {"bounced", reason.Bounced},
				{"removed", reason.Removed}} {
				if c.count > 0 {
					fmt.Fprintf(&out, " %s=%d", c.name, c.count)
				}
			}
			out.WriteString("]")
		}
		out.WriteString("\n")
	}
	for _, w := range r.Waiting() {
		fmt.Fprintf(&out, "waits: %s %s messages=%d recipients=%d oldest=%s\n", w.Domain.Name, w.Record.Reason,
			w.Messages,
			w.Recipients, w.Oldest.Format("01-02T15:04:05"))
	}
	return strings.TrimSpace(out.String())
}

func countWords(c Counts) string {
	var out strings.Builder
	for _, n := range []struct {
		name  string
		count int
	}{{"verified", c.Verified}, {"encrypted", c.Encrypted}, {"plaintext", c.Plaintext}, {"unlogged", c.Unlogged},
		{"below", c.Below},
		{"bounced", c.Bounced}, {"removed", c.Removed}, {"other", c.Other}, {"waiting", c.Waiting}} {
		if n.count > 0 {
			fmt.Fprintf(&out, " %s=%d", n.name, n.count)
		}
	}
	return out.String()
}
