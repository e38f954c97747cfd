// Package check looks at a mail domain as it is now, and tells whether a mail to it would be delivered under its
// MTA-STS policy (RFC 8461). It needs no running daemon and remembers nothing.
//
// What a sender does in parts over many deliveries is done here at once: the `_mta-sts` TXT record, the policy file and
// the certificate of the host that serves it, the MX records, a talk with each MX host up to the TLS handshake, the
// TLSA records that DANE (RFC 7672) would use, and the TLSRPT record (RFC 8460). No mail is sent and no address is
// tried.
//
// Three parts are kept apart. Looking (checker.go, memo.go, probe.go, smtp.go) does all the input and output, and
// judges nothing. Judging (the files judge*.go, answers.go, result.go, advice.go) is pure: what was seen and the time
// go in, a part of a Report comes out; the answers for Postfix are made by the same resolver.Decide and
// tlspolicy.Render as the daemon's. Printing (text.go, table.go, json.go) reads nothing but the Report.
package check
