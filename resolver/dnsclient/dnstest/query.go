package dnstest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// maxLog is the largest number of questions that Questions and Unexpected return.
const maxLog = 10000

// Question is a question that a Server has received.
type Question struct {
	Name       string // lower case, without the final dot
	Type       uint16
	Net        string // "udp" or "tcp"
	RemoteAddr string // the client's, with its port
	Header     dns.MsgHdr
	EDNS       bool   // it has an OPT record
	UDPSize    uint16 // of the OPT record, in bytes
	DO         bool   // of the OPT record
}

// String returns name, type and protocol.
func (q Question) String() string {
	return fmt.Sprintf("%s %s over %s", q.Name, dns.Type(q.Type), q.Net)
}

// Query is a question that a Hook serves.
type Query struct {
	Question
	Msg   *dns.Msg // as received
	Reply *dns.Msg // the zone's answer; the hook may change it

	w    dns.ResponseWriter
	done <-chan struct{}
}

func newQuery(w dns.ResponseWriter, m *dns.Msg, done <-chan struct{}) *Query {
	q := &Query{Msg: m, Reply: new(dns.Msg).SetReply(m), w: w, done: done}
	q.Header = m.MsgHdr
	q.Net = w.RemoteAddr().Network()
	q.RemoteAddr = w.RemoteAddr().String()
	q.Name = strings.TrimSuffix(dns.CanonicalName(m.Question[0].Name), ".")
	q.Type = m.Question[0].Qtype
	q.Reply.RecursionAvailable = true
	if opt := m.IsEdns0(); opt != nil {
		q.EDNS, q.UDPSize, q.DO = true, opt.UDPSize(), opt.Do()
		q.Reply.SetEdns0(1232, q.DO)
	}
	return q
}

func appendBounded(log []Question, q Question) []Question {
	if len(log) == maxLog {
		log = slices.Delete(log, 0, maxLog/2)
	}
	return append(log, q)
}

// Send sends Reply, truncated to the client's UDP size. A hook may change Reply and send again.
func (q *Query) Send() {
	m := q.Reply.Copy()
	if q.Net == "udp" {
		m.Truncate(max(int(q.UDPSize), dns.MinMsgSize))
	}
	raw, err := m.Pack()
	if err != nil {
		panic(fmt.Sprintf("dnstest: reply to %v: %v", q.Question, err))
	}
	q.SendRaw(raw)
}

// SendRaw sends a message unchanged; over TCP after its length. An error is ignored: the client has gone.
func (q *Query) SendRaw(message []byte) { _, _ = q.w.Write(message) }

// CloseConn closes the client's TCP connection. Over UDP it does nothing.
func (q *Query) CloseConn() {
	if q.Net == "tcp" {
		_ = q.w.Close()
	}
}
