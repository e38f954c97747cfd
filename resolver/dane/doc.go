// Package dane finds out whether DANE protects the mail to a destination.
//
// DANE (RFC 7672) binds a mail host to its certificate by TLSA records at _25._tcp.<host>, which DNSSEC proves. A
// domain can have DANE beside MTA-STS. Then MTA-STS must not let a delivery pass that DANE would stop (RFC 8461 section
// 2). As Postfix applies one security level to a whole next hop, stsmapd has to know beforehand which of the two
// applies.
//
//   - facts.go says what the records mean, without I/O; usable.go and reach.go say which records and which hosts
//     Postfix would use.
//   - lookup.go asks the DNS, for all MX hosts of a domain at once.
//   - entry.go says how long a finding serves, and what becomes of it when a lookup fails.
//   - judge.go brings them together: one lookup for a destination at a time, few enough in all, and never too long.
//   - inspect.go is one lookup that keeps all it saw, for `stsmapd check`.
package dane
