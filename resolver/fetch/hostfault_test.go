package fetch

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/stsmapd/stsmapd/resolver/fault"
)

// wantWhose fails the test unless an error is a fault of this host, with the end of its cure and an empty reason, or
// else the publisher's with this reason.
func wantWhose(t *testing.T, why string, err error, host bool, reason, cure string) {
	t.Helper()
	var failed *Error
	if !errors.As(err, &failed) {
		t.Fatalf("%s: %v is no error of a fetch", why, err)
	}
	kind, of, check := Unreachable, fault.Domain, "the domain's publisher must repair it"
	if host {
		kind, of, check = HostFault, fault.Host, "repair this host"
	} else {
		cure = ""
	}
	if judged := fault.Judge(err); failed.Kind != kind || judged.Kind != of || !strings.HasSuffix(judged.Cure, cure) {
		t.Errorf("%s: kind %v, fault of the %v, cure %q; want %v, %v, %q", why, failed.Kind, judged.Kind, judged.Cure,
			kind, of, cure)
	}
	if failed.Reason() != reason || !strings.HasPrefix(failed.Check(), check) {
		t.Errorf("%s: reason %q, check %q; want %q, %q", why, failed.Reason(), failed.Check(), reason, check)
	}
}

// TestProxyRefuses: a proxy that refuses this host, or that is away, is a fault of this host. One that could not reach
// the policy host says that of the policy host.
func TestProxyRefuses(t *testing.T) {
	noLeaks(t)
	answer := func(status string) func(net.Conn) {
		return func(c net.Conn) {
			if _, err := readRequest(c); err == nil {
				_, _ = io.WriteString(c, "HTTP/1.1 "+status+" x\r\n\r\n")
			}
		}
	}
	for _, c := range []struct {
		why    string
		serve  func(net.Conn) // nil: nothing listens
		host   bool
		reason string
	}{
		{"it refuses the name", answer("403"), true, ""},
		{"it wants a password", answer("407"), true, ""},
		{"it knows no CONNECT", answer("405"), true, ""},
		{"it is away", nil, true, ""},
		{"it cannot reach the policy host", answer("502"), false,
			"the policy host could not be reached, or did not answer in time"},
		{"the policy host did not answer it", answer("504"), false,
			"the policy host could not be reached, or did not answer in time"},
	} {
		proxy := listen(t, c.serve)
		if c.serve == nil {
			proxy.Close()
		}
		setProxy(t, "http://"+proxy.Addr().String(), "")
		_, err := proxyFetcher(t, Config{Roots: newCA(t).pool()}).Fetch(t.Context(), fetchDomain())
		wantWhose(t, c.why, err, c.host, c.reason, "check HTTPS_PROXY and the proxy")
	}
}

// TestReasonOfSomeAddresses: where this host's filter refuses some addresses, or one of two lookups fails, the reason
// is what the other addresses did.
func TestReasonOfSomeAddresses(t *testing.T) {
	closed := listen(t, func(net.Conn) {})
	closed.Close()
	const refused = "the policy host cannot be reached: connection refused"
	for _, c := range []struct {
		why    string
		v6, v4 said
		reason string
	}{
		{"all are refused by the filter", said{addrs: []string{"fd00::1"}}, said{addrs: []string{"10.0.0.1"}},
			"the policy host's addresses are not public"},
		{"one of two", said{}, said{addrs: []string{"10.0.0.1", publicIPv4}}, refused},
		{"those of IPv6", said{addrs: []string{"fd00::1"}}, said{addrs: []string{publicIPv4}}, refused},
		{"the lookup of IPv6 fails", said{err: "SERVFAIL"}, said{addrs: []string{publicIPv4}}, refused},
	} {
		f := newTestFetcher(t, closed, Config{Roots: newCA(t).pool()})
		f.dialer.dns = &addressDNS{t: t, host: policyHost, v6: c.v6, v4: c.v4}
		_, err := f.Fetch(t.Context(), fetchDomain())
		wantWhose(t, c.why, err, false, c.reason, "")
	}
}
