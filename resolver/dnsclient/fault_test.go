package dnsclient

import (
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/miekg/dns"

	"github.com/stsmapd/stsmapd/resolver/dnsclient/dnstest"
	"github.com/stsmapd/stsmapd/resolver/fault"
)

// deadServer returns an address at which no process listens.
func deadServer(t *testing.T) string {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.LocalAddr().String()
}

// TestWhoseFault: a failure that a server reports is a fault of the domain; a server that cannot be asked is one of
// this host.
func TestWhoseFault(t *testing.T) {
	broken := dnstest.New(t, dnstest.Config{Zone: zoneOne})
	broken.On("*", dns.TypeANY, dnstest.ServFail)
	silent := dnstest.New(t, dnstest.Config{Zone: zoneOne})
	silent.On("*", dns.TypeANY, dnstest.Drop)
	dead := deadServer(t)
	for _, tc := range []struct {
		why     string
		servers []string
		want    fault.Kind
		cure    string
	}{
		{"the domain's DNS is broken", []string{broken.Addr()}, fault.Domain, ""},
		{"no answer", []string{silent.Addr()}, fault.Domain, ""},
		{"nobody listens", []string{dead}, fault.Host, "dns.servers"},
		{"nobody listens at either", []string{dead, deadServer(t)}, fault.Host, "dns.servers"},
		{"one answers, the last to be asked is dead", []string{broken.Addr(), dead}, fault.Domain, ""},
		{"one answers, the first to be asked is dead", []string{dead, broken.Addr()}, fault.Domain, ""},
	} {
		c := newClient(t, Config{Servers: tc.servers, Timeout: shortTimeout, Attempts: 2})
		_, err := c.TXT(t.Context(), asked)
		if got := fault.Judge(err); err == nil || got.Kind != tc.want || !strings.Contains(got.Cure, tc.cure) {
			t.Errorf("%s: %v is judged %+v, want %v", tc.why, err, got, tc.want)
		}
	}
}

// TestNoSlotIsOwnFault: a question that was not sent because of MaxSockets is a fault of this host, and the server is
// not avoided.
func TestNoSlotIsOwnFault(t *testing.T) {
	srv := dnstest.New(t, dnstest.Config{Zone: zoneOne})
	c := newClient(t, Config{Servers: []string{srv.Addr()}, Timeout: shortTimeout, MaxSockets: 1})
	c.transport.inFlight <- struct{}{}
	_, err := c.TXT(t.Context(), asked)
	if fault.Of(err) != fault.Exhausted || srv.Total() != 0 {
		t.Errorf("%v is judged %v; %d questions were sent", err, fault.Of(err), srv.Total())
	}
	if c.nameservers.order()[0].avoidedUntil.Load() != 0 {
		t.Error("the server is avoided, though it was not asked")
	}
	<-c.transport.inFlight
	got, err := c.TXT(t.Context(), asked)
	check(t, got, err, answerOne)
}

// TestExhaustionDoesNotAvoidServer: a server is not avoided because this host has no descriptors.
func TestExhaustionDoesNotAvoidServer(t *testing.T) {
	c := newClient(t, Config{Servers: []string{"192.0.2.1"}})
	s := c.nameservers.order()[0]
	c.nameservers.recordResult(s, lookupError(t.Context(), os.NewSyscallError("socket", syscall.EMFILE)))
	if s.avoidedUntil.Load() != 0 {
		t.Error("a server is avoided for a want of descriptors")
	}
	c.nameservers.recordResult(s, lookupError(t.Context(), os.NewSyscallError("connect", syscall.ENETUNREACH)))
	if s.avoidedUntil.Load() == 0 {
		t.Error("a server without a route is not avoided")
	}
}
