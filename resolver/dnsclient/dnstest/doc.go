// Package dnstest is a programmable recursive resolver for tests: real packets, over UDP and TCP, on one port.
//
// It answers from a zone map that may change while it runs, as a recursive resolver would: CNAMEs are followed as far
// as the map knows them, denials carry a SOA, wildcards are expanded, what does not fit into the asker's UDP size is
// truncated, and the AD bit is only set for who asks for it. Hooks make it misbehave, for a name and type, question by
// question. Every question is counted.
//
//	srv := dnstest.New(t, dnstest.Config{Strict: true, Zone: `
//		_mta-sts.example.com  300 TXT "v=STSv1; id=1"
//		example.com           300 MX  10 mail.example.com`})
//	srv.On("_mta-sts.example.com", dns.TypeTXT, dnstest.Drop, dnstest.Answer) // the first question gets no answer
//	client, err := dnsclient.New(dnsclient.Config{Servers: []string{srv.Addr()}})
//
// Outside of Go tests Start does the same without a testing.T. Names are absolute with or without the final dot, in any
// case; types are the constants of github.com/miekg/dns.
package dnstest
