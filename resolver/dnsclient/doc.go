// Package dnsclient looks up TXT, A, AAAA, MX and TLSA records.
//
// It is a stub resolver: it asks the recursive resolvers of resolv.conf or of its configuration, and trusts them. It
// uses the packets of github.com/miekg/dns, chooses the server to ask, and interprets the answers.
//
// A lookup has one of three outcomes. Records: an Answer whose Denial is Exists. No records: an Answer with another
// Denial; the DNS has said so (RFC 2308). No answer: an *Error; whether there are records is unknown. A caller that
// treats the third as the second lets anyone who can drop a packet remove a domain's protection.
//
// Questions are sent by UDP, each with a random id and from a random port, since it has a socket of its own, and by TCP
// after a truncated answer. A packet that does not answer the question is ignored, so that only an attacker who sees
// the question can forge its answer. The resolver's AD bit says whether DNSSEC has validated the answer (RFC 6840
// section 5.7). It can be trusted only as far as the path to the resolver, so it is used only from loopback addresses
// and from servers that the administrator trusts. Some resolvers set it only in answers to questions with the DO bit,
// which Client.WithDNSSEC sets. The signatures in those answers are not used.
package dnsclient
