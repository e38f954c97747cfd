package internet

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

// distance is the time from question to answer for the zone Far.
const distance = 20 * time.Millisecond

// The addresses of the servers in the network namespace.
const (
	ResolverAddress   = "127.0.0.1:53" // of the Nameserver
	policyHostAddress = "127.0.0.2"    // of the PolicyHost, port 443
)

// Nameserver is the recursive resolver that stsmapd asks. It answers for the zones of this package, and delays answers
// about the zone Far to a fraction of a millisecond. It must cost little beside stsmapd, for ten million questions;
// dnstest, which other tests use, can be programmed and keeps what it was asked.
type Nameserver struct {
	socket *net.UDPConn
	line   chan delayed
	ended  sync.WaitGroup

	mu     sync.Mutex
	counts map[uint16]int // questions by type
}

// delayed is an answer that waits until it is due. All wait equally long, so they are sent in order.
type delayed struct {
	due  time.Time
	to   netip.AddrPort
	data []byte
}

// StartNameserver starts a Nameserver on ResolverAddress.
func StartNameserver() (*Nameserver, error) {
	socket, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(ResolverAddress)))
	if err != nil {
		return nil, err
	}
	if err := socket.SetReadBuffer(4 << 20); err != nil { // a burst of questions must not be lost
		return nil, err
	}
	s := &Nameserver{socket: socket, line: make(chan delayed, 1<<16), counts: map[uint16]int{}}
	s.ended.Go(s.read)
	s.ended.Go(s.deliver)
	return s, nil
}

// Close stops the Nameserver and waits for its goroutines.
func (s *Nameserver) Close() {
	s.socket.Close()
	s.ended.Wait()
}

// Count returns how many questions of this type were asked; dns.TypeANY counts all types.
func (s *Nameserver) Count(qtype uint16) int {
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
func (s *Nameserver) read() {
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
func (s *Nameserver) deliver() {
	for d := range s.line {
		for left := time.Until(d.due); left > 0; left = time.Until(d.due) {
			pause := unix.NsecToTimespec(int64(left))
			_ = unix.Nanosleep(&pause, nil) // a signal may end it early; the loop sleeps again
		}
		s.send(d.to, d.data)
	}
}

// send sends an answer. One that cannot be sent is lost, as on the Internet.
func (s *Nameserver) send(to netip.AddrPort, data []byte) {
	_, _ = s.socket.WriteToUDPAddrPort(data, to)
}

// respond returns the answer to a question, and by how much to delay it.
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
	if zone == Far {
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
