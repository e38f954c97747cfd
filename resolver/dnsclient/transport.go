package dnsclient

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/miekg/dns"
	"github.com/stsmapd/stsmapd/resolver/fault"
)

// transport sends questions to servers by UDP and TCP, and bounds how many are in progress. Each question has a socket
// of its own, and so a port that the kernel draws for it: a forger who does not see the question must guess both id and
// port.
type transport struct {
	timeout  time.Duration // of one exchange
	inFlight chan struct{} // has one element for each question in progress
	buffers  *sync.Pool    // of *[udpBuffer]byte
}

// newTransport returns a transport for at most maxSockets questions at a time.
func newTransport(timeout time.Duration, maxSockets int) *transport {
	return &transport{
		timeout: timeout, inFlight: make(chan struct{}, maxSockets),
		buffers: &sync.Pool{New: func() any { return new([udpBuffer]byte) }},
	}
}

// exchange sends q to one server and returns its answer, of any Rcode. It repeats q without EDNS0 or by TCP if needed,
// all within Config.Timeout.
func (t *transport) exchange(ctx context.Context, s *server, q question) (*dns.Msg, *Error) {
	if err := t.acquire(ctx); err != nil {
		return nil, lookupError(ctx, err)
	}
	defer func() { <-t.inFlight }()
	deadline := time.Now().Add(t.timeout)
	var m *dns.Msg
	var fail *Error
	if s.tcp {
		m, fail = t.exchangeTCP(ctx, s, q, deadline)
	} else {
		m, fail = t.exchangeUDP(ctx, s, q, deadline)
		if fail == nil && m.Truncated {
			if m, fail = t.exchangeTCP(ctx, s, q, deadline); fail != nil && fail.Detail == "" {
				fail.Detail = "by TCP, as the answer was too long for UDP"
			}
		}
	}
	if fail != nil && fail.Kind == Timeout {
		fail.Waited = t.timeout
	}
	return m, fail
}

// acquire adds a question to those in progress. It waits for Config.Timeout at most.
func (t *transport) acquire(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case t.inFlight <- struct{}{}:
		return nil
	default:
	}
	limit := time.NewTimer(t.timeout)
	defer limit.Stop()
	select {
	case t.inFlight <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-limit.C:
		return &fault.Error{Kind: fault.Exhausted, Cure: "check whether the DNS server is slow",
			Err: fmt.Errorf("%d DNS questions are in progress; this one was not sent", cap(t.inFlight))}
	}
}

// exchangeUDP sends q by UDP and returns the answer.
func (t *transport) exchangeUDP(ctx context.Context, s *server, q question, deadline time.Time) (*dns.Msg, *Error) {
	buf := t.buffers.Get().(*[udpBuffer]byte)
	defer t.buffers.Put(buf)
	return ednsOrPlain(q, func(query *dns.Msg) (*dns.Msg, *Error) {
		conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(s.addr))
		if err != nil {
			return nil, lookupError(ctx, err)
		}
		defer conn.Close()
		return roundTrip(ctx, conn, query, buf[:], deadline)
	})
}

// exchangeTCP sends q by TCP and returns the answer.
func (t *transport) exchangeTCP(ctx context.Context, s *server, q question, deadline time.Time) (*dns.Msg, *Error) {
	buf := make([]byte, dns.MaxMsgSize)
	m, fail := ednsOrPlain(q, func(query *dns.Msg) (*dns.Msg, *Error) {
		d := net.Dialer{Deadline: deadline}
		conn, err := d.DialContext(ctx, "tcp", s.addr.String())
		if err != nil {
			return nil, lookupError(ctx, err)
		}
		defer conn.Close()
		return roundTrip(ctx, conn, query, buf, deadline)
	})
	if fail == nil && m.Truncated {
		return nil, &Error{Kind: Malformed, Detail: "truncated over TCP"}
	}
	return m, fail
}
