package contract

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
)

// breakings are how the fetch of a policy fails, and what is to be reported.
var breakings = []struct {
	name  string
	code  int
	begin func(*testing.T, *world.World, *world.Domain)
}{
	{"host down", policyFetchError, func(_ *testing.T, _ *world.World, d *world.Domain) { d.Policy.Refuse() }},
	{"no file", policyFetchError,
		func(_ *testing.T, _ *world.World, d *world.Domain) { d.Policy.Handle(http.NotFound) }},
	{"invalid policy", policyInvalid,
		func(_ *testing.T, _ *world.World, d *world.Domain) { d.Policy.Serve("version: STSv2\r\n") }},
	{"bad certificate", webPKIInvalid, func(t *testing.T, w *world.World, d *world.Domain) {
		d.Policy.SetCertificate(world.Certificate(t)(w.Untrusted.Issue(d.PolicyName())))
	}},
}

// TestTLSRPTFetchFailures breaks policy hosts, with and without a live policy: the mail goes on, stsmapd
// reports why the policy could not be fetched, and what it reports has the form of what Postfix reports.
func TestTLSRPTFetchFailures(t *testing.T) {
	w := world.Open(t)
	p, daemon, collector := reportingPair(t, w)
	complete := eventWithAll(t, w, p, collector)
	t.Run("cases", func(t *testing.T) {
		for _, b := range breakings {
			for _, live := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s/live=%v", b.name, live), func(t *testing.T) {
					t.Parallel()
					d := w.Domain("broken")
					record := setReporting(w, d)
					mx := d.AddMX(t)
					d.Publish(t, "1", world.Text("enforce", mx.Name, "*.mail."+d.Name))
					deliver := func() {
						t.Helper()
						want := map[bool]string{true: "Verified", false: "Trusted"}[live]
						if got := p.Delivery(t, p.Send(t, world.ByInet, "user",
							"someone@"+d.Name)); got.Status != "sent" || got.TLS != want {
							t.Errorf("got %+v, want it sent, %s", got, want)
						}
					}
					if live {
						deliver()
						d.SetID("2")
					}
					b.begin(t, w, d)
					var ours, theirs []world.TLSReport
					world.Eventually(t, world.Hang, "a report of the failed fetch", func() bool {
						if len(ours) == 0 {
							daemon.Ask(t, "sts+tlsrpt", d.Name)
						}
						ours, theirs = byWhom(collector.SoFar(d.Name))
						return len(ours) > 0
					})
					deliver()
					if len(theirs) == 0 {
						world.Eventually(t, world.Hang, "Postfix's own report", func() bool {
							_, theirs = byWhom(collector.SoFar(d.Name))
							return len(theirs) > 0
						})
					}
					checkOurs(t, ours[0], theirs[0], record, b.code, live)
					checkForm(t, ours[0], complete, live)
				})
			}
		}
	})
	p.NoComplaint(t)
}

// byWhom tells stsmapd's reports from Postfix's, which has no such failures.
func byWhom(reports []world.TLSReport) (ours, theirs []world.TLSReport) {
	for _, r := range reports {
		if len(r.Policies) == 1 &&
			slices.ContainsFunc(failures(r.Policies[0]), func(code int) bool { return code > 300 }) {
			ours = append(ours, r)
			continue
		}
		theirs = append(theirs, r)
	}
	return ours, theirs
}

