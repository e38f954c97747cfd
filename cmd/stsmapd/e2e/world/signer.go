package world

import (
	"crypto"
	"encoding/base64"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// signer is the authoritative server of the signed zone. The contents of the zone are those of the World's DNS server;
// the signer adds the signatures and the proofs of nonexistence to each answer.
type signer struct {
	zone     string // absolute
	upstream string // address of the World's DNS server
	key      *dns.DNSKEY
	private  crypto.Signer

	mu     sync.Mutex
	forged map[rrset]bool
}

// rrset is a set of records, which has one signature.
type rrset struct {
	name  string // absolute, lower case
	qtype uint16
}

// signedTTL is the TTL of negative answers and of the key, in seconds.
const signedTTL = 60

// startSigner makes a key and serves the zone on port 53 of the address, as long as the process lives.
func startSigner(zone string, addr netip.Addr, upstream string) (*signer, error) {
	s := &signer{zone: dns.Fqdn(zone), upstream: upstream, forged: map[rrset]bool{}}
	s.key = &dns.DNSKEY{
		Hdr:   dns.RR_Header{Name: s.zone, Rrtype: dns.TypeDNSKEY, Class: dns.ClassINET, Ttl: signedTTL},
		Flags: dns.ZONE | dns.SEP, Protocol: 3, Algorithm: dns.ECDSAP256SHA256,
	}
	private, err := s.key.Generate(256)
	if err != nil {
		return nil, fmt.Errorf("key of zone %s: %w", zone, err)
	}
	s.private = private.(crypto.Signer)
	at := netip.AddrPortFrom(addr, 53).String()
	packets, err := net.ListenPacket("udp", at)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", at)
	if err != nil {
		return nil, err
	}
	for _, server := range []*dns.Server{{PacketConn: packets}, {Listener: listener}} {
		server.Handler = s
		go func() { _ = server.ActivateAndServe() }() // ends with the process
	}
	return s, nil
}

// forge spoils the signature of these records.
func (s *signer) forge(name string, qtype uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forged[rrset{dns.CanonicalName(name), qtype}] = true
}

// ServeDNS implements dns.Handler.
func (s *signer) ServeDNS(w dns.ResponseWriter, question *dns.Msg) {
	reply := new(dns.Msg).SetReply(question)
	reply.SetEdns0(1232, true)
	if err := s.answer(reply); err != nil {
		reply.Rcode, reply.Answer, reply.Ns = dns.RcodeServerFailure, nil, nil
	}
	if w.RemoteAddr().Network() == "udp" {
		reply.Truncate(1232)
	}
	_ = w.WriteMsg(reply) // the client may have ended
}

// answer fills in the reply to a question.
func (s *signer) answer(reply *dns.Msg) error {
	q := reply.Question[0]
	name := dns.CanonicalName(q.Name)
	if !dns.IsSubDomain(s.zone, name) {
		reply.Rcode = dns.RcodeRefused
		return nil
	}
	reply.Authoritative = true
	if name == s.zone && q.Qtype == dns.TypeDNSKEY {
		return s.add(&reply.Answer, []dns.RR{s.key})
	}
	client := dns.Client{Timeout: 5 * time.Second, Net: "tcp"} // TCP: all of it
	said, _, err := client.Exchange(new(dns.Msg).SetQuestion(name, q.Qtype), s.upstream)
	if err != nil {
		return err
	}
	if said.Rcode != dns.RcodeSuccess && said.Rcode != dns.RcodeNameError {
		reply.Rcode = said.Rcode
		return nil
	}
	for {
		set := ofName(said.Answer, name)
		if len(set) == 0 {
			return s.deny(reply, name, said)
		}
		if err := s.add(&reply.Answer, set); err != nil {
			return err
		}
		alias, ok := set[0].(*dns.CNAME)
		if !ok || q.Qtype == dns.TypeCNAME {
			return nil
		}
		if name = dns.CanonicalName(alias.Target); !dns.IsSubDomain(s.zone, name) {
			return nil // the resolver looks there itself
		}
	}
}

// ofName returns those of the records that have this name.
func ofName(records []dns.RR, name string) []dns.RR {
	var set []dns.RR
	for _, rr := range records {
		if dns.CanonicalName(rr.Header().Name) == name {
			set = append(set, rr)
		}
	}
	return set
}

// deny proves that there is no such name, or no such record of it, as the upstream said (RFC 4035 section 3.1.3). The
// proofs are good for this question only, for they deny more than is true (RFC 4470 section 3 knows better).
func (s *signer) deny(reply *dns.Msg, name string, said *dns.Msg) error {
	nsec := &dns.NSEC{
		Hdr:        dns.RR_Header{Name: name, Rrtype: dns.TypeNSEC, Class: dns.ClassINET, Ttl: signedTTL},
		NextDomain: "\\000." + name,
		TypeBitMap: []uint16{dns.TypeRRSIG, dns.TypeNSEC},
	}
	if reply.Rcode = said.Rcode; said.Rcode == dns.RcodeNameError {
		// From `!` to `~` are all labels that a test uses, and the wildcard.
		_, parent, _ := strings.Cut(name, ".")
		nsec.Hdr.Name, nsec.NextDomain = "!."+parent, "~."+parent
	}
	if err := s.add(&reply.Ns, said.Ns); err != nil { // the SOA
		return err
	}
	return s.add(&reply.Ns, []dns.RR{nsec})
}

// add adds a set of records and its signature to a section.
func (s *signer) add(section *[]dns.RR, set []dns.RR) error {
	now := time.Now()
	sig := &dns.RRSIG{
		Hdr:       dns.RR_Header{Ttl: set[0].Header().Ttl},
		Algorithm: s.key.Algorithm, KeyTag: s.key.KeyTag(), SignerName: s.zone,
		Inception: uint32(now.Add(-time.Hour).Unix()), Expiration: uint32(now.Add(24 * time.Hour).Unix()),
	}
	if err := sig.Sign(s.private, set); err != nil {
		return fmt.Errorf("signing %v: %w", set, err)
	}
	header := set[0].Header()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.forged[rrset{dns.CanonicalName(header.Name), header.Rrtype}] {
		bytes, err := base64.StdEncoding.DecodeString(sig.Signature)
		if err != nil {
			return err
		}
		bytes[0] ^= 1
		sig.Signature = base64.StdEncoding.EncodeToString(bytes)
	}
	*section = append(append(*section, set...), sig)
	return nil
}
