package e2e

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
	"github.com/stsmapd/stsmapd/resolver/dnsclient/dnstest"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

const (
	// prompt is within what 99 of 100 answers from memory must come on a machine that does nothing else, and stall all
	// of them; an answer that waited for the DNS or for HTTPS would take seconds.
	prompt = 50 * time.Millisecond
	stall  = 500 * time.Millisecond
	// aftermath is for how long the answers are watched once stsmapd has met the outage.
	aftermath = time.Second
)

// outages are what must not take a live policy away (RFC 8461 sections 3.1 and 3.3). stsmapd meets them when it looks
// at the record again; those of HTTPS when it fetches what the new id announces.
var outages = []struct {
	name  string
	begin func(*testing.T, *world.World, *world.Domain)
}{
	{"TXT gone", func(_ *testing.T, _ *world.World, d *world.Domain) { d.SetTXT() }},
	{"two TXT records", func(_ *testing.T, _ *world.World, d *world.Domain) {
		d.SetTXT("v=STSv1; id=1;", "v=STSv1; id=2;")
	}},
	{"TXT without id", func(_ *testing.T, _ *world.World, d *world.Domain) { d.SetTXT("v=STSv1;") }},
	{"SERVFAIL", func(_ *testing.T, _ *world.World, d *world.Domain) { d.BreakDNS(dnstest.ServFail) }},
	{"REFUSED", func(_ *testing.T, _ *world.World, d *world.Domain) { d.BreakDNS(dnstest.Rcode(dns.RcodeRefused)) }},
	{"DNS timeout", func(_ *testing.T, _ *world.World, d *world.Domain) { d.BreakDNS(dnstest.Drop) }},
	{"new id, HTTPS refused", func(_ *testing.T, _ *world.World, d *world.Domain) { d.Policy.Refuse(); d.SetID("2") }},
	{"new id, HTTPS silent", func(_ *testing.T, _ *world.World, d *world.Domain) { d.Policy.Mute(); d.SetID("2") }},
	{"new id, no address", func(_ *testing.T, w *world.World, d *world.Domain) {
		w.DNS.Set(d.PolicyName(), dns.TypeA, "")
		d.SetID("2")
	}},
	{"new id, untrusted certificate", func(t *testing.T, w *world.World, d *world.Domain) {
		d.Policy.SetCertificate(world.Certificate(t)(w.Untrusted.Issue(d.PolicyName())))
		d.SetID("2")
	}},
	{"new id, 404", func(_ *testing.T, _ *world.World, d *world.Domain) {
		d.Policy.Handle(http.NotFound)
		d.SetID("2")
	}},
	{"new id, empty file", func(_ *testing.T, _ *world.World, d *world.Domain) { d.Policy.Serve(""); d.SetID("2") }},
	{"new id, invalid file", func(_ *testing.T, _ *world.World, d *world.Domain) {
		d.Policy.Serve(world.Text("enforce")) // without an mx
		d.SetID("2")
	}},
}

func TestOutagesTakeNoLivePolicy(t *testing.T) {
	w := world.Open(t)
	daemon := w.StartDaemon(t, world.DaemonConfig{})
	watch := testkit.StartWatch(t)
	for _, outage := range outages {
		t.Run(outage.name, func(t *testing.T) {
			t.Parallel()
			d := w.Domain("outage")
			d.Publish(t, "1", d.EnforcedText())
			want := "OK secure match=mx1." + d.Name + " servername=hostname"
			ask := daemon.Asker(t, daemon.Listeners()[0])
			if got := ask("postfix", d.Name); got != want {
				t.Fatalf("before the outage: %q, want %q", got, want)
			}
			outage.begin(t, w, d)
			before := d.Lookups()
			var times []time.Duration
			askInOutage := func() {
				t.Helper()
				begin := time.Now()
				got := ask("postfix", d.Name)
				took := time.Since(begin)
				if got != want {
					t.Fatalf("in the outage: %q, want %q", got, want)
				}
				times = append(times, took)
			}
			world.Eventually(t, world.Hang, "a look at the TXT record in the outage", func() bool {
				askInOutage()
				return d.Lookups() > before
			})
			end := time.Now().Add(aftermath)
			world.Poll(2*aftermath, func() bool {
				askInOutage()
				return time.Now().After(end)
			})
			slices.Sort(times)
			p99, slowest := times[len(times)*99/100], times[len(times)-1]
			t.Logf("%d answers in the outage, p99 %v, the slowest after %v", len(times), p99, slowest)
			if p99 > watch.Limit(prompt) || slowest > watch.Limit(stall) {
				t.Errorf("p99 of %d answers is %v, the slowest took %v; at this moment they may take %v and %v",
					len(times), p99,
					slowest, watch.Limit(prompt), watch.Limit(stall))
			}
		})
	}
}

func TestNewIDIsServed(t *testing.T) {
	t.Parallel()
	w := world.Open(t)
	daemon := w.StartDaemon(t, world.DaemonConfig{})
	d := w.Domain("newid")
	d.Publish(t, "1", world.Text("enforce", "old."+d.Name))
	if got, want := daemon.Ask(t, "postfix", d.Name),
		"OK secure match=old."+d.Name+" servername=hostname"; got != want {
		t.Fatalf("before the change: %q, want %q", got, want)
	}
	d.Policy.Serve(world.Text("enforce", "new."+d.Name)) // first the file, then the id (RFC 8461 section 8.1)
	d.SetID("2")
	world.Eventually(t, world.Hang, "the new policy", func() bool {
		return daemon.Ask(t, "postfix", d.Name) == "OK secure match=new."+d.Name+" servername=hostname"
	})
	if n := d.Policy.Requests(); n != 2 {
		t.Errorf("%d GETs for two ids, want 2", n)
	}
}

func TestUnchangedIDIsNotFetched(t *testing.T) {
	t.Parallel()
	w := world.Open(t)
	daemon := w.StartDaemon(t, world.DaemonConfig{})
	d := w.Domain("sameid")
	d.Publish(t, "1", world.Text("enforce", "mx1."+d.Name))
	const looks = 3 // the first, and two more
	world.Eventually(t, world.Hang, "two more looks at the TXT record", func() bool {
		daemon.Ask(t, "postfix", d.Name)
		return d.Lookups() >= looks
	})
	if n := d.Policy.Requests(); n != 1 {
		t.Errorf("%d GETs for one id after %d looks at it, want 1", n, d.Lookups())
	}
}
