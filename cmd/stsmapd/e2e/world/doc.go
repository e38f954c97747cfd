// Package world makes the world that the end-to-end tests play in: one machine without a network, on whose loopback
// addresses there are a DNS server, policy hosts (HTTPS), MX hosts (SMTP with STARTTLS), a certificate authority,
// Debian's real Postfix with a queue and configuration of its own, and the real stsmapd binary under test. From a
// folder with Debian sid it takes a newer Postfix and a validating resolver (type [Tree]); a TLSRPT [Collector] and a
// signed zone go with them.
//
// A test binary enters it with [Main]: it starts itself again in new network, mount and PID namespaces. There
// 127.0.0.1:53 is free to be the DNS server of /etc/resolv.conf, every address of 127.0.0.0/8 can be another host, and
// when the tests end, whatever they started or mounted ends with the namespaces, also after a crash.
//
// Each test takes domains of its own from the one [World], so that tests run in parallel and each may break the DNS
// and the hosts of its domains as it likes.
package world
