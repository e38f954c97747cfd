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

// transport sends questions to servers by UDP and TCP, and bounds how many are in progress.
type transport struct {
	timeout  time.Duration // of one exchange
	inFlight chan struct{} // has one element for each question in progress
	sockets  *socketPool
	buffers  *sync.Pool // of *[udpBuffer]byte
}

// newTransport returns a transport for at most maxSockets questions at a time.
func newTransport(timeout time.Duration, maxSockets int) *transport {
	return &transport{
		timeout: timeout, inFlight: make(chan struct{}, maxSockets), sockets: new(socketPool),
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
	now := time.Now()
	deadline := now.Add(t.timeout)
	buf := t.buffers.Get().(*[udpBuffer]byte)
	defer t.buffers.Put(buf)
	m, fail := ednsOrPlain(q, func(query *dns.Msg) (*dns.Msg, *Error) {
		return t.exchangeUDP(ctx, s, query, buf[:], now, deadline)
	})
	if fail == nil && m.Truncated {
		m, fail = t.exchangeTCP(ctx, s, q, deadline)
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

// exchangeUDP sends query to s by UDP and returns the answer.
func (t *transport) exchangeUDP(ctx context.Context, s *server, query *dns.Msg, buf []byte,
	now, deadline time.Time) (*dns.Msg, *Error) {
	socket, err := t.sockets.get(s, now)
	if err != nil {
		return nil, lookupError(ctx, err)
	}
	m, strays, fail := roundTrip(ctx, socket.Conn, query, buf, deadline)
	if fail != nil || strays > 0 { // a forger may know the port
		_ = socket.Close()
	} else {
		t.sockets.release(socket)
	}
	return m, fail
}

// exchangeTCP repeats by TCP a question whose answer was truncated.
func (t *transport) exchangeTCP(ctx context.Context, s *server, q question, deadline time.Time) (*dns.Msg, *Error) {
	buf := make([]byte, dns.MaxMsgSize)
	m, fail := ednsOrPlain(q, func(query *dns.Msg) (*dns.Msg, *Error) {
		d := net.Dialer{Deadline: deadline}
		conn, err := d.DialContext(ctx, "tcp", s.addr.String())
		if err != nil {
			return nil, lookupError(ctx, err)
		}
		defer conn.Close()
		m, _, fail := roundTrip(ctx, conn, query, buf, deadline)
		return m, fail
	})
	switch {
	case fail != nil:
		fail.Detail = "by TCP, as the answer was too long for UDP"
	case m.Truncated:
		return nil, &Error{Kind: Malformed, Detail: "truncated over TCP"}
	}
	return m, fail
}
