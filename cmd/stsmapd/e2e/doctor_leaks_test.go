package e2e

import "maps"

// ownCases are ways to set up Postfix that need one of its own: what lets mail go past the policy by another service or
// instance, what main.cf says twice, and what another daemon protected before. Some need DNSSEC.
func ownCases() []doctorCase {
	var all []doctorCase
	for _, list := range [][]doctorCase{otherServices(), lacking(), twice(), predecessors(), withDNSSEC()} {
		all = append(all, list...)
	}
	return all
}

// slow is a service without the map, behind one that has it.
const slow = "slow unix - - n - - smtp -o syslog_name=postfix/@NAME -o smtp_tls_policy_maps=\n"

func otherServices() []doctorCase {
	routed := func(name, why, parameter, table string) doctorCase {
		return doctorCase{name: name, why: why, set: with(parameter, table), master: slow,
			say: []string{"map-overridden"}, open: "sent", kept: "sent", tls: "Trusted", broken: "sent"}
	}
	overridden := func(name, why, args string) doctorCase {
		return doctorCase{name: name, why: why, set: tables(ourMap), args: args, own: true,
			say: []string{"map-overridden"}, open: "sent", kept: "sent", tls: "Trusted", broken: "sent"}
	}
	filter := with("transport_maps", "inline:{ {filtered.test = slow:[127.0.0.1]:10024} }")
	return []doctorCase{
		routed("routeall", "all domains by another service", "transport_maps", "static:slow:"),
		routed("routeinline", "some domains by another service", "transport_maps",
			"inline:{ {.example.test = slow:} }"),
		routed("routefile", "a file of transports", "transport_maps", "texthash:@DIR/transports"),
		routed("routeproxy", "a file of transports, by proxymap", "transport_maps", "proxy:texthash:@DIR/transports"),
		routed("routepattern", "a pattern of transports", "transport_maps", "regexp:@DIR/transports.re"),
		routed("routesender", "a sender's transport", "sender_dependent_default_transport_maps",
			"inline:{ {@@NAME.sender.test = slow:} }"),
		routed("routedefault", "another default transport", "default_transport", "slow"),
		{name: "relayservice", why: "domains that are relayed, by a service without the map",
			set: with("relay_domains", "example.test"), relayArgs: "-o smtp_tls_policy_maps=", own: true,
			say: []string{"map-overridden"}, open: "sent", kept: "sent", tls: "Trusted", broken: "sent"},
		overridden("emptied", "the service has an empty list", "-o smtp_tls_policy_maps="),
		overridden("replaced", "the service has another list", "-o smtp_tls_policy_maps=texthash:@DIR/table"),
		{name: "contentfilter", why: "a content filter needs no map", set: filter, master: slow, open: "sent",
			kept: "sent", tls: "Verified", broken: "deferred"},
		{name: "instance", why: "a second instance without the map", set: tables(ourMap), second: tables(""),
			say: []string{"other-instance"}, open: "sent", kept: "sent", tls: "Trusted", broken: "sent"},
	}
}

// lacking are Postfixes whose master.cf lacks a service that TLS needs.
func lacking() []doctorCase {
	return []doctorCase{
		{name: "notlsmgr", why: "no tlsmgr", without: "tlsmgr/unix", set: tables(ourMap), say: []string{"no-tlsmgr"},
			open: "sent", kept: "deferred", other: "sent"},
	}
}

func twice() []doctorCase {
	return []doctorCase{
		{name: "emptylater", why: "a later empty line of the same name", set: tables(ourMap),
			main: "smtp_tls_policy_maps =\n", say: []string{"no-map", "set-twice"}, open: "sent", kept: "sent",
			tls: "Trusted", broken: "sent"},
		{name: "otherlater", why: "a later line with another table", set: tables(ourMap),
			main: "smtp_tls_policy_maps = texthash:@DIR/table\n", say: []string{"no-map", "set-twice"}, open: "sent",
			kept: "sent", tls: "Trusted", broken: "sent"},
		{name: "nocalater", why: "a later line without CAs", set: tables(ourMap), main: "smtp_tls_CAfile =\n",
			say: []string{"no-ca", "set-twice"}, open: "sent", kept: "deferred", tls: "Untrusted", byHand: caByHand()},
	}
}

