package dnsclient

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"github.com/miekg/dns"

	"github.com/stsmapd/stsmapd/resolver/fault"
)

const (
	// ednsSize is the UDP payload that we ask for: it passes every path without IP fragments.
	ednsSize = 1232
	// udpBuffer has room for servers that send more than was asked for.
	udpBuffer = 4096
	headerLen = 12
)

// exchange has one server answer q, with whatever changes of protocol that needs, within Config.Timeout. The message
// returned answers q, whatever its Rcode.
func (c *Client) exchange(ctx context.Context, s *server, q question) (*dns.Msg, *Error) {
	if err := c.acquire(ctx); err != nil {
		return nil, failure(ctx, err)
	}
	defer func() { <-c.asking }()
	now := time.Now()
	deadline := now.Add(c.timeout)
	buf := c.buffers.Get().(*[udpBuffer]byte)
	defer c.buffers.Put(buf)
	m, fail := ednsOrPlain(q, func(query *dns.Msg) (*dns.Msg, *Error) {
		return c.datagram(ctx, s, query, buf[:], now, deadline)
	})
	if fail == nil && m.Truncated {
		m, fail = c.stream(ctx, s, q, deadline)
	}
	if fail != nil && fail.Kind == Timeout {
		fail.Waited = c.timeout
	}
	return m, fail
}

// acquire takes one of the slots for questions under way, for as long as one attempt may last.
func (c *Client) acquire(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case c.asking <- struct{}{}:
		return nil
	default:
	}
	limit := time.NewTimer(c.timeout)
	defer limit.Stop()
	select {
	case c.asking <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-limit.C:
		return &fault.Error{Kind: fault.Exhausted, Cure: "check whether the DNS server is slow",
			Err: fmt.Errorf("%d DNS questions are in progress; this one was not sent", cap(c.asking))}
	}
}

// ednsOrPlain sends q with EDNS0, and once more without it to a server that does not know EDNS0 (RFC 6891 section 7).
func ednsOrPlain(q question, send func(*dns.Msg) (*dns.Msg, *Error)) (*dns.Msg, *Error) {
	m, fail := send(newQuery(q))
	if fail == nil && (m.Rcode == dns.RcodeFormatError || m.Rcode == dns.RcodeNotImplemented) {
		plain := newQuery(q)
		plain.Extra = nil
		return send(plain)
	}
	return m, fail
}

// datagram has s answer by UDP.
func (c *Client) datagram(ctx context.Context, s *server, query *dns.Msg, buf []byte, now,
	deadline time.Time) (*dns.Msg, *Error) {
	socket, err := c.sockets.take(s, now)
	if err != nil {
		return nil, failure(ctx, err)
	}
	m, strays, fail := roundTrip(ctx, socket.Conn, query, buf, deadline)
	if fail != nil || strays > 0 { // a forger may have found the port
		_ = socket.Close()
	} else {
		c.sockets.giveBack(socket)
	}
	return m, fail
}

