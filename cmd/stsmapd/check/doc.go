// Package check examines a mail domain as it is now, and reports whether a mail to it would be delivered under its
// MTA-STS policy (RFC 8461). It needs no running daemon and caches nothing.
//
// A check looks at all that a sender uses over many deliveries: the `_mta-sts` TXT record, the policy file and the
// certificate of the host that serves it, the MX records, an SMTP session with each MX host up to the TLS handshake,
// the TLSA records that DANE (RFC 7672) would use, and the TLSRPT record (RFC 8460). No mail is sent and no recipient
// is tried.
//
// The package has three parts. Looking (checker.go, dnscache.go, probe.go, smtp.go) does all input from the network and
// judges nothing. Judging (judge.go, judge_dane.go, answers.go, prediction.go, advice.go) is pure: it turns what was
// seen and the time into the parts of a Report. The answers for Postfix are made by resolver.Decide and
// tlspolicy.Render, as in the daemon. Printing (text.go, table.go) reads only the Report.
package check
