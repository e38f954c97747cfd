package fetch

import (
	"testing"

	"github.com/miekg/dns"

	"github.com/stsmapd/stsmapd/resolver/dnsclient"
	"github.com/stsmapd/stsmapd/resolver/dnsclient/dnstest"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// TestFetchRealDNS: the fetch on real packets, from the question for an address to the policy.
func TestFetchRealDNS(t *testing.T) {
	noLeaks(t)
	s := servePolicy(t, respond(goodHead+"\r\n"+goodPolicy))
	server := dnstest.New(t, dnstest.Config{Strict: true})
	client, err := dnsclient.New(dnsclient.Config{Servers: []string{server.Addr()}, Timeout: testkit.Hang})
	if err != nil {
		t.Fatal(err)
	}
	f := newTestFetcher(t, s, Config{Roots: s.ca.pool()})
	f.dialer.dns = client
	for _, c := range []struct {
		why  string
		zone string
		aaaa dnstest.Hook
		a    dnstest.Hook
		kind Kind
		text string
	}{
		{"an IPv4 address, AAAA denied", "mta-sts.example.test. A 5.0.0.1", dnstest.Answer, dnstest.Answer, 0, ""},
		{"a name server that never answers AAAA", "mta-sts.example.test. A 5.0.0.1", dnstest.Drop, dnstest.Answer, 0,
			""},
		{"one that fails AAAA", "mta-sts.example.test. A 5.0.0.1", dnstest.ServFail, dnstest.Answer, 0, ""},
		{"a CNAME, as hosters of policies have it",
			"mta-sts.example.test. CNAME sts.hoster.test.\nsts.hoster.test. A 5.0.0.1", dnstest.Answer, dnstest.Answer,
			0, ""},
		{"a CNAME into the administrator's network", "mta-sts.example.test. CNAME localhost.\nlocalhost. A 127.0.0.1",
			dnstest.Answer, dnstest.Answer,
			Unreachable, "127.0.0.1 is not public"},
		{"a name that does not exist", "", dnstest.Answer, dnstest.Answer, Unreachable,
			"mta-sts.example.test: no address in the DNS"},
		{"SERVFAIL", "", dnstest.ServFail, dnstest.ServFail, Unreachable, "SERVFAIL from " + server.Addr()},
	} {
		server.SetZone(c.zone)
		server.On(policyHost, dns.TypeAAAA, c.aaaa)
		server.On(policyHost, dns.TypeA, c.a)
		p, err := f.Fetch(t.Context(), fetchDomain())
		wantFetch(t, c.why, p, err, c.kind, c.text)
	}
}