// stream has s answer by TCP what was too long for UDP.
func (c *Client) stream(ctx context.Context, s *server, q question, deadline time.Time) (*dns.Msg, *Error) {
	buf := make([]byte, dns.MaxMsgSize)
	m, fail := ednsOrPlain(q, func(query *dns.Msg) (*dns.Msg, *Error) {
		d := net.Dialer{Deadline: deadline}
		conn, err := d.DialContext(ctx, "tcp", s.addr.String())
		if err != nil {
			return nil, failure(ctx, err)
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

// newQuery makes the message for q. The AD bit asks for the AD bit (RFC 6840 section 5.7).
func newQuery(q question) *dns.Msg {
	opt := &dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT}}
	opt.SetUDPSize(ednsSize)
	opt.SetDo(q.dnssec)
	return &dns.Msg{
		MsgHdr:   dns.MsgHdr{Id: dns.Id(), RecursionDesired: true, AuthenticatedData: true},
		Question: []dns.Question{{Name: q.name, Qtype: q.qtype, Qclass: dns.ClassINET}},
		Extra:    []dns.RR{opt},
	}
}

// roundTrip sends query and waits for its answer. Other packets are ignored, as they may be forged; strays is how many
// came. buf is overwritten. After an error the connection is of no more use.
func roundTrip(ctx context.Context, conn net.Conn, query *dns.Msg, buf []byte, deadline time.Time) (m *dns.Msg,
	strays int, fail *Error) {
	packed, err := query.PackBuffer(buf)
	if err != nil {
		return nil, 0, &Error{Kind: Malformed, Err: err} // cannot be: canonical packed the name before
	}
	_ = conn.SetDeadline(deadline) // fails only on a closed socket, as the next call will
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	m, strays, fail = converse(ctx, dns.Conn{Conn: conn}, query, packed, buf)
	if !stop() && fail == nil { // the deadline may change at any moment: nobody else must wait on this connection
		return nil, strays, failure(ctx, ctx.Err())
	}
	return m, strays, fail
}

// converse sends packed, which is query, and reads until its answer comes.
func converse(ctx context.Context, conn dns.Conn, query *dns.Msg, packed, buf []byte) (m *dns.Msg, strays int,
	fail *Error) {
	if _, err := conn.Write(packed); err != nil {
		return nil, 0, failure(ctx, err)
	}
	for ; ; strays++ {
		n, err := conn.Read(buf)
		if err != nil {
			return nil, strays, failure(ctx, err)
		}
		if m, fail := parseReply(buf[:n], query); m != nil || fail != nil {
			return m, strays, fail
		}
	}
}

// parseReply reads a packet that came back for query. Neither a message nor an error: it does not answer the query.
func parseReply(raw []byte, query *dns.Msg) (*dns.Msg, *Error) {
	if len(raw) < headerLen || binary.BigEndian.Uint16(raw) != query.Id {
		return nil, nil
	}
	m := new(dns.Msg)
	err := m.Unpack(raw)
	if !m.Response || m.Opcode != dns.OpcodeQuery || !answers(m, raw, query.Question[0]) {
		return nil, nil
	}
	switch {
	case m.Truncated: // perhaps amid a record; nothing but the bit is used
		return m, nil
	case err != nil:
		return nil, &Error{Kind: Malformed, Err: err}
	case len(m.Answer) != count(raw, 6) || len(m.Ns) != count(raw, 8) || len(m.Extra) != count(raw, 10):
		return nil, &Error{Kind: Malformed, Detail: "fewer records than announced"}
	}
	return m, nil
}

// answers reports whether m repeats the question. A failure may do without: some servers send a bare header then, and
// forging one gains nothing but another attempt.
func answers(m *dns.Msg, raw []byte, q dns.Question) bool {
	switch count(raw, 4) {
	case 0:
		return len(m.Answer) == 0 && m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError
	case 1:
		return len(m.Question) == 1 && sameName(m.Question[0].Name, q.Name) &&
			m.Question[0].Qtype == q.Qtype && m.Question[0].Qclass == q.Qclass
	}
	return false
}

// count reads one of the header's four counts.
func count(raw []byte, off int) int { return int(binary.BigEndian.Uint16(raw[off:])) }

// failure tells the caller's giving up from the server's silence and from trouble of the network. The servers are this
// host's own: that one cannot be reached, or that nobody listens there, says nothing about the domain.
func failure(ctx context.Context, err error) *Error {
	if ctxErr := ctx.Err(); ctxErr != nil {
		return &Error{Kind: Cancelled, Err: ctxErr}
	}
	var netErr net.Error
	if errors.As(err, &netErr) && netErr.Timeout() {
		return &Error{Kind: Timeout}
	}
	judged := fault.Judge(err)
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err // the rest of it is told by Error's fields
	}
	var errno syscall.Errno
	switch errors.As(err, &errno); errno {
	case syscall.ENETUNREACH, syscall.EHOSTUNREACH:
		judged = fault.Judgement{
			Kind: fault.Host, Cure: "check this host's network interfaces and routes, and dns.servers"}
	case syscall.ECONNREFUSED:
		judged = fault.Judgement{Kind: fault.Host, Cure: "check that the DNS server runs, and dns.servers"}
	}
	if judged.Kind != fault.Domain {
		err = &fault.Error{Kind: judged.Kind, Cure: judged.Cure, Err: err}
	}
	return &Error{Kind: Network, Err: err}
}
