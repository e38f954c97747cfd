package monitor

import (
	"strings"
	"testing"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
)

// requireTLSCase is a domain, and what must become of a mail to it that asks for REQUIRETLS.
type requireTLSCase struct {
	name, why string
	announced bool   // the MX host announces REQUIRETLS
	mode      string // of the policy; "": none
	sent      bool
}

var requireTLSCases = []requireTLSCase{
	{"enforced", "an enforced policy authenticates the MX host (RFC 8689 section 4.2.1)", true, "enforce", true},
	{"unannounced", "the MX host must announce it", false, "enforce", false},
	{"nopolicy", "nothing authenticates the MX host", true, "", false},
	{"testing", "mode testing authenticates nothing", true, "testing", false},
}

// TestRequireTLS has Postfix 3.11 or later deliver mail that asks for REQUIRETLS.
func TestRequireTLS(t *testing.T) {
	w := world.Open(t)
	for _, mapName := range []string{"sts", "sts+tlsrpt", "sts+dane"} {
		t.Run(mapName, func(t *testing.T) {
			config, resolver := world.PostfixConfig{Map: mapName}, w.Resolver()
			daemon := world.DaemonConfig{}
			if mapName == "sts+dane" {
				resolver, config.DANE = w.Validator(t).Addr, true
				daemon.Resolver = resolver
			}
			config.Tree = w.Tree(t, world.Sid, resolver)
			p, _ := start(t, w, config, daemon)
			for _, c := range requireTLSCases {
				checkRequireTLS(t, w, p, c)
			}
		})
	}
}

func checkRequireTLS(t *testing.T, w *world.World, p *world.Postfix, c requireTLSCase) {
	t.Helper()
	d := w.Domain(c.name)
	host := w.MXHost
	if c.announced {
		host = w.RequireTLSMXHost
	}
	mx := host(t, "mx1."+d.Name, 25)
	d.SetMX(mx.Name)
	if c.mode != "" {
		d.Publish(t, "1", world.Text(c.mode, mx.Name))
	}
	got := p.Delivery(t, p.SendRequireTLS(t, world.ByInet, "user", "someone@"+d.Name))
	messages := mx.Messages()
	if c.sent && (got.Status != "sent" || len(messages) != 1 || !messages[0].RequireTLS) {
		t.Errorf("%s: %s: %+v, and the MX host took %+v", c.name, c.why, got, messages)
	}
	if !c.sent && (got.Status != "bounced" || len(messages) != 0 || !strings.Contains(got.Reason, "REQUIRETLS")) {
		t.Errorf("%s: %s: %+v, and the MX host took %+v", c.name, c.why, got, messages)
	}
}
