// Package dnstest is a programmable recursive resolver for tests: real packets, over UDP and TCP, on one port.
//
// It answers as a recursive resolver from a zone that may change while it runs: it follows CNAMEs within the zone, adds
// a SOA to denials, expands wildcards, truncates answers to the client's UDP size, and sets the AD bit only for a
// client that requests it. Hooks make it misbehave for a name and type, question by question. Every question is
// counted.
//
//	srv := dnstest.New(t, dnstest.Config{Strict: true, Zone: `
//		_mta-sts.example.com  300 TXT "v=STSv1; id=1"
//		example.com           300 MX  10 mail.example.com`})
//	srv.On("_mta-sts.example.com", dns.TypeTXT, dnstest.Drop, dnstest.Answer) // the first question gets no answer
//	client, err := dnsclient.New(dnsclient.Config{Servers: []string{srv.Addr()}})
//
// Start does the same without a testing.T. Names are absolute, with or without the final dot, in any case. Types are
// the constants of github.com/miekg/dns.
package dnstest
