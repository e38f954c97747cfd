package main

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// distance is how far away the far part of the Internet is: from question to answer.
const distance = 20 * time.Millisecond

// Where the Internet is, in our own network namespace.
const (
	resolverAddress   = "127.0.0.1:53"
	policyHostAddress = "127.0.0.2"
)

// nameserver is the recursive resolver that stsmapd asks. It knows the zones of names.go, and answers each question of
// the far one when it is due, to a fraction of a millisecond. (dnstest, which other tests use, is programmable and
// remembers what it was asked; this one must cost little beside stsmapd, for ten million questions.)
type nameserver struct {
	socket *net.UDPConn
	line   chan delayed
	ended  sync.WaitGroup

	mu     sync.Mutex
	counts map[uint16]int // questions by type
}

// delayed is an answer under way. All have the same way to go, so they arrive in the order in which they left.
type delayed struct {
	due  time.Time
	to   netip.AddrPort
	data []byte
}

func startNameserver() (*nameserver, error) {
	socket, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(resolverAddress)))
	if err != nil {
		return nil, err
	}
	if err := socket.SetReadBuffer(4 << 20); err != nil { // a burst of questions must not be lost
		return nil, err
	}
	s := &nameserver{socket: socket, line: make(chan delayed, 1<<16), counts: map[uint16]int{}}
	s.ended.Go(s.read)
	s.ended.Go(s.deliver)
	return s, nil
}

func (s *nameserver) close() {
	s.socket.Close()
	s.ended.Wait()
}

// count is how many questions of this type have come; dns.TypeANY: of all.
func (s *nameserver) count(qtype uint16) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if qtype != dns.TypeANY {
		return s.counts[qtype]
	}
	all := 0
	for _, n := range s.counts {
		all += n
	}
	return all
}

// read answers questions until the socket is closed.
func (s *nameserver) read() {
	defer close(s.line)
	buf := make([]byte, 4096)
	for {
		n, from, err := s.socket.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		var query dns.Msg
		if err := query.Unpack(buf[:n]); err != nil || len(query.Question) != 1 {
			continue
		}
		s.mu.Lock()
		s.counts[query.Question[0].Qtype]++
		s.mu.Unlock()
		reply, delay := respond(&query)
		data, err := reply.Pack()
		if err != nil {
			panic(fmt.Sprintf("answer to %v: %v", query.Question[0], err)) // a mistake in respond
		}
		if delay == 0 {
			s.send(from, data)
			continue
		}
		s.line <- delayed{time.Now().Add(delay), from, data}
	}
}

// deliver sends each answer when it is due. It sleeps in the kernel: Go's timers may be late by a millisecond.
func (s *nameserver) deliver() {
	for d := range s.line {
		for left := time.Until(d.due); left > 0; left = time.Until(d.due) {
			pause := unix.NsecToTimespec(int64(left))
			_ = unix.Nanosleep(&pause, nil) // the loop sees to what is left
		}
		s.send(d.to, d.data)
	}
}

// send sends an answer. One that cannot be sent is lost, as on the Internet.
func (s *nameserver) send(to netip.AddrPort, data []byte) {
	_, _ = s.socket.WriteToUDPAddrPort(data, to)
}

// respond is the answer to a question, and how long it takes.
func respond(query *dns.Msg) (*dns.Msg, time.Duration) {
	question := query.Question[0]
	name := strings.TrimSuffix(strings.ToLower(question.Name), ".")
	prefix, rest := "", name
	if first, after, found := strings.Cut(name, "."); found && (first == "_mta-sts" || first == "mta-sts") {
		prefix, rest = first, after
	}
	zone, n, known := parseDomain(rest)
	reply := new(dns.Msg).SetReply(query)
	reply.RecursionAvailable = true
	if query.IsEdns0() != nil {
		reply.SetEdns0(1232, false)
	}
	delay := time.Duration(0)
	if zone == far {
		delay = distance
	}
	header := dns.RR_Header{Name: question.Name, Rrtype: question.Qtype, Class: dns.ClassINET, Ttl: 300}
	published := known && hasPolicy(zone, n)
	switch {
	case published && prefix == "_mta-sts" && question.Qtype == dns.TypeTXT:
		reply.Answer = []dns.RR{&dns.TXT{Hdr: header, Txt: []string{"v=STSv1; id=1;"}}}
	case published && prefix == "mta-sts" && question.Qtype == dns.TypeA:
		reply.Answer = []dns.RR{&dns.A{Hdr: header, A: net.ParseIP(policyHostAddress)}}
	case published && prefix == "" && question.Qtype == dns.TypeMX:
		reply.Answer = []dns.RR{&dns.MX{Hdr: header, Preference: 10, Mx: "mx1." + question.Name}}
	default:
		if !published {
			reply.Rcode = dns.RcodeNameError
		}
		reply.Ns = []dns.RR{&dns.SOA{
			Hdr: dns.RR_Header{Name: "test.", Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: 3600},
			Ns:  "ns.test.", Mbox: "hostmaster.test.", Serial: 1, Refresh: 7200, Retry: 3600, Expire: 86400,
			Minttl: 3600,
		}}
	}
	return reply, delay
}
