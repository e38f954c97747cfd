// Package fetch gets the MTA-STS policy of a domain by HTTPS (RFC 8461 section 3.3).
//
// A domain that announces a policy serves it as a small text file at
// https://mta-sts.<domain>/.well-known/mta-sts.txt. An attacker who makes a sending host believe a false file, or no
// file, decides how its mail is protected: so the certificate must be valid for that name, redirects are not followed,
// and nothing is cached. The domain also chooses the policy host: a file that never ends, a server that never answers,
// or a name that leads to 127.0.0.1 must cost this host no more than one bounded fetch.
//
//   - client.go is one fetch, and what the response must look like; exchange.go is one attempt: the request, the proxy,
//     the limits.
//   - race.go makes attempts at the addresses of the policy host, IPv6 and IPv4 in turns (RFC 8305), until one brings
//     the policy file. They come from the configured DNS (dial.go), and special ones are refused (address.go).
//   - conn.go ends a connection that hangs, and knows how far a fetch has come.
//   - proxy.go tells a fault of the proxy or of this host's routes from one of the policy host.
//   - error.go says what went wrong, at each address and in the terms of RFC 8460 section 4.3.2.2; reason.go says it in
//     the words of a report.
//   - roots.go reads the trusted CAs. inspect.go is a fetch that keeps all it saw, for `stsmapd check`.
package fetch