// checkOurs compares a report of stsmapd's with what it must say, and with a report of Postfix's about the same domain.
func checkOurs(t *testing.T, ours, theirs world.TLSReport, record string, code int, live bool) {
	t.Helper()
	t.Logf("ours   %s\ntheirs %s", ours.Text, theirs.Text)
	if ours.Version != theirs.Version || ours.Domain != theirs.Domain || ours.Record != record ||
		theirs.Record != record {
		t.Errorf("the reports are about different things:\n%s\n%s", ours.Text, theirs.Text)
	}
	us, them := ours.Policies[0], theirs.Policies[0]
	if us.Type != policySTS || us.Failed != 1 || !slices.Equal(failures(us), []int{code}) ||
		us.Details[0].Reason == "" {
		t.Errorf("the report is not one of failure %d, with a reason: %s", code, ours.Text)
	}
	if live && (us.Type != them.Type || us.Domain != them.Domain || !slices.Equal(us.Lines, them.Lines) ||
		!slices.Equal(us.MX, them.MX)) {
		t.Errorf("the policy is not the one that Postfix has been told:\n%s\n%s", ours.Text, theirs.Text)
	}
	if !live && (us.Domain != them.Domain || us.Lines != nil || us.MX != nil || them.Type != policyNone) {
		t.Errorf("there is no policy to report:\n%s\n%s", ours.Text, theirs.Text)
	}
}

// eventWithAll is a report of Postfix's that has all that one of ours can have: a policy and a failure.
func eventWithAll(t *testing.T, w *world.World, p *world.Postfix, collector *world.Collector) world.TLSReport {
	t.Helper()
	d := w.Domain("form")
	setReporting(w, d)
	mx := d.AddPlainMX(t)
	d.Publish(t, "1", world.Text("enforce", mx.Name))
	p.Delivery(t, p.Send(t, world.ByInet, "user", "someone@"+d.Name))
	return collector.Reports(t, d.Name, 1)[0]
}

