package dnstest

import (
	"encoding/base64"
	"time"

	"github.com/miekg/dns"
)

// Hook serves one question: it may Send answers, several even, change them before, or stay silent. It runs in its own
// goroutine and must return soon after the Server is closed; those of this package do.
type Hook func(*Query)

// Answer answers from the zone, as without a hook.
func Answer(q *Query) { q.Send() }

// Drop stays silent.
func Drop(*Query) {}

// Hangup closes a TCP connection without an answer; over UDP it stays silent.
func Hangup(q *Query) { q.CloseConn() }

// ServFail answers SERVFAIL.
func ServFail(q *Query) { Rcode(dns.RcodeServerFailure)(q) }

// Rcode answers with an error code and no records.
func Rcode(rcode int) Hook {
	return Edit(func(m *dns.Msg) {
		m.Rcode, m.Answer, m.Ns, m.AuthenticatedData = rcode, nil, nil, false
	})
}

// BareRcode answers with an error code in a bare header, without even the question.
func BareRcode(rcode int) Hook {
	return func(q *Query) {
		m := dns.Msg{MsgHdr: q.Reply.MsgHdr}
		m.Rcode, m.AuthenticatedData = rcode, false
		q.Reply = &m
		q.Send()
	}
}

// NoEDNS is a server from before EDNS0: it answers with an error code to a question with an OPT record.
func NoEDNS(rcode int) Hook {
	return func(q *Query) {
		if q.EDNS {
			q.Reply.Extra = nil
			Rcode(rcode)(q)
			return
		}
		q.Send()
	}
}

// OnlyDO is a resolver that sets the AD bit for none but those who ask with the DO bit: older systemd-resolved, the
// cache of CoreDNS.
func OnlyDO(q *Query) {
	q.Reply.AuthenticatedData = q.Reply.AuthenticatedData && q.DO
	q.Send()
}

// Signed adds to the answer for one who asks with the DO bit what comes from a signed zone (RFC 4035 section 3.1): a
// signature of each set of records, with the size of one by RSA and 2,048 bits, and to a denial an NSEC record. They
// prove nothing.
func Signed(q *Query) {
	if q.DO {
		if len(q.Reply.Ns) > 0 {
			name := q.Reply.Ns[0].Header().Name
			q.Reply.Ns = append(q.Reply.Ns, RRs(name+" 30 NSEC "+name+" NS SOA RRSIG NSEC")...)
		}
		q.Reply.Answer, q.Reply.Ns = withSignatures(q.Reply.Answer), withSignatures(q.Reply.Ns)
	}
	q.Send()
}

// withSignatures puts a signature behind each set of records.
func withSignatures(section []dns.RR) []dns.RR {
	var signed []dns.RR
	for i, rr := range section {
		signed = append(signed, rr)
		h := rr.Header()
		if i+1 < len(section) &&
			newKey(section[i+1].Header().Name, section[i+1].Header().Rrtype) == newKey(h.Name, h.Rrtype) {
			continue
		}
		signed = append(signed, &dns.RRSIG{
			Hdr:         dns.RR_Header{Name: h.Name, Rrtype: dns.TypeRRSIG, Class: h.Class, Ttl: 1},
			TypeCovered: h.Rrtype, Algorithm: dns.RSASHA256, Labels: uint8(dns.CountLabel(h.Name)), OrigTtl: h.Ttl,
			Expiration: 1 << 31, Inception: 1, KeyTag: 1, SignerName: h.Name,
			Signature: base64.StdEncoding.EncodeToString(make([]byte, 256)),
		})
	}
	return signed
}

// Truncate sends nothing but the TC bit over UDP, and answers over TCP.
func Truncate(q *Query) {
	if q.Net == "udp" {
		q.Reply.Truncated, q.Reply.Answer, q.Reply.Ns = true, nil, nil
	}
	q.Send()
}

// WrongID answers with another id, as one who guesses would.
func WrongID(q *Query) {
	q.Reply.Id++
	q.Send()
	q.Reply.Id--
}

// WrongName answers a question for another name.
func WrongName(q *Query) {
	question := &q.Reply.Question[0]
	name := question.Name
	question.Name = "wrong." + name
	q.Send()
	question.Name = name
}

// WrongType answers a question for another type.
func WrongType(q *Query) {
	q.Reply.Question[0].Qtype++
	q.Send()
	q.Reply.Question[0].Qtype--
}

// WrongClass answers a question for class CH.
func WrongClass(q *Query) {
	q.Reply.Question[0].Qclass = dns.ClassCHAOS
	q.Send()
	q.Reply.Question[0].Qclass = dns.ClassINET
}

// NotAResponse answers without the QR bit.
func NotAResponse(q *Query) {
	q.Reply.Response = false
	q.Send()
	q.Reply.Response = true
}

// Records answers with the given records, whatever their names, instead of what the zone says.
func Records(text string) Hook {
	rrs := mustParse(text)
	return Edit(func(m *dns.Msg) { m.Rcode, m.Answer, m.Ns = dns.RcodeSuccess, rrs, nil })
}

// Edit answers with what the zone says after a change. It must not change records in place: they are the zone's.
func Edit(change func(*dns.Msg)) Hook {
	return func(q *Query) {
		change(q.Reply)
		q.Send()
	}
}

// Raw answers with the bytes that come of the zone's answer.
func Raw(change func(packed []byte) []byte) Hook {
	return func(q *Query) {
		packed, err := q.Reply.Pack()
		if err != nil {
			panic(err)
		}
		q.SendRaw(change(packed))
	}
}

// Each lets several hooks serve one question one after the other: a forger's answer before the true one, for example.
func Each(hooks ...Hook) Hook {
	return func(q *Query) {
		for _, h := range hooks {
			h(q)
		}
	}
}

// After waits before the hook serves.
func After(d time.Duration, h Hook) Hook {
	return func(q *Query) {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			h(q)
		case <-q.done:
		}
	}
}

// Hold waits for the channel to be closed, or for a value from it, before the hook serves.
func Hold(release <-chan struct{}, h Hook) Hook {
	return func(q *Query) {
		select {
		case <-release:
			h(q)
		case <-q.done:
		}
	}
}
