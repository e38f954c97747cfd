package e2e

import (
	"crypto/x509"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
	"github.com/stsmapd/stsmapd/resolver/dnsclient/dnstest"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// checkCase is a domain, and the last line that `stsmapd check` must print about it: "mail to <domain> would be …".
type checkCase struct {
	name string
	set  func(*testing.T, *world.World, *world.Domain) *world.MXHost // the result is for want
	code int
	want string // %d: the domain, %m: the MX host
}

const asWithout = "delivered as without MTA-STS: "

// spoiled is a good domain after a change.
func spoiled(change func(*testing.T, *world.World, *world.Domain, *world.MXHost)) func(*testing.T, *world.World,
	*world.Domain) *world.MXHost {
	return func(t *testing.T, w *world.World, d *world.Domain) *world.MXHost {
		mx := d.AddEnforcedMX(t)
		change(t, w, d, mx)
		return mx
	}
}

var checkCases = []checkCase{
	{"good", spoiled(func(*testing.T, *world.World, *world.Domain, *world.MXHost) {}), 0, "delivered, verified"},
	{"no record", spoiled(func(_ *testing.T, _ *world.World, d *world.Domain, _ *world.MXHost) { d.SetTXT() }), 1,
		asWithout + "it has no policy"},
	{"two records", spoiled(func(_ *testing.T, _ *world.World, d *world.Domain, _ *world.MXHost) {
		d.SetTXT("v=STSv1; id=1;", "v=STSv1; id=2;")
	}), 1,
		asWithout + "it has more than one MTA-STS record, so all are ignored"},
	{"malformed record", spoiled(
		func(_ *testing.T, _ *world.World, d *world.Domain, _ *world.MXHost) { d.SetTXT("v=STSv1; id=;") }), 1,
		asWithout + `its MTA-STS record is malformed: the MTA-STS record has "id=" where name=value belongs`},
	{"record servfail", spoiled(func(_ *testing.T, w *world.World, d *world.Domain, _ *world.MXHost) {
		w.DNS.On(d.RecordName(), dns.TypeTXT, dnstest.ServFail)
	}), 1, asWithout + "the DNS answered SERVFAIL when asked for _mta-sts.%d"},
	{"policy host gone", spoiled(func(_ *testing.T, w *world.World, d *world.Domain, _ *world.MXHost) {
		w.DNS.Set(d.PolicyName(), dns.TypeA, "")
	}), 1,
		asWithout + "its policy cannot be fetched: mta-sts.%d: no address in the DNS"},
	{"policy host refuses", spoiled(
		func(_ *testing.T, _ *world.World, d *world.Domain, _ *world.MXHost) { d.Policy.Refuse() }), 1,
		asWithout + "its policy cannot be fetched: mta-sts.%d cannot be reached: connection refused"},
	{"policy host mute", spoiled(
		func(_ *testing.T, _ *world.World, d *world.Domain, _ *world.MXHost) { d.Policy.Mute() }), 1,
		asWithout + "its policy cannot be fetched: not finished within 2s"},
	{"policy host untrusted", spoiled(func(t *testing.T, w *world.World, d *world.Domain, _ *world.MXHost) {
		d.Policy.SetCertificate(world.Certificate(t)(w.Untrusted.Issue(d.PolicyName())))
	}), 1, asWithout + "its policy cannot be fetched: mta-sts.%d has a certificate of no trusted authority: it is " +
		"from CN=Untrusted Test CA"},
	{"policy host misnamed", spoiled(func(t *testing.T, w *world.World, d *world.Domain, _ *world.MXHost) {
		d.Policy.SetCertificate(world.Certificate(t)(w.CA.Issue(d.Name)))
	}), 1, asWithout + "its policy cannot be fetched: mta-sts.%d has a certificate for %d, not its own name"},
	{"no file", spoiled(func(_ *testing.T, _ *world.World, d *world.Domain, _ *world.MXHost) {
		d.Policy.Handle(http.NotFound)
	}), 1,
		asWithout + "its policy cannot be fetched: HTTP status 404, not 200"},
	{"html", spoiled(func(t *testing.T, w *world.World, d *world.Domain, _ *world.MXHost) {
		answer(200, "text/html")(t, w, d)
	}), 1,
		asWithout + `its policy cannot be fetched: media type "text/html", not text/plain`},
	{"invalid policy", spoiled(func(_ *testing.T, _ *world.World, d *world.Domain, mx *world.MXHost) {
		d.Policy.Serve("version: STSv1\nmode: enforce\nmx: " + mx.Name + ".\nmx: *\nmax_age: 604800\n")
	}), 1, asWithout +
		`its policy is invalid: line 4: mx "*" is neither a host name nor "*." and a host name: ` +
		`it has '*', which is not allowed in a host name`},
	{"mode none", spoiled(func(_ *testing.T, _ *world.World, d *world.Domain, _ *world.MXHost) {
		d.Policy.Serve(world.Text("none"))
	}), 1,
		asWithout + "the policy is in mode none"},
	{"testing and ready", spoiled(func(_ *testing.T, _ *world.World, d *world.Domain, mx *world.MXHost) {
		d.Policy.Serve(world.Text("testing", mx.Name))
	}), 0, asWithout + "the policy is in mode testing; enforced, it would be delivered, verified"},
	{"testing and not ready", func(t *testing.T, _ *world.World, d *world.Domain) *world.MXHost {
		mx := d.AddPlainMX(t)
		d.Publish(t, "1", world.Text("testing", mx.Name))
		return mx
	}, 1, asWithout + "the policy is in mode testing; enforced, it would be deferred: %m offers no STARTTLS"},
	{"no STARTTLS", func(t *testing.T, _ *world.World, d *world.Domain) *world.MXHost {
		mx := d.AddPlainMX(t)
		d.Publish(t, "1", world.Text("enforce", mx.Name))
		return mx
	}, 1, "deferred: %m offers no STARTTLS"},
	{"not in the policy", spoiled(func(_ *testing.T, _ *world.World, d *world.Domain, _ *world.MXHost) {
		d.Policy.Serve(world.Text("enforce", "mail.elsewhere.test"))
	}), 1, "deferred: %m is not in the policy"},
	{"MX untrusted", spoiled(func(t *testing.T, w *world.World, _ *world.Domain, mx *world.MXHost) {
		mx.SetCertificate(world.Certificate(t)(w.Untrusted.Issue(mx.Name)))
	}), 1, "deferred: %m has a certificate of no trusted authority: it is from CN=Untrusted Test CA"},
	{"MX misnamed", spoiled(func(t *testing.T, w *world.World, _ *world.Domain, mx *world.MXHost) {
		mx.SetCertificate(world.Certificate(t)(w.CA.Issue("mail.attacker.test")))
	}), 1, "deferred: %m has a certificate for mail.attacker.test, not its own name"},
	{"first MX without STARTTLS", func(t *testing.T, _ *world.World, d *world.Domain) *world.MXHost {
		bad, good := d.AddPlainMX(t), d.AddMX(t)
		d.SetMX(bad.Name, good.Name)
		d.Publish(t, "1", world.Text("enforce", bad.Name, good.Name))
		return bad
	}, 0, "delivered, verified, to mx2.%d, after %m without success: %m offers no STARTTLS"},
	{"MX away", spoiled(func(_ *testing.T, w *world.World, d *world.Domain, mx *world.MXHost) {
		w.DNS.Set(mx.Name, dns.TypeA, fmt.Sprintf("%s. 300 IN A %s", mx.Name, w.Host()))
	}), 1, "deferred: %m cannot be reached on port 25: connection refused"},
	{"MX without an address", spoiled(func(_ *testing.T, w *world.World, d *world.Domain, mx *world.MXHost) {
		w.DNS.Set(mx.Name, dns.TypeA, "")
	}), 1,
		"returned: %m has no address in the DNS"},
	{"null MX", spoiled(func(_ *testing.T, w *world.World, d *world.Domain, _ *world.MXHost) {
		w.DNS.Set(d.Name, dns.TypeMX, d.Name+". 300 IN MX 0 .")
	}), 1, "returned: the domain takes no mail (null MX)"},
	{"MX servfail", spoiled(func(_ *testing.T, w *world.World, d *world.Domain, _ *world.MXHost) {
		w.DNS.On(d.Name, dns.TypeMX, dnstest.ServFail)
	}), 1, "deferred: the MX records cannot be looked up"},
	{"no such domain", func(*testing.T, *world.World, *world.Domain) *world.MXHost { return nil }, 1,
		"returned: the domain does not exist"},
}

func TestCheckLastLine(t *testing.T) {
	t.Parallel()
	w := world.Open(t)
	config := w.CheckConfig(t, netip.Addr{})
	watch := testkit.StartWatch(t)
	for _, c := range checkCases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := w.Domain("check")
			mx := c.set(t, w, d)
			replace := []string{"%d", d.Name}
			if mx != nil {
				replace = append(replace, "%m", mx.Name)
			}
			want := "mail to " + d.Name + " would be " + strings.NewReplacer(replace...).Replace(c.want) + "\n"
			begin := time.Now()
			got := w.Command(t, nil, "check", "--config", config, d.Name)
			if got.Code != c.code || !strings.HasSuffix(got.Stdout, "\n\n"+want) || got.Stderr != "" {
				t.Errorf("exit code %d, want %d; last line wanted:\n%s\ngot:\n%s%s", got.Code, c.code, want, got.Stdout,
					got.Stderr)
			}
			if took, limit := time.Since(begin), watch.Limit(15*time.Second); took > limit {
				t.Errorf("took %v, may take %v", took, limit)
			}
			if mx != nil && (mx.Saw("MAIL FROM") > 0 || len(mx.Messages()) > 0) {
				t.Error("a mail was begun")
			}
		})
	}
}

