package world

import (
	"regexp"
	"testing"
)

// Delivery is what Postfix's log says of one attempt to deliver a mail.
type Delivery struct {
	Status string // "sent", "deferred" or "bounced"
	Relay  string // the host it went to, "none" if it came to none
	Reason string
	Route  Route
	// what Postfix thought of the relay's TLS: "Verified", "Trusted", "Untrusted", "Anonymous", or "" without TLS
	TLS   string
	Fault string // what it found wrong with the relay's certificate, "" if nothing
}

var (
	statusLine = regexp.MustCompile(` postfix/(\w+)/smtp\[.* relay=([^,[]+)[^,]*, .*status=(\w+) \((.*)\)$`)
	tlsLine    = regexp.MustCompile(`: (\w+) TLS connection established to `)
	faultLine  = regexp.MustCompile(`certificate verification failed for [^ ]*: (.*)$`)
)

// Delivery waits for the first attempt to deliver the mail with this queue id, and returns it. It reads the TLS lines
// of the relay, so that a test of TLS needs a relay for each mail.
func (p *Postfix) Delivery(t testing.TB, queueID string) Delivery {
	t.Helper()
	var found []string
	Eventually(t, Hang, "Postfix's first attempt to deliver "+queueID, func() bool {
		found = p.LogLines(t, " "+queueID+": to=<", " status=")
		return len(found) > 0
	})
	match := statusLine.FindStringSubmatch(found[0])
	if match == nil {
		t.Fatalf("a line of Postfix's log that this test does not understand: %s", found[0])
	}
	delivery := Delivery{Route: Route(match[1]), Relay: match[2], Status: match[3], Reason: match[4]}
	for _, line := range p.LogLines(t, "/smtp[", delivery.Relay+"[") {
		if match := tlsLine.FindStringSubmatch(line); match != nil {
			delivery.TLS = match[1]
		}
		if match := faultLine.FindStringSubmatch(line); match != nil {
			delivery.Fault = match[1]
		}
	}
	return delivery
}
