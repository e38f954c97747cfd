package dnstest

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// maxLog bounds the questions remembered by Questions and Unexpected.
const maxLog = 10000

// Question is what was asked, for tests that look at it afterwards.
type Question struct {
	Name       string // lower case, without the final dot
	Type       uint16
	Net        string // "udp" or "tcp"
	RemoteAddr string // the asker's, with its port
	Header     dns.MsgHdr
	EDNS       bool   // there was an OPT record,
	UDPSize    uint16 // with this size,
	DO         bool   // and this bit
}

// String returns name, type and protocol.
func (q Question) String() string {
	return fmt.Sprintf("%s %s over %s", q.Name, dns.Type(q.Type), q.Net)
}

// Query is a question that a Hook serves.
type Query struct {
	Question
	Msg   *dns.Msg // as received
	Reply *dns.Msg // what the zone says; the hook may change it

	w    dns.ResponseWriter
	done <-chan struct{}
}

// serve takes one question from the sockets.
func (s *Server) serve(w dns.ResponseWriter, m *dns.Msg) {
	if len(m.Question) != 1 {
		return
	}
	q := newQuery(w, m, s.done)
	k := newKey(q.Name, q.Type)

	s.mu.Lock()
	s.counts[k]++
	s.log = appendBounded(s.log, q.Question)
	close(s.arrived)
	s.arrived = make(chan struct{})
	hook := s.hook(k)
	surprise := hook == nil && s.strict && !s.zone.known(k)
	if surprise {
		s.unexpected = appendBounded(s.unexpected, q.Question)
	}
	s.zone.answer(q.Reply, k, s.negative)
	q.Reply.AuthenticatedData = s.ad && (m.AuthenticatedData || q.DO)
	s.mu.Unlock()

	switch {
	case surprise:
		s.fail("dnstest: unexpected question: %v", q.Question)
		Rcode(dns.RcodeRefused)(q)
	case hook != nil:
		hook(q)
	default:
		q.Send()
	}
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

// Send sends Reply, truncated to the asker's UDP size. A hook may change Reply and send again.
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

// SendRaw sends a message as it is; over TCP its length goes before it. A failure means that the asker has gone.
func (q *Query) SendRaw(message []byte) { _, _ = q.w.Write(message) }

// CloseConn closes the asker's TCP connection; over UDP it does nothing.
func (q *Query) CloseConn() {
	if q.Net == "tcp" {
		_ = q.w.Close()
	}
}

// Count returns how many questions for a name and type have come, over UDP and TCP together.
func (s *Server) Count(name string, qtype uint16) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[newKey(name, qtype)]
}

// Total returns how many questions have come.
func (s *Server) Total() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, c := range s.counts {
		n += c
	}
	return n
}

// Questions returns the last questions in the order in which they came, thousands at least.
func (s *Server) Questions() []Question {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.log)
}

// Unexpected returns the questions that a strict Server did not expect.
func (s *Server) Unexpected() []Question {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.unexpected)
}

// Reset forgets the questions counted and listed so far.
func (s *Server) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.counts)
	s.log, s.unexpected = nil, nil
}

// Wait returns when Count is n or more, or with the context's error when that ends first.
func (s *Server) Wait(ctx context.Context, name string, qtype uint16, n int) error {
	for {
		s.mu.Lock()
		enough, arrived := s.counts[newKey(name, qtype)] >= n, s.arrived
		s.mu.Unlock()
		if enough {
			return nil
		}
		select {
		case <-arrived:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