// TestCheckTable checks many domains at once, without a pause for the one that is slow.
func TestCheckTable(t *testing.T) {
	t.Parallel()
	w := world.Open(t)
	args := []string{"check", "--config", w.CheckConfig(t, netip.Addr{})}
	var want []string
	for i := range 12 {
		d := w.Domain("table")
		d.AddEnforcedMX(t)
		words := "delivered, verified"
		if i == 0 {
			d.Policy.Mute()
			words = "delivered as without MTA-STS:"
		}
		args, want = append(args, d.Name), append(want, d.Name+" ", words)
	}
	got := w.Command(t, nil, args...)
	at := 0
	for _, text := range want { // in the order of the arguments
		next := strings.Index(got.Stdout[at:], text)
		if next < 0 {
			t.Fatalf("no %q after byte %d:\n%s%s", text, at, got.Stdout, got.Stderr)
		}
		at += next
	}
	if got.Code != 1 || !strings.HasSuffix(got.Stdout, "\n11 of 12 domains pass\n") {
		t.Errorf("exit code %d:\n%s%s", got.Code, got.Stdout, got.Stderr)
	}
}

// TestCheckFollowsCertificate tests that a certificate is judged as it is now, and that its end is shown.
func TestCheckFollowsCertificate(t *testing.T) {
	t.Parallel()
	w := world.Open(t)
	config := w.CheckConfig(t, netip.Addr{})
	d := w.Domain("renewed")
	mx := d.AddEnforcedMX(t)
	old := world.Certificate(t)(w.CA.IssueExpired(mx.Name))
	mx.SetCertificate(old)
	leaf, err := x509.ParseCertificate(old.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("mail to %s would be deferred: %s has a certificate that expired on %s\n", d.Name, mx.Name,
		leaf.NotAfter.UTC().Format(time.DateOnly))
	if got := w.Command(t, nil, "check", "--config", config, d.Name); got.Code != 1 ||
		!strings.HasSuffix(got.Stdout, want) {
		t.Errorf("exit code %d, want 1 and %q:\n%s%s", got.Code, want, got.Stdout, got.Stderr)
	}
	mx.SetCertificate(world.Certificate(t)(w.CA.Issue(mx.Name)))
	if got := w.Command(t, nil, "check", "--config", config, d.Name); got.Code != 0 ||
		!strings.Contains(unwrapped(got.Stdout), "the certificate of "+mx.Name+" expires on") {
		t.Errorf("renewed for a day: exit code %d:\n%s%s", got.Code, got.Stdout, got.Stderr)
	}
}

// unwrapped is a text as one line.
func unwrapped(text string) string { return strings.Join(strings.Fields(text), " ") }

// TestCheckKnowsTheDaemon tests that check shows a policy file that changed under an old id, if a daemon remembers it.
func TestCheckKnowsTheDaemon(t *testing.T) {
	t.Parallel()
	w := world.Open(t)
	daemon := startControlled(t, w, "")
	config := w.CheckConfig(t, netip.Addr{})
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	text = []byte(strings.Replace(string(text), `control = ""`, fmt.Sprintf("control = %q", "unix:"+daemon.socket), 1))
	if err := os.WriteFile(config, text, 0o644); err != nil {
		t.Fatal(err)
	}
	d := w.Domain("remembered")
	mx := d.AddEnforcedMX(t)
	const advice = "the policy file has changed, and the id of _mta-sts."
	check := func(why string, want bool) {
		t.Helper()
		got := w.Command(t, nil, "check", "--config", config, d.Name)
		if strings.Contains(unwrapped(got.Stdout), advice) != want || got.Code != 0 {
			t.Errorf("%s: exit code %d:\n%s%s", why, got.Code, got.Stdout, got.Stderr)
		}
	}
	check("nothing is remembered", false)
	daemon.run(0, "cache", "refresh", d.Name)
	check("the same", false)
	d.Policy.Serve(world.Text("enforce", mx.Name, "mail.elsewhere.test"))
	check("another file", true)
	d.SetID("2")
	check("and another id", false)
}