// checkForm compares our datagram, field by field, type by type and in order, with one that libtlsrpt made for Postfix.
func checkForm(t *testing.T, ours, theirs world.TLSReport, live bool) {
	t.Helper()
	got, want := form(t, ours.Text), form(t, theirs.Text)
	// Postfix has a reason in words for some failures only.
	got = slices.DeleteFunc(got, func(field string) bool { return field == reasonField })
	want = slices.DeleteFunc(want, func(field string) bool { return field == reasonField })
	want = slices.DeleteFunc(want, func(field string) bool {
		for _, key := range []string{"s", "n", "h", "r"} { // addresses, name and greeting of an MX host: there is none
			if field == ".policies[].failure-details[]."+key+" string" {
				return true
			}
		}
		return !live && (strings.HasPrefix(field, ".policies[].policy-string") ||
			strings.HasPrefix(field, ".policies[].mx-host"))
	})
	if !slices.Equal(got, want) {
		t.Errorf("the fields, in their order, are\n%s\nnot\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

const reasonField = ".policies[].failure-details[].f string"

// form lists the fields of a JSON object with their types, in order: ".policies[].t number" and so on.
func form(t *testing.T, text string) []string {
	t.Helper()
	var fields []string
	decoder := json.NewDecoder(strings.NewReader(text))
	var value func(path string)
	value = func(path string) {
		token, err := decoder.Token()
		if err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		kind := fmt.Sprintf("%T", token)
		delim, nested := token.(json.Delim)
		if nested {
			kind = map[json.Delim]string{'{': "object", '[': "list"}[delim]
		}
		if field := path + " " + kind; !slices.Contains(fields, field) {
			fields = append(fields, field)
		}
		for nested && decoder.More() {
			if delim == '[' {
				value(path + "[]")
				continue
			}
			key, err := decoder.Token()
			if err != nil {
				t.Fatalf("%v in %s", err, text)
			}
			value(fmt.Sprintf("%s.%v", path, key))
		}
		if nested {
			if _, err := decoder.Token(); err != nil {
				t.Fatalf("%v in %s", err, text)
			}
		}
	}
	value("")
	return fields
}

// TestTLSRPTNothingToReport has policies that can be fetched, domains that do not ask for reports, and a policy that
// its domain has withdrawn.
func TestTLSRPTNothingToReport(t *testing.T) {
	t.Parallel()
	w := world.Open(t)
	collector := world.NewCollector(t, world.SocketPath(t))
	daemon := w.StartDaemon(t, world.DaemonConfig{Collector: collector.Path})
	good, unasked, withdrawn, fence := w.Domain("good"), w.Domain("unasked"), w.Domain("withdrawn"), w.Domain("fence")
	for _, d := range []*world.Domain{good, withdrawn, fence} {
		setReporting(w, d)
	}
	for _, d := range []*world.Domain{good, unasked, fence} {
		d.Publish(t, "1", d.EnforcedText())
	}
	withdrawn.Publish(t, "1", world.Text("none"))
	for _, d := range []*world.Domain{good, withdrawn} {
		daemon.Ask(t, "sts+tlsrpt", d.Name)
	}
	for _, d := range []*world.Domain{unasked, withdrawn, fence} {
		d.Policy.Handle(http.NotFound)
	}
	withdrawn.SetID("2")
	world.Eventually(t, world.Hang, "the failed fetch of a policy in mode none", func() bool {
		daemon.Ask(t, "sts+tlsrpt", withdrawn.Name)
		return withdrawn.Policy.Requests() > 1
	})
	daemon.Ask(t, "sts+tlsrpt", unasked.Name)
	world.Eventually(t, world.Hang, "the lookup of the TLSRPT record", func() bool {
		return w.DNS.Count(reportName(unasked), dns.TypeTXT) > 0
	})
	daemon.Ask(t, "sts+tlsrpt", fence.Name)
	collector.Reports(t, fence.Name, 1) // all earlier reports have come
	for _, d := range []*world.Domain{good, withdrawn} {
		if n := w.DNS.Count(reportName(d), dns.TypeTXT); n != 0 {
			t.Errorf("%d lookups of the TLSRPT record of %s, of which there is nothing to report", n, d.Name)
		}
	}
	for _, d := range []*world.Domain{good, unasked, withdrawn} {
		if got := collector.SoFar(d.Name); len(got) != 0 {
			t.Errorf("%d reports about %s, want none: %+v", len(got), d.Name, got)
		}
	}
}

// TestTLSRPTCollectorAway has failures to report and a collector that does not read them. No answer may wait for it.
func TestTLSRPTCollectorAway(t *testing.T) {
	t.Parallel()
	w := world.Open(t)
	for _, c := range []struct {
		name  string
		begin func(*testing.T, string)
	}{
		{"missing", func(*testing.T, string) {}},
		{"full", func(t *testing.T, path string) {
			world.ListenDatagrams(t, path)
			conn, err := net.Dial("unixgram", path)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = conn.Close() })
			for err == nil {
				if err := conn.SetWriteDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
					t.Fatal(err)
				}
				_, err = conn.Write([]byte("{}"))
			}
		}},
		{"slow", func(t *testing.T, path string) {
			conn := world.ListenDatagrams(t, path)
			tick := time.NewTicker(800 * time.Millisecond)
			go func() {
				defer tick.Stop()
				for range tick.C {
					if _, err := conn.Read(make([]byte, 1<<16)); err != nil {
						return // closed
					}
				}
			}()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := world.SocketPath(t)
			c.begin(t, path)
			daemon := w.StartDaemon(t, world.DaemonConfig{Collector: path})
			fail := func(reporting bool) time.Duration {
				d := w.Domain("away")
				if reporting {
					setReporting(w, d)
				}
				d.Publish(t, "1", d.EnforcedText())
				d.Policy.Handle(http.NotFound)
				begin := time.Now()
				if got := daemon.Ask(t, "sts+tlsrpt", d.Name); got != "NOTFOUND " {
					t.Errorf("got %q", got)
				}
				return time.Since(begin)
			}
			// Beside each failure that is to be reported, one that is not: it takes as long, but for the collector.
			longer := make([]time.Duration, 30)
			for i := range longer {
				without := fail(false)
				longer[i] = fail(true) - without
			}
			slices.Sort(longer)
			median := longer[len(longer)/2]
			t.Logf("with a report an answer takes longer by %v to %v, the median is %v", longer[0],
				longer[len(longer)-1], median)
			// A datagram waits 1 s for a full collector, 0.8 s for the slow one.
			if median > 400*time.Millisecond {
				t.Errorf("a failure to report delays the answer by %v: as long as the collector would take", median)
			}
		})
	}
}
