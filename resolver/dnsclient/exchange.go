package dnsclient

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/miekg/dns"

	"github.com/stsmapd/stsmapd/resolver/fault"
)

const (
	// ednsSize is the largest UDP payload accepted, in bytes. It needs no IP fragments on any path.
	ednsSize = 1232
	// udpBuffer is the size of a receive buffer in bytes. Some servers send more than ednsSize.
	udpBuffer = 4096
	headerLen = 12
)

// question is the question of one message. The class is always IN.
type question struct {
	name   string // canonical
	qtype  uint16
	dnssec bool // with the DO bit
	plain  bool // without EDNS0; never with dnssec
}

// ednsOrPlain sends q with EDNS0, and again without it if the server does not support EDNS0 (RFC 6891 section 7).
func ednsOrPlain(q question, send func(*dns.Msg) (*dns.Msg, *Error)) (*dns.Msg, *Error) {
	m, fail := send(newQuery(q))
	if fail == nil && !q.plain && (m.Rcode == dns.RcodeFormatError || m.Rcode == dns.RcodeNotImplemented) {
		q.plain = true
		return send(newQuery(q))
	}
	return m, fail
}

// newQuery returns the message for q. Its AD bit requests the AD bit in the answer (RFC 6840 section 5.7).
func newQuery(q question) *dns.Msg {
	m := &dns.Msg{
		MsgHdr:   dns.MsgHdr{Id: dns.Id(), RecursionDesired: true, AuthenticatedData: true},
		Question: []dns.Question{{Name: q.name, Qtype: q.qtype, Qclass: dns.ClassINET}},
	}
	if !q.plain {
		opt := &dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT}}
		opt.SetUDPSize(ednsSize)
		opt.SetDo(q.dnssec)
		m.Extra = []dns.RR{opt}
	}
	return m
}

// roundTrip sends query and returns its answer. Other packets may be forged and are ignored. buf is overwritten. The
// connection must be closed afterwards.
func roundTrip(ctx context.Context, conn net.Conn, query *dns.Msg, buf []byte, deadline time.Time) (*dns.Msg, *Error) {
	packed, err := query.PackBuffer(buf)
	if err != nil {
		return nil, &Error{Kind: Malformed, Err: err} // impossible: canonical has packed the name before
	}
	_ = conn.SetDeadline(deadline) // fails only if the socket is closed, as does the next call
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	c := dns.Conn{Conn: conn}
	if _, err := c.Write(packed); err != nil {
		return nil, lookupError(ctx, err)
	}
	for {
		n, err := c.Read(buf)
		if err != nil {
			return nil, lookupError(ctx, err)
		}
		if m, fail := parseReply(buf[:n], query); m != nil || fail != nil {
			return m, fail
		}
	}
}

// parseReply parses a packet that arrived after query. It returns nil and nil if the packet does not answer query.
func parseReply(raw []byte, query *dns.Msg) (*dns.Msg, *Error) {
	if len(raw) < headerLen || binary.BigEndian.Uint16(raw) != query.Id {
		return nil, nil
	}
	m := new(dns.Msg)
	err := m.Unpack(raw)
	if err != nil {
		if bare := withoutOptions(raw); bare != nil { // the records do not depend on an EDNS0 option
			m = new(dns.Msg)
			err = m.Unpack(bare)
		}
	}
	if !m.Response || m.Opcode != dns.OpcodeQuery || !repeatsQuestion(m, raw, query.Question[0]) {
		return nil, nil
	}
	switch {
	case m.Truncated: // perhaps inside a record; only the bit is used
		return m, nil
	case err != nil:
		return nil, &Error{Kind: Malformed, Err: err}
	case len(m.Answer) != count(raw, 6) || len(m.Ns) != count(raw, 8) || len(m.Extra) != count(raw, 10):
		return nil, &Error{Kind: Malformed, Detail: "fewer records than announced"}
	}
	return m, nil
}

// withoutOptions returns a message without the options of its OPT record (RFC 6891 section 6.1), nil if it has none or
// cannot be parsed until there.
func withoutOptions(raw []byte) []byte {
	const fixed = 10 // bytes of a record between its name and its data: type, class, TTL, length
	records, off := count(raw, 6)+count(raw, 8)+count(raw, 10), headerLen
	for i := range count(raw, 4) + records {
		_, next, err := dns.UnpackDomainName(raw, off)
		if err != nil {
			return nil
		}
		if i < count(raw, 4) {
			off = next + 4 // type and class
			continue
		}
		if next+fixed > len(raw) {
			return nil
		}
		end := next + fixed + count(raw, next+8)
		if end > len(raw) {
			return nil
		}
		if binary.BigEndian.Uint16(raw[next:]) == dns.TypeOPT {
			bare := append([]byte(nil), raw[:next+8]...)
			return append(append(bare, 0, 0), raw[end:]...)
		}
		off = end
	}
	return nil
}

// repeatsQuestion reports whether m contains the question q. A failure need not: some servers send only a header then,
// and a forged one causes nothing but another attempt.
func repeatsQuestion(m *dns.Msg, raw []byte, q dns.Question) bool {
	switch count(raw, 4) {
	case 0:
		return len(m.Answer) == 0 && m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError
	case 1:
		return len(m.Question) == 1 && sameName(m.Question[0].Name, q.Name) &&
			m.Question[0].Qtype == q.Qtype && m.Question[0].Qclass == q.Qclass
	}
	return false
}

// count returns the count at an offset of the header.
func count(raw []byte, off int) int { return int(binary.BigEndian.Uint16(raw[off:])) }

// lookupError returns err as an *Error: Cancelled if ctx has ended, Timeout or Network. The servers belong to this
// host, so a server that cannot be reached, or that refuses the connection, is a fault of this host and not of the
// domain.
func lookupError(ctx context.Context, err error) *Error {
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
		err = op.Err // Error's fields have the rest
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

// extendedError returns the server's reasons for a failure (RFC 8914), at most three. The server's free text is left
// out.
func extendedError(m *dns.Msg) string {
	opt := m.IsEdns0()
	if opt == nil {
		return ""
	}
	var reasons []string
	for _, o := range opt.Option {
		if e, ok := o.(*dns.EDNS0_EDE); ok && len(reasons) < 3 {
			if s, ok := dns.ExtendedErrorCodeToString[e.InfoCode]; ok {
				reasons = append(reasons, s)
			}
		}
	}
	return strings.Join(reasons, ", ")
}
