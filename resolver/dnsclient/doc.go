// Package dnsclient looks up TXT, A, AAAA, MX and TLSA records.
//
// It is a stub resolver: it asks the recursive resolvers of resolv.conf or of its configuration, and believes them. The
// packets are those of github.com/miekg/dns; what to ask whom, and what an answer means, is decided here.
//
// Three outcomes must never be mixed up. Records: an Answer that Exists. No records: an Answer too, with a Denial, for
// the DNS said so (RFC 2308). No answer: an *Error; nothing is known then, and least of all that there are no records.
// Who takes the third for the second gives up a domain's protection to anyone who can drop a packet.
//
// Questions go by UDP with a fresh random id from a random port that changes after a second or 16 questions, and by TCP
// when the answer was truncated. A packet that does not answer the question asked is ignored, so that only one who sees
// the question can forge its answer. Whether DNSSEC proved the answer is what the resolver's AD bit says (RFC 6840
// section 5.7), which is worth as much as the path to that resolver: it is passed on from loopback addresses and from
// servers that the administrator vouched for. Some resolvers tell it only to those who ask with the DO bit:
// Client.WithDNSSEC does. The signatures that come then are not looked at.
package dnsclient
