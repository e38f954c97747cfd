// Package world makes the machine that the end-to-end tests run on: it has no network, and on its loopback addresses
// are a DNS server, policy hosts (HTTPS), MX hosts (SMTP with STARTTLS), a certificate authority, Debian's real Postfix
// with a queue and configuration of its own, and the real stsmapd binary under test. Newer Postfixes come from folders
// with other Debians (type [Tree]). There are a validating resolver with a signed zone (type [Validator]) and a TLSRPT
// [Collector].
//
// A test binary enters it with [Main], which starts the binary a second time in new network, mount and PID namespaces.
// There, 127.0.0.1:53 is free for the DNS server of /etc/resolv.conf, every address of 127.0.0.0/8 can be another host,
// and all that the tests started or mounted ends with the namespaces, even after a crash.
//
// Each test makes domains of its own in the one [World], so that tests run in parallel and each may break the DNS and
// the hosts of its domains.
package world