// caByHand is the CA of the test's hosts; --apply names the system's.
func caByHand() map[string]string { return map[string]string{"smtp_tls_CAfile": "@CA"} }

func predecessors() []doctorCase {
	strict := func(name, why, zones string) doctorCase {
		return doctorCase{name: name, why: why, set: tables(ourMap), predecessor: zones, mode: "testing",
			say: []string{"strict-lost"}, open: "sent", kept: "sent", tls: "Trusted", broken: "sent"}
	}
	const default_ = "default_zone:\n  require_sni: true\n"
	return []doctorCase{
		strict("strictzone", "postfix-mta-sts-resolver was strict", "default_zone:\n  strict_testing: true\n"),
		strict("strictnamed", "the zone of this name was strict",
			default_+"  strict_testing: false\nzones:\n  sts:\n    strict_testing: true\n  sts+tlsrpt:\n"+
				"    strict_testing: true\n"),
		{name: "lenientzone", why: "postfix-mta-sts-resolver was not strict", set: tables(ourMap),
			predecessor: default_ + "  strict_testing: false\n", mode: "testing", asked: true, open: "sent",
			kept: "sent", tls: "Trusted", broken: "sent"},
	}
}

// withDNSSEC are cases whose domains are signed: the MX host of the one with a policy has the right TLSA record; that
// of the domain whose MX does not meet it has a wrong one, and the domain has no policy.
func withDNSSEC() []doctorCase {
	dane := func(name, why string, set map[string]string, say ...string) doctorCase {
		all := map[string]string{"smtp_tls_policy_maps": ourMap + "+dane", "smtp_tls_security_level": "dane",
			"smtp_dns_support_level": "dnssec"}
		maps.Copy(all, set)
		return doctorCase{name: name, why: why, signed: true, set: all, say: say, open: "sent", kept: "deferred"}
	}
	const tlspol = "socketmap:inet:@INET:@QUERY"
	level := func(word string) map[string]string { return map[string]string{"smtp_tls_security_level": word} }
	replaced := func(name, word string) doctorCase {
		set := level(word)
		set["smtp_tls_policy_maps"] = tlspol
		c := dane(name, "stsmapd in place of postfix-tlspol, which answered with DANE", set, "dane-partial")
		c.open, c.kept, c.tls, c.broken, c.byHand = "deferred", "sent", "Verified", "sent", level("dane")
		c.notes = []string{"defer-possible"}
		return c
	}
	good := dane("daneright", "DANE as README.md has it", nil)
	good.kept, good.tls, good.broken = "sent", "Verified", "deferred"
	may := dane("danemay", "DANE for domains with a policy alone", level("may"), "level-not-dane")
	may.kept, may.tls, may.broken = "sent", "Verified", "sent"
	untold := dane("daneuntold", "stsmapd does not know that Postfix does DANE", tables(ourMap), "dane-not-told")
	untold.kept, untold.tls, untold.broken = "sent", "Verified", "deferred"
	claim := dane("daneclaim", "+dane, and neither DNSSEC nor DANE",
		map[string]string{"smtp_dns_support_level": "", "smtp_tls_security_level": "may"}, "dane-not-done")
	claim.byHand = good.set // the other cure
	return []doctorCase{
		good, may, untold, claim,
		dane("danesupport", "no DNSSEC", map[string]string{"smtp_dns_support_level": "enabled"},
			"dane-without-dnssec"),
		dane("danelookup", "no DNS", map[string]string{"smtp_host_lookup": "native"}, "dane-without-dns"),
		dane("danemx", "failed lookups of MX records are ignored", map[string]string{"ignore_mx_lookup_error": "yes"},
			"dane-without-mx-errors"),
		replaced("tlspolencrypt", "encrypt"), replaced("tlspolverify", "verify"), replaced("tlspolsecure", "secure"),
	}
}
