package contract

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
)

// The collector's numbers (RFC 8460 section 4.3 by libtlsrpt's names).
const (
	policySTS, policyNone = 2, 9

	startTLSNotSupported, certificateHostMismatch, certificateExpired, validationFailure = 201, 202, 204, 205
	policyFetchError, policyInvalid, webPKIInvalid                                       = 301, 302, 303
)

// eventCase is a delivery and what Postfix reports of it.
type eventCase struct {
	name, why string
	plain     bool // the MX host has no STARTTLS
	spoil     func(*testing.T, *world.World, *world.MXHost)
	mode      string // of the policy; "": there is none
	status    string
	code      int // 0: a success
}

var eventCases = []eventCase{
	{name: "verified", why: "all is well", mode: "enforce", status: "sent"},
	{name: "untrusted", why: "a certificate from nowhere", mode: "enforce", status: "deferred", code: validationFailure,
		spoil: func(t *testing.T, w *world.World, mx *world.MXHost) {
			mx.SetCertificate(world.Certificate(t)(w.Untrusted.Issue(mx.Name)))
		}},
	{name: "wrongname", why: "the certificate of another host", mode: "enforce", status: "deferred",
		code: certificateHostMismatch,
		spoil: func(t *testing.T, w *world.World, mx *world.MXHost) {
			mx.SetCertificate(world.Certificate(t)(w.CA.Issue("mail.attacker.test")))
		}},
	{name: "expired", why: "a certificate out of date", mode: "enforce", status: "deferred", code: certificateExpired,
		spoil: func(t *testing.T, w *world.World, mx *world.MXHost) {
			mx.SetCertificate(world.Certificate(t)(w.CA.IssueExpired(mx.Name)))
		}},
	{name: "nostarttls", why: "no STARTTLS", plain: true, mode: "enforce", status: "deferred",
		code: startTLSNotSupported},
	{name: "testing", why: "a testing policy is not told to Postfix, or it would report success whatever happens",
		mode: "testing", status: "sent"},
	{name: "nopolicy", why: "no policy", status: "sent"},
}

// TestTLSRPTEvents delivers with a Postfix that has libtlsrpt, and looks at what it reports: what it says of
// the policy it has from us.
func TestTLSRPTEvents(t *testing.T) {
	w := world.Open(t)
	p, _, collector := reportingPair(t, w)
	t.Run("cases", func(t *testing.T) {
		for _, c := range eventCases {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				checkEvent(t, w, p, collector, c)
			})
		}
	})
	p.NoComplaint(t)
}

func checkEvent(t *testing.T, w *world.World, p *world.Postfix, collector *world.Collector, c eventCase) {
	t.Helper()
	d := w.Domain("event-" + c.name)
	wantRecord := setReporting(w, d)
	mx := d.AddMX(t)
	if c.plain {
		mx = d.AddPlainMX(t)
	}
	if c.spoil != nil {
		c.spoil(t, w, mx)
	}
	want := world.TLSReportPolicy{Type: policyNone, Domain: d.Name}
	lines := []string{"version: STSv1", "mode: " + c.mode, "mx: " + mx.Name, comment, "mx: *.mail." + d.Name,
		"max_age: 604800"}
	if c.mode != "" {
		d.Publish(t, "1", strings.Join(append(lines, "left_out: {"), "\r\n"))
	}
	if c.mode == "enforce" {
		want = world.TLSReportPolicy{
			Type: policySTS, Domain: d.Name, MX: []string{mx.Name, "*.mail." + d.Name}, Lines: lines}
	}
	if c.code != 0 {
		want.Failed, want.Details = 1, []world.TLSReportFailure{{Code: c.code, MX: mx.Name}}
	}
	delivery := p.Delivery(t, p.Send(t, world.ByUnix, "user", "someone@"+d.Name))
	report := collector.Reports(t, d.Name, 1)[0]
	for _, p := range report.Policies {
		for i := range p.Details { // in OpenSSL's words, where Postfix has any
			p.Details[i].Reason = ""
		}
	}
	if delivery.Status != c.status || report.Version != "1" || report.Record != wantRecord ||
		!reflect.DeepEqual(report.Policies, []world.TLSReportPolicy{want}) {
		t.Errorf("%s:\n got %+v, want it %s\n got %s\nwant record %q and policy %+v", c.why, delivery, c.status,
			report.Text, wantRecord, want)
	}
}

// comment is a line that a policy may have, and that must reach a report as it is.
const comment = `comment: Köln, "as is" = 1 \ 2; <a> 'b' $c`

func failures(p world.TLSReportPolicy) []int {
	var codes []int
	for _, d := range p.Details {
		codes = append(codes, d.Code)
	}
	return codes
}

// reportingPair starts a Postfix with libtlsrpt, the stsmapd that it asks, and the collector to which both report.
func reportingPair(t *testing.T, w *world.World) (*world.Postfix, *world.Daemon, *world.Collector) {
	t.Helper()
	p, daemon := startPair(t, w, world.PostfixConfig{
		Map: "sts+tlsrpt", Tree: w.Tree(t, world.Sid, w.Resolver()), Collector: true,
	}, world.DaemonConfig{})
	return p, daemon, world.NewCollector(t, p.CollectorSocket())
}

// setReporting lets the domain ask for reports, and returns its TLSRPT record (RFC 8460 section 3).
func setReporting(w *world.World, d *world.Domain) string {
	record := "v=TLSRPTv1; rua=mailto:tls@" + d.Name
	w.DNS.Set(reportName(d), dns.TypeTXT, fmt.Sprintf("%s. 1 IN TXT %q", reportName(d), record))
	return record
}

func reportName(d *world.Domain) string { return "_smtp._tls." + d.Name }
