package dnstest

import (
	"encoding/base64"
	"time"

	"github.com/miekg/dns"
)

// Hook serves one question. It may change the answer, Send it once or several times, or send nothing. It runs in its
// own goroutine and must return soon after the Server is closed, as the hooks of this package do.
type Hook func(*Query)

// Answer sends the zone's answer, as without a hook.
func Answer(q *Query) { q.Send() }

// Drop sends nothing.
func Drop(*Query) {}

// Hangup closes a TCP connection without an answer. Over UDP it sends nothing.
func Hangup(q *Query) { q.CloseConn() }

// ServFail answers SERVFAIL.
func ServFail(q *Query) { Rcode(dns.RcodeServerFailure)(q) }

// Rcode answers with an error code and no records.
func Rcode(rcode int) Hook {
	return Edit(func(m *dns.Msg) {
		m.Rcode, m.Answer, m.Ns, m.AuthenticatedData = rcode, nil, nil, false
	})
}

// BareRcode answers with an error code in a header alone, without the question.
func BareRcode(rcode int) Hook {
	return func(q *Query) {
		m := dns.Msg{MsgHdr: q.Reply.MsgHdr}
		m.Rcode, m.AuthenticatedData = rcode, false
		q.Reply = &m
		q.Send()
	}
}

// NoEDNS answers a question with an OPT record with an error code, as a server without EDNS0.
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

// OnlyDO sets the AD bit only for questions with the DO bit, as older systemd-resolved and the cache of CoreDNS.
func OnlyDO(q *Query) {
	q.Reply.AuthenticatedData = q.Reply.AuthenticatedData && q.DO
	q.Send()
}

// Signed answers a question with the DO bit as from a signed zone (RFC 4035 section 3.1): it adds a signature of the
// size of RSA with 2,048 bits to each set of records, and an NSEC record to a denial. They are not valid.
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

// withSignatures adds a signature after each set of records.
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

// Truncate sends an empty answer with the TC bit over UDP, and the answer over TCP.
func Truncate(q *Query) {
	if q.Net == "udp" {
		q.Reply.Truncated, q.Reply.Answer, q.Reply.Ns = true, nil, nil
	}
	q.Send()
}

// WrongID answers with another id, as a forger who guesses it would.
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

// Records answers with the given records, of any names, in place of the zone's.
func Records(text string) Hook {
	rrs := mustParse(text)
	return Edit(func(m *dns.Msg) { m.Rcode, m.Answer, m.Ns = dns.RcodeSuccess, rrs, nil })
}

// Edit sends the zone's answer after change. change must not modify records in place: they belong to the zone.
func Edit(change func(*dns.Msg)) Hook {
	return func(q *Query) {
		change(q.Reply)
		q.Send()
	}
}

// Raw sends the bytes that change makes of the zone's packed answer.
func Raw(change func(packed []byte) []byte) Hook {
	return func(q *Query) {
		packed, err := q.Reply.Pack()
		if err != nil {
			panic(err)
		}
		q.SendRaw(change(packed))
	}
}

// Each calls several hooks for one question, one after the other: a forged answer before the true one, for example.
func Each(hooks ...Hook) Hook {
	return func(q *Query) {
		for _, h := range hooks {
			h(q)
		}
	}
}

// After waits for d before it calls the hook.
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

// Hold waits until release is closed or has a value, and then calls the hook.
func Hold(release <-chan struct{}, h Hook) Hook {
	return func(q *Query) {
		select {
		case <-release:
			h(q)
		case <-q.done:
		}
	}
}
