package dnstest

import (
	"fmt"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// preamble sets the default TTL, which otherwise would depend on the line before.
const preamble = "$TTL 300\n"

// maxChain is the largest number of CNAMEs that the Server follows in one answer.
const maxChain = 16

// zone is a set of records.
type zone struct {
	sets  map[key][]dns.RR
	nodes map[string]int // number of records at a name and below it; more than 0: the name exists
}

// RRs parses records, one for each line as in a zone file. It panics if it cannot parse them.
func RRs(text string) []dns.RR { return mustParse(text) }

func mustParse(text string) []dns.RR {
	rrs, err := parse(text)
	if err != nil {
		panic(err)
	}
	return rrs
}

func parse(text string) ([]dns.RR, error) {
	// Lines may be indented as the test is. In a zone file, white space at the start means the name of the line before.
	var flat strings.Builder
	flat.WriteString(preamble)
	for l := range strings.Lines(text) {
		flat.WriteString(strings.TrimLeft(l, " \t"))
	}
	p := dns.NewZoneParser(strings.NewReader(flat.String()), ".", "")
	var rrs []dns.RR
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		rrs = append(rrs, rr)
	}
	if err := p.Err(); err != nil {
		return nil, fmt.Errorf("dnstest: records (line 1 being %q): %w", strings.TrimSpace(preamble), err)
	}
	return rrs, nil
}

func (z *zone) add(rrs []dns.RR) {
	if z.sets == nil {
		z.sets, z.nodes = map[key][]dns.RR{}, map[string]int{}
	}
	for _, rr := range rrs {
		k := newKey(rr.Header().Name, rr.Header().Rrtype)
		if hasRR(z.sets[k], rr) {
			continue
		}
		z.sets[k] = append(z.sets[k], rr)
		z.count(k.name, 1)
	}
}

func (z *zone) remove(k key) {
	z.count(k.name, -len(z.sets[k]))
	delete(z.sets, k)
}

func (z *zone) count(name string, n int) {
	for _, i := range append(dns.Split(name), len(name)-1) {
		z.nodes[name[i:]] += n
	}
}

func hasRR(rrs []dns.RR, rr dns.RR) bool {
	for _, o := range rrs {
		if dns.IsDuplicate(o, rr) {
			return true
		}
	}
	return false
}

// records returns the records of a name and type, from a wildcard if the name does not exist (RFC 1034 section 4.3.3).
func (z *zone) records(k key) []dns.RR {
	if z.nodes[k.name] > 0 {
		return z.sets[k]
	}
	for off, end := dns.NextLabel(k.name, 0); !end; off, end = dns.NextLabel(k.name, off) {
		parent := k.name[off:]
		var rrs []dns.RR
		for _, rr := range z.sets[key{"*." + parent, k.qtype}] {
			rr = dns.Copy(rr)
			rr.Header().Name = k.name
			rrs = append(rrs, rr)
		}
		if len(rrs) > 0 || z.nodes[parent] > 0 {
			return rrs
		}
	}
	return nil
}

func (z *zone) exists(name string) bool {
	if z.nodes[name] > 0 {
		return true
	}
	for off, end := dns.NextLabel(name, 0); !end; off, end = dns.NextLabel(name, off) {
		if z.nodes["*."+name[off:]] > 0 {
			return true
		}
		if z.nodes[name[off:]] > 0 {
			return false
		}
	}
	return false
}

// hasAnswer reports whether the zone has a record or CNAME for the question.
func (z *zone) hasAnswer(k key) bool {
	return len(z.records(k)) > 0 || len(z.records(key{k.name, dns.TypeCNAME})) > 0
}

// answer sets the sections and the Rcode of m.
func (z *zone) answer(m *dns.Msg, k key, negative time.Duration) {
	for range maxChain {
		rrs := z.records(k)
		m.Answer = append(m.Answer, rrs...)
		if len(rrs) > 0 {
			return
		}
		cname := z.records(key{k.name, dns.TypeCNAME})
		if len(cname) == 0 {
			break
		}
		m.Answer = append(m.Answer, cname[0])
		k.name = dns.CanonicalName(cname[0].(*dns.CNAME).Target)
	}
	if !z.exists(k.name) {
		m.Rcode = dns.RcodeNameError
	}
	if soa := z.soa(k.name, negative); soa != nil {
		m.Ns = append(m.Ns, soa)
	}
}

// soa returns the SOA of a denial: that of the nearest zone above name, or one of the root.
func (z *zone) soa(name string, negative time.Duration) dns.RR {
	if negative < 0 {
		return nil
	}
	for off, end := 0, false; !end; off, end = dns.NextLabel(name, off) {
		if rrs := z.sets[key{name[off:], dns.TypeSOA}]; len(rrs) > 0 {
			return rrs[0]
		}
	}
	ttl := uint32(negative / time.Second)
	return &dns.SOA{
		Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: ttl},
		Ns:  "ns.invalid.", Mbox: "hostmaster.invalid.", Serial: 1, Refresh: 7200, Retry: 3600, Expire: 86400,
		Minttl: ttl,
	}
}
