// Package sendmail shows that Sendmail 8.18 keeps policies that stsmapd answers.
package sendmail

import (
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
)

func TestMain(m *testing.M) { os.Exit(world.Main(m)) }

// page is packaging/docs/sendmail.md.
const page = "../../../../packaging/docs/sendmail.md"

// block returns the indented lines of the page that follow this one.
func block(t *testing.T, first string) string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "\n    "+first+"\n")
	if !found {
		t.Fatalf("%s has no line %q", page, first)
	}
	var lines strings.Builder
	for line := range strings.Lines(rest) {
		inner, ok := strings.CutPrefix(line, "    ")
		if !ok {
			break
		}
		lines.WriteString(inner)
	}
	return lines.String()
}

// TestSendmail delivers a mail for each row of the page's table, with the settings of the page.
func TestSendmail(t *testing.T) {
	w := world.Open(t)
	mc := block(t, "dnl /etc/mail/sendmail.mc")
	settings := strings.Replace(mc, "/etc/ssl/certs/ca-certificates.crt", w.CAFile, 1)
	s := w.NewSendmail(t, settings)
	if toml := block(t, "# /etc/stsmapd/stsmapd.toml"); !strings.Contains(toml, `"inet:127.0.0.1:5461"`) {
		t.Errorf("the page lets stsmapd listen by\n%s", toml)
	}
	line := "sendmail -d0.13 -bt </dev/null | grep -o -e _FFR_MTA_STS -e SOCKETMAP"
	block(t, line)
	got := strings.Fields(s.Shell(t, line))
	if !slices.Contains(got, "_FFR_MTA_STS") || !slices.Contains(got, "SOCKETMAP") {
		t.Errorf("%s prints %q", line, got)
	}
	d := w.StartDaemon(t, world.DaemonConfig{Inet: netip.MustParseAddrPort("127.0.0.1:5461")})
	for _, c := range cases() {
		t.Run(c.why, func(t *testing.T) {
			domain := w.Domain("sendmail")
			mx := c.publish(t, w, domain)
			c.judge(t, mx, s.Deliver(t, "user@"+domain.Name))
		})
	}
	t.Run("a smart host", func(t *testing.T) {
		relay := w.MXHost(t, "relay.sendmail.test", 25)
		by := w.NewSendmail(t, settings+"define(`SMART_HOST', `[relay.sendmail.test]')dnl")
		domain := w.Domain("sendmail")
		domain.AddEnforcedMX(t)
		deliveryCase{waits: "MX not found in"}.judge(t, relay, by.Deliver(t, "user@"+domain.Name))
	})
	t.Run("stsmapd does not answer in time", func(t *testing.T) {
		quick := strings.Replace(settings, "FEATURE(`sts')",
			"FEATURE(`sts', `socket -d1 -T<TMPF> inet:5461@127.0.0.1')", 1)
		domain := w.Domain("sendmail")
		mx := domain.AddEnforcedMX(t)
		domain.Policy.Mute() // so that stsmapd looks for 30 s
		by := w.NewSendmail(t, quick)
		deliveryCase{waits: "STS lookup temp fail"}.judge(t, mx, by.Deliver(t, "user@"+domain.Name))
	})
	d.Signal(t, syscall.SIGTERM)
	d.Wait(t)
	t.Run("stsmapd does not run", func(t *testing.T) {
		domain := w.Domain("sendmail")
		deliveryCase{waits: "STS lookup temp fail"}.judge(t, domain.AddMX(t), s.Deliver(t, "user@"+domain.Name))
	})
}

// deliveryCase is a domain, and what becomes of a mail to it.
type deliveryCase struct {
	why     string
	publish func(*testing.T, *world.World, *world.Domain) *world.MXHost
	waits   string // what Sendmail says, with MX for the host's name; "": the mail is delivered
	plain   bool   // and not by TLS
}

func cases() []deliveryCase {
	return []deliveryCase{
		{"a valid host", func(t *testing.T, _ *world.World, d *world.Domain) *world.MXHost {
			return d.AddEnforcedMX(t)
		}, "", false},
		{"a valid host by a wildcard", func(t *testing.T, _ *world.World, d *world.Domain) *world.MXHost {
			mx := d.AddMX(t)
			d.Publish(t, "1", world.Text("enforce", "mx.other.test", "*."+d.Name))
			return mx
		}, "", false},
		{"no STARTTLS", func(t *testing.T, _ *world.World, d *world.Domain) *world.MXHost {
			mx := d.AddPlainMX(t)
			d.Publish(t, "1", world.Text("enforce", mx.Name))
			return mx
		}, "other side does not support STARTTLS", false},
		{"a certificate for another name", func(t *testing.T, w *world.World, d *world.Domain) *world.MXHost {
			mx := d.AddEnforcedMX(t)
			mx.SetCertificate(world.Certificate(t)(w.CA.Issue("mx.other.test")))
			return mx
		}, "MX not listed in SANs", false},
		{"a certificate from an unknown CA", func(t *testing.T, w *world.World, d *world.Domain) *world.MXHost {
			mx := d.AddEnforcedMX(t)
			mx.SetCertificate(world.Certificate(t)(w.Untrusted.Issue(mx.Name)))
			return mx
		}, "authentication failed", false},
		{"an expired certificate", func(t *testing.T, w *world.World, d *world.Domain) *world.MXHost {
			mx := d.AddEnforcedMX(t)
			mx.SetCertificate(world.Certificate(t)(w.CA.IssueExpired(mx.Name)))
			return mx
		}, "authentication failed", false},
		{"an MX host outside the policy", func(t *testing.T, _ *world.World, d *world.Domain) *world.MXHost {
			mx := d.AddMX(t)
			d.Publish(t, "1", world.Text("enforce", "mx.other.test"))
			return mx
		}, "MX not found in", false},
		{"mode testing", func(t *testing.T, _ *world.World, d *world.Domain) *world.MXHost {
			mx := d.AddPlainMX(t)
			d.Publish(t, "1", world.Text("testing", "mx.other.test"))
			return mx
		}, "", true},
		{"mode none", func(t *testing.T, _ *world.World, d *world.Domain) *world.MXHost {
			mx := d.AddPlainMX(t)
			d.Publish(t, "1", world.Text("none"))
			return mx
		}, "", true},
		{"no policy", func(t *testing.T, _ *world.World, d *world.Domain) *world.MXHost {
			return d.AddPlainMX(t)
		}, "", true},
	}
}

// judge checks what the host got, and what Sendmail says.
func (c deliveryCase) judge(t *testing.T, mx *world.MXHost, said string) {
	t.Helper()
	messages, waits := mx.Messages(), strings.ReplaceAll(c.waits, "MX", mx.Name)
	switch {
	case waits != "" && (len(messages) > 0 || !strings.Contains(said, "Deferred") || !strings.Contains(said, waits)):
		t.Errorf("%d mails were delivered, want none, and %q in:\n%s", len(messages), waits, said)
	case waits == "" && (len(messages) != 1 || !strings.Contains(said, "... Sent") || messages[0].TLS == c.plain):
		t.Errorf("want one delivery, without TLS: %v; got %+v\n%s", c.plain, messages, said)
	case !c.plain && mx.Saw("MAIL FROM") > 0:
		t.Errorf("a sender's address went over the wire in the clear\n%s", said)
	}
	for line := range strings.Lines(said) {
		if strings.Contains(line, "Deferred") {
			t.Log(strings.TrimSpace(line))
		}
	}
}
