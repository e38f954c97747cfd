// Package fetch gets the MTA-STS policy of a domain by HTTPS (RFC 8461 section 3.3).
//
// A domain that announces a policy serves it as a small text file at
// https://mta-sts.<domain>/.well-known/mta-sts.txt. An attacker who makes a sending host believe a false file, or no
// file, decides how its mail is protected: so the certificate must be valid for that name, redirects are not followed,
// and nothing is cached. The domain also chooses the policy host: a file that never ends, a server that never answers,
// or a name that leads to 127.0.0.1 must cost this host no more than one bounded fetch.
//
//   - client.go is one fetch: the request, the proxy, the limits, what the response must look like.
//   - dial.go and race.go connect: addresses come from the configured DNS, IPv6 and IPv4 are raced (RFC 8305), and
//     special addresses are refused (address.go).
//   - conn.go ends a connection that hangs, and knows how far a fetch has come.
//   - proxy.go tells a fault of the proxy or of this host's routes from one of the policy host.
//   - error.go says what went wrong in the terms of RFC 8460 section 4.3.2.2.
//   - roots.go reads the trusted CAs. inspect.go is a fetch that keeps all it saw, for `stsmapd check`.
package fetch
