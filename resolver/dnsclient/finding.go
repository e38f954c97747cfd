package dnsclient

import (
	"math"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// maxLinks is the largest number of CNAMEs followed from a name to its records.
const maxLinks = 8

// finding is what the answers so far say about a name.
type finding struct {
	chain     []string // canonical names: the one looked up, then the targets of its CNAMEs; never empty
	records   []dns.RR // of the type looked up, all with data
	ttl       time.Duration
	denial    Denial
	authentic bool
	open      bool // the last name of the chain must still be asked for
}

func newFinding(name string) finding {
	return finding{chain: []string{name}, ttl: math.MaxInt64, authentic: true, open: true}
}

func (f finding) end() string { return f.chain[len(f.chain)-1] }

// target returns the target of the CNAMEs, without the final dot, "" if there are none.
func (f finding) target() string {
	if len(f.chain) < 2 {
		return ""
	}
	return strings.TrimSuffix(f.end(), ".")
}

// advance returns the finding after m, the answer to a question for its last name. Only records of class IN whose owner
// is that name or the target of its CNAMEs are used: a server may add others, and a forger would.
func (f finding) advance(m *dns.Msg, qtype uint16) (finding, *Error) {
	start := len(f.chain)
	f, fail := f.follow(m.Answer, qtype)
	if fail != nil {
		return finding{}, fail
	}
	if len(f.records) > 0 {
		if m.Rcode == dns.RcodeNameError {
			return finding{}, &Error{Kind: Malformed, Detail: "NXDOMAIN with records"}
		}
		f.open = false
		return f, nil
	}
	negative, denied := negativeTTL(m.Ns, f.end())
	switch {
	case m.Rcode == dns.RcodeNameError: // of the chain's last name (RFC 6604 section 3)
		f.denial = NXDomain
	case denied:
		f.denial = NoData
	case len(f.chain) > start: // the server did not follow the chain to its end
		return f, nil
	case slices.ContainsFunc(m.Ns, isNS) && !m.RecursionAvailable:
		return finding{}, &Error{Kind: Lame}
	case len(m.Answer) > 0:
		return finding{}, &Error{Kind: Malformed, Detail: "records of other names or types only"}
	default:
		f.denial = NoData // without a SOA, RFC 2308 section 2.2: type 3, or from a recursive resolver type 1 cut down
	}
	f.ttl, f.open = min(f.ttl, negative), false
	return f, nil
}

// follow follows the CNAMEs of one answer section and adds the records at their end.
func (f finding) follow(section []dns.RR, qtype uint16) (finding, *Error) {
	for {
		var cname *dns.CNAME
		for _, rr := range section {
			h := rr.Header()
			if h.Class != dns.ClassINET || h.Rrtype != qtype && h.Rrtype != dns.TypeCNAME ||
				!sameName(h.Name, f.end()) {
				continue
			}
			if h.Rdlength == 0 {
				return finding{}, &Error{Kind: Malformed, Detail: "record without data"}
			}
			if h.Rrtype == qtype {
				f.records = append(f.records, rr)
				f.ttl = min(f.ttl, seconds(h.Ttl))
			} else if cname == nil {
				cname = rr.(*dns.CNAME)
			}
		}
		if len(f.records) > 0 || cname == nil {
			return f, nil
		}
		target := dns.CanonicalName(cname.Target)
		if slices.Contains(f.chain, target) || len(f.chain) > maxLinks {
			return finding{}, &Error{Kind: CNAMELoop, Detail: "at " + strings.TrimSuffix(target, ".")}
		}
		f.chain = append(f.chain, target)
		f.ttl = min(f.ttl, seconds(cname.Hdr.Ttl))
	}
}

// negativeTTL returns how long the denial of name's records may be cached (RFC 2308 section 5), and whether there is a
// SOA of a zone that can contain name.
func negativeTTL(authority []dns.RR, name string) (time.Duration, bool) {
	for _, rr := range authority {
		soa, ok := rr.(*dns.SOA)
		if ok && soa.Hdr.Class == dns.ClassINET && soa.Hdr.Rdlength > 0 && dns.IsSubDomain(soa.Hdr.Name, name) {
			return min(seconds(soa.Hdr.Ttl), seconds(soa.Minttl)), true
		}
	}
	return 0, false
}

func isNS(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeNS }

// seconds returns a TTL as a duration. A TTL with the top bit set counts as 0 (RFC 2181 section 8).
func seconds(ttl uint32) time.Duration {
	if ttl > math.MaxInt32 {
		return 0
	}
	return time.Duration(ttl) * time.Second
}
