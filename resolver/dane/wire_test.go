package dane

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"github.com/stsmapd/stsmapd/resolver/dnsclient"
	"github.com/stsmapd/stsmapd/resolver/dnsclient/dnstest"
)

// TestOnTheWire asks a real DNS server with the real client.
func TestOnTheWire(t *testing.T) {
	digest := strings.Repeat("ab", 32)
	zone := `example.test MX 10 mx.example.test
		mx.example.test CNAME mail.host.test
		mail.host.test A 192.0.2.1
		mail.host.test AAAA 2001:db8::1
		_25._tcp.mail.host.test TLSA 3 1 1 ` + digest
	unproven := dnstest.Edit(func(m *dns.Msg) { m.AuthenticatedData = false })
	for _, c := range []struct {
		why     string
		ad      bool
		more    string // records
		hooks   map[string]dnstest.Hook
		want    Status
		queries int
	}{
		{"all is signed", true, "", nil, Usable, 4},
		{"nothing is signed", false, "", nil, None, 1},
		{"an alias that leads out of DNSSEC, with records of its own", true,
			"_25._tcp.mx.example.test TLSA 3 1 1 " + digest, map[string]dnstest.Hook{
				"A mx.example.test": unproven, "AAAA mx.example.test": unproven,
				"A _25._tcp.mx.example.test": dnstest.Answer}, Usable, 5},
		{"an alias that leads out of DNSSEC, without", true, "", map[string]dnstest.Hook{
			"A mx.example.test": unproven, "AAAA mx.example.test": unproven,
			"A _25._tcp.mx.example.test":    dnstest.Answer,
			"TLSA _25._tcp.mx.example.test": dnstest.Answer}, None, 5},
		{"a resolver that says so to those alone who ask with DO, and signs", true, "", map[string]dnstest.Hook{
			"ANY *": func(q *dnstest.Query) {
				q.Reply.AuthenticatedData = q.Reply.AuthenticatedData && q.DO
				dnstest.Signed(q)
			}}, Usable, 4},
		{"TLSA lookup fails", true, "", map[string]dnstest.Hook{"TLSA _25._tcp.mail.host.test": dnstest.ServFail},
			Failed, 4},
	} {
		t.Run(c.why, func(t *testing.T) {
			t.Cleanup(func() { goleak.VerifyNone(t) })
			srv := dnstest.New(t, dnstest.Config{Zone: zone + "\n" + c.more, AD: c.ad, Strict: true})
			for key, hook := range c.hooks {
				qtype, name, _ := strings.Cut(key, " ")
				srv.On(name, dns.StringToType[qtype], hook)
			}
			client, err := dnsclient.New(
				dnsclient.Config{Servers: []string{srv.Addr()}, Attempts: 1, Timeout: 5 * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			j := New(Options{DNS: func() DNS { return client.WithDNSSEC() }, Memory: newMapMemory(),
				Logger: slog.New(slog.DiscardHandler)})
			defer j.Close()
			f := j.Find(context.Background(), exampleTest)
			if f.Status != c.want {
				t.Errorf("found %v (%v), want %v", f.Status, f.Err, c.want)
			}
			var lookup *dnsclient.Error
			if c.want == Failed && (!errors.As(f.Err, &lookup) || lookup.Name != "_25._tcp.mail.host.test") {
				t.Errorf("reason %v, want the client's own", f.Err)
			}
			if n := srv.Total(); n != c.queries {
				t.Errorf("%d questions %v, want %d", n, srv.Questions(), c.queries)
			}
		})
	}
}
