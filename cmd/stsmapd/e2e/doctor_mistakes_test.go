package e2e

// mistakes are ways to set up Postfix that administrators have come up with, beside those of doctorCases: what
// `stsmapd postfix` says of each, and what Postfix does to mail.
func mistakes() []doctorCase {
	var all []doctorCase
	for _, list := range [][]doctorCase{
		fatalValues(), fatalLines(), fatalRelays(), protocolMistakes(), cipherMistakes(), clientMistakes(),
		certificateMistakes(), tableMistakes(), sideTableMistakes(), settingMistakes(),
	} {
		all = append(all, list...)
	}
	return all
}

// dead is a value that ends smtp(8) before it looks at any mail.
func dead(name, why, parameter, value string) doctorCase {
	return doctorCase{name: name, why: why, set: with(parameter, value), say: []string{"value-invalid"}, open: "dead",
		kept: "dead"}
}

// waits is a value that makes mail under a policy wait, and no other.
func waits(name, why, parameter, value, id string) doctorCase {
	return doctorCase{name: name, why: why, set: with(parameter, value), say: []string{id}, open: "sent",
		kept: "deferred"}
}

// stops is a list of tables that makes all mail wait.
func stops(name, why, list, id string) doctorCase {
	return doctorCase{name: name, why: why, set: tables(list), say: []string{id}, open: "deferred", kept: "deferred"}
}

// others is a case in which mail to a domain without a policy, whose MX has STARTTLS, is not as protected as it could
// be: it waits, and is sent in the clear when it is tried again ("deferred"), or is sent so at once ("sent").
func others(status string, c doctorCase) doctorCase {
	c.other = status
	return c
}

// fine is a value that looks wrong, and is not.
func fine(name, why, parameter, value string, say ...string) doctorCase {
	return doctorCase{name: name, why: why, set: with(parameter, value), say: say, open: "sent", kept: "sent",
		tls: "Verified"}
}

func fatalValues() []doctorCase {
	curve := fine("vcurve", "not a curve, which is only logged", "tls_eecdh_auto_curves", "P-999")
	curve.until = "3.8" // which, until 3.10, then offers the groups of tls_ffdhe_auto_groups alone
	defaults := fine("vcurves", "the same, after which Postfix takes its defaults", "tls_eecdh_auto_curves", "P-999")
	defaults.from = "3.11"
	group := others("deferred", waits("vgroup", "not a curve, and groups that the host does not have",
		"tls_eecdh_auto_curves", "P-999", "curves-unusable"))
	group.from, group.until = "3.8", "3.11"
	return []doctorCase{
		curve, group, defaults,
		dead("vreuse", "a truth value that is none", "smtp_tls_connection_reuse", "maybe"),
		dead("vtrue", "true is not yes", "smtp_tls_note_starttls_offer", "true"),
		dead("vone", "1 is not yes", "smtp_tls_wrappermode", "1"),
		dead("vempty", "an empty truth value", "smtp_use_tls", ""),
		dead("vdepth", "a number in words", "smtp_tls_scert_verifydepth", "nine"),
		dead("vlimit", "an empty number", "smtp_mx_address_limit", ""),
		dead("vline", "a number with a unit", "smtp_line_length_limit", "1k"),
		dead("vnotime", "an empty time", "smtp_starttls_timeout", ""),
		dead("vwords", "a time in words", "smtp_connect_timeout", "never"),
		dead("vzero", "a time of nothing", "smtp_helo_timeout", "0"),
		dead("vlookup", "not a way to look up hosts", "smtp_host_lookup", "hosts"),
		dead("vsupport", "not a level of DNS support", "smtp_dns_support_level", "on"),
		dead("vprefer", "not a protocol", "smtp_address_preference", "ipv5"),
		dead("vdanemx", "not a level for insecure MX records", "smtp_tls_dane_insecure_mx_policy", "secure"),
		dead("vresolver", "not an option of the resolver", "smtp_dns_resolver_options", "edns0"),
		dead("vbind", "a name as an address", "smtp_bind_address", "localhost"),
		dead("vport", "a service that does not exist", "smtp_tcp_port", "smtpx"),
		dead("vtarget", "not a step of SMTP", "smtp_address_verify_target", "mail"),
		dead("vrandom", "too few random bytes", "tls_daemon_random_bytes", "0"),
		dead("vhelo", "an empty name", "smtp_helo_name", ""),
		dead("vgrade", "an empty grade", "smtp_tls_mandatory_ciphers", ""),
		dead("vlist", "an empty list of ciphers", "tls_medium_cipherlist", ""),
		{name: "vsasl", why: "a login without passwords", set: with("smtp_sasl_auth_enable", "yes"),
			say: []string{"sasl-without-passwords"}, open: "dead", kept: "dead"},
		{name: "vlevel", why: "a level of another program", set: with("smtp_tls_security_level", "opportunistic"),
			say: []string{"level-invalid"}, open: "dead", kept: "dead"},
		fine("vunit", "only the first letter of a unit counts", "smtp_connect_timeout", "30sec"),
		fine("vnegative", "a negative number", "smtp_mx_session_limit", "-1"),
		fine("vpix", "not a workaround, which is only logged", "smtp_pix_workarounds", "all"),
		{name: "vloglevel", why: "a log level in words: TLS is not logged", set: with("smtp_tls_loglevel", "high"),
			open: "sent", kept: "sent", tls: "any"},
	}
}

func fatalLines() []doctorCase {
	line := func(name, why, args, last string) doctorCase {
		return doctorCase{name: name, why: why, set: tables(ourMap), args: args, say: []string{"master-argument"},
			open: "dead", kept: "dead", last: last}
	}
	word := func(name, why, list string) doctorCase {
		return doctorCase{name: name, why: why, set: tables(list), say: []string{"map-word"}, open: "dead",
			kept: "dead"}
	}
	return []doctorCase{
		{name: "comment", why: "no comment behind a value", set: tables(ourMap + "  # MTA-STS"),
			say: []string{"map-word", "map-word"}, open: "dead", kept: "dead"},
		word("bareword", "a table without a type", "tls_policy, "+ourMap),
		word("path", "a path for a table", "/etc/postfix/tls_policy, "+ourMap),
		line("spaced", "spaces around = in master.cf", "-o smtp_tls_policy_maps = @MAP",
			"invalid \"-o smtp_tls_policy_maps\" option value"),
		line("noarg", "-o without a setting", "-o", "invalid \"-o -o\" option value"),
		line("nodash", "a setting without -o", "smtp_tls_security_level=may", ""),
		line("colon", "a colon for =", "-o smtp_tls_security_level:may", "invalid \"-o smtp_tls_security_level:may\""),
		line("flag", "an unknown flag", "-q", "invalid option: q"),
	}
}

func fatalRelays() []doctorCase {
	relay := func(name, why, host string) doctorCase {
		return doctorCase{name: name, why: why, set: tables(ourMap), relay: host, say: []string{"relay-malformed"},
			open: "dead", kept: "dead"}
	}
	return []doctorCase{
		relay("relayopen", "a bracket that is not closed", "[smtp.isp.test"),
		relay("relaytail", "a port without colon", "[smtp.isp.test]587"),
		relay("relayname", "a service that does not exist", "[smtp.isp.test]:submision"),
		relay("relaychars", "not a host name", "[smtp..isp.test]"),
		relay("relaynone", "no host", "[]:587"),
		relay("relaybig", "a port too large", "[smtp.isp.test]:99999"),
		relay("relayurl", "a URL", "smtp://smtp.isp.test:587"),
	}
}

func protocolMistakes() []doctorCase {
	const p, id = "smtp_tls_mandatory_protocols", "protocols-unusable"
	return []doctorCase{
		waits("pname", "not a protocol", p, "TLS1.2", id),
		waits("psslv3", "a protocol that is gone", p, "SSLv3", id),
		waits("pnone", "none left", p, "!TLSv1.2, !TLSv1.3", id),
		waits("pold", "only what OpenSSL no longer does", p, "TLSv1", id),
		waits("poldtwo", "only what OpenSSL no longer does", p, "TLSv1 TLSv1.1", id),
		waits("pge", "not a protocol", p, ">=TLS1.2", id),
		waits("pfuture", "a protocol to come", p, ">=TLSv1.4", id),
		waits("punder", "an underscore", p, "!TLSv1_1", id),
		waits("pplus", "a plus", p, "TLSv1.2+", id),
		waits("ple", "an upper bound", p, "<=TLSv1.1", id),
		waits("pcross", "bounds that cross", p, ">=TLSv1.3 <=TLSv1.2", id),
		others("deferred", fine("popp", "not a protocol, for mail without a policy", "smtp_tls_protocols", "TLS1.2",
			id)),
		others("deferred", fine("poppnone", "none left for mail without a policy", "smtp_tls_protocols",
			"!TLSv1.2, !TLSv1.3", id)),
		fine("pspace", "a space behind the operator", p, ">= TLSv1.2"),
		fine("pgood", "as many have it", p, "!SSLv2, !SSLv3, !TLSv1, !TLSv1.1"),
		fine("pgoodge", "as today", p, ">=TLSv1.2"),
		fine("pgoodcase", "in lower case", p, "tlsv1.2 tlsv1.3"),
		fine("pgood13", "only the newest", p, "TLSv1.3"),
		fine("pempty", "no limits", p, ""),
		fine("phex", "hexadecimal", p, ">=0303"),
	}
}

func cipherMistakes() []doctorCase {
	const grade, exclude, id = "smtp_tls_mandatory_ciphers", "smtp_tls_mandatory_exclude_ciphers", "ciphers-unusable"
	return []doctorCase{
		waits("cgrade", "not a grade", grade, "strong", id),
		waits("clist", "a list of ciphers in place of a grade", grade, "HIGH:!aNULL", id),
		waits("xall", "everything excluded", exclude, "ALL", id),
		others("deferred", waits("xopp", "everything excluded for all mail", "smtp_tls_exclude_ciphers", "ALL", id)),
		others("deferred", waits("lgarbage", "a list that OpenSSL does not know", "tls_medium_cipherlist", "nonsense",
			id)),
		others("deferred", fine("copp", "not a grade, for mail without a policy", "smtp_tls_ciphers", "strong", id)),
		fine("cexport", "an old grade", grade, "export"),
		fine("cnull", "no encryption, but TLS 1.3", grade, "null"),
		fine("cupper", "a grade in capitals", grade, "HIGH"),
		fine("xauth", "ciphers of TLS 1.2 excluded", exclude, "aRSA, aECDSA"),
		fine("xgood", "as many have it", exclude, "aNULL, MD5, RC4, 3DES"),
	}
}

func clientMistakes() []doctorCase {
	return []doctorCase{
		others("deferred", waits("reuse", "no tlsproxy", "smtp_tls_connection_reuse", "yes", "no-tlsproxy")),
		others("sent", waits("ehlo", "STARTTLS is discarded", "smtp_discard_ehlo_keywords", "starttls",
			"starttls-discarded")),
		waits("ehlocase", "in capitals, among others", "smtp_discard_ehlo_keywords", "CHUNKING, STARTTLS",
			"starttls-discarded"),
		waits("ehlomap", "for all addresses", "smtp_discard_ehlo_keyword_address_maps", "cidr:@DIR/ehlo.cidr",
			"starttls-discarded"),
		waits("ehlostatic", "for all addresses", "smtp_discard_ehlo_keyword_address_maps", "static:starttls",
			"starttls-discarded"),
		others("sent", waits("noehlo", "never EHLO", "smtp_never_send_ehlo", "yes", "tls-impossible")),
		others("sent", waits("digest", "not a digest", "smtp_tls_fingerprint_digest", "sha257", "tls-impossible")),
		others("sent", waits("tlsconfig", "no such file", "tls_config_file", "@DIR/gone.cnf", "tls-impossible")),
		{name: "wrapper", why: "TLS from the first byte, at port 25", set: with("smtp_tls_wrappermode", "yes"),
			say: []string{"tls-impossible"}, open: "deferred", kept: "deferred"},
		{name: "nodns", why: "no DNS", set: with("smtp_dns_support_level", "disabled"), say: []string{"dns-off"},
			open: "bounced", kept: "bounced"},
		{name: "fallback", why: "mail that no MX host may get goes to the fallback",
			set: with("smtp_fallback_relay", "[fallback.example.test]"), say: []string{"fallback-relay"},
			open: "sent", kept: "sent", tls: "Verified", broken: "sent"},
		{name: "fallbackbad", why: "a fallback that is malformed",
			set: with("smtp_fallback_relay", "[fallback.example.test"), say: []string{"relay-malformed",
				"fallback-relay"},
			open: "sent", kept: "sent", tls: "Verified"},
		fine("ehlobad", "not a keyword, which is only logged", "smtp_discard_ehlo_keywords", "tls"),
		fine("ehlofirst", "EHLO for ESMTP only", "smtp_always_send_ehlo", "no"),
		fine("native", "hosts by the system", "smtp_host_lookup", "dns, native"),
		fine("address", "one address", "smtp_mx_address_limit", "1"),
		fine("chaindepth", "no chain", "smtp_tls_scert_verifydepth", "0"),
		fine("bind", "an address that is not there", "smtp_bind_address", "192.0.2.99"),
	}
}

func certificateMistakes() []doctorCase {
	const file, id = "smtp_tls_cert_file", "client-certificate"
	pair := func(name, why, key string) doctorCase {
		set := with(file, "@DIR/pair.pem")
		set["smtp_tls_key_file"] = key
		return doctorCase{name: name, why: why, set: set, say: []string{id}, open: "sent", kept: "deferred"}
	}
	return []doctorCase{
		others("sent", waits("kgone", "no such file", file, "@DIR/gone.pem", id)),
		waits("kdir", "a directory", file, "@DIR", id),
		waits("kgarbage", "not a certificate", file, "@DIR/all.re", id),
		waits("konly", "a certificate without key", file, "@DIR/untrusted.pem", id),
		waits("kec", "no such file", "smtp_tls_eccert_file", "@DIR/gone.pem", id),
		waits("kdsa", "no such file", "smtp_tls_dcert_file", "@DIR/gone.pem", id),
		waits("kchaincert", "a chain without key", "smtp_tls_chain_files", "@DIR/untrusted.pem", id),
		waits("kchainorder", "a chain, certificate first", "smtp_tls_chain_files", "@DIR/pair.pem", id),
		pair("kmismatch", "another key", "@DIR/otherkey.pem"),
		pair("kkeygone", "no such key", "@DIR/gone.pem"),
		waits("cadir", "a directory", "smtp_tls_CAfile", "@DIR", "ca-unusable"),
		waits("anchorgone", "no such file", "smtp_tls_trust_anchor_file", "@DIR/gone.pem", "trust-anchors"),
		fine("kgood", "a certificate and its key", file, "@DIR/pair.pem"),
		fine("kchaingood", "a chain", "smtp_tls_chain_files", "@DIR/chain.pem"),
		fine("kkeyonly", "a key without certificate", "smtp_tls_key_file", "@DIR/gone.pem"),
		fine("capath", "no such directory beside a CA file", "smtp_tls_CApath", "@DIR/gone"),
	}
}

func tableMistakes() []doctorCase {
	const id = "table-broken"
	return []doctorCase{
		{name: "tafter", why: "a dead server after ours", set: tables(ourMap + ", socketmap:inet:127.0.0.1:9998:x"),
			say: []string{id}, open: "deferred", kept: "sent", tls: "Verified"},
		stops("tbefore", "a dead server before ours", "socketmap:inet:127.0.0.1:9998:x, "+ourMap, id),
		stops("tunix", "no socket", "socketmap:unix:/nonexistent/x:x, "+ourMap, id),
		stops("tproxy", "a table that nobody made, by proxymap", "proxy:hash:@DIR/missing, "+ourMap, id),
		stops("ttype", "not a type", "hahs:@DIR/x, "+ourMap, id),
		stops("ttexthash", "a file that is not there", "texthash:@DIR/missing, "+ourMap, id),
		stops("tunion", "a table in a table", "unionmap:{hash:@DIR/missing}, "+ourMap, id),
		stops("tsemicolon", "semicolons", "hash:@DIR/x; "+ourMap, id),
		stops("tvalue", "a table with a wrong level", "static:encrypted, "+ourMap, "map-hidden"),
		stops("tquote", "quotes", "\""+ourMap+"\"", "map-malformed"),
	}
}

func sideTableMistakes() []doctorCase {
	side := func(name, parameter, table string) doctorCase {
		return doctorCase{name: name, why: "a table that is not there", set: with(parameter, table),
			say: []string{"table-broken"}, open: "deferred", kept: "deferred", tls: "any"}
	}
	return []doctorCase{
		side("ehlogone", "smtp_discard_ehlo_keyword_address_maps", "hash:@DIR/gone"),
		{name: "generic", why: "a table that is not there", set: with("smtp_generic_maps", "hash:@DIR/gone"),
			say: []string{"table-broken"}, open: "dead", kept: "dead"},
		side("header", "smtp_header_checks", "regexp:@DIR/gone"),
		side("replyfilter", "smtp_reply_filter", "regexp:@DIR/gone"),
		side("dnsfilter", "smtp_dns_reply_filter", "regexp:@DIR/gone"),
		fine("pixmaps", "a table that is not there, for hosts that no one has", "smtp_pix_workaround_maps",
			"hash:@DIR/gone"),
		fine("dsnfilter", "a table that is not there", "smtp_delivery_status_filter", "regexp:@DIR/gone"),
	}
}

// settingMistakes are settings that lose protection without a word, or seem to.
func settingMistakes() []doctorCase {
	level := func(name, why, word string) doctorCase { // which mail to domains without TLS does not pass
		c := fine(name, why, "smtp_tls_security_level", word)
		c.open, c.notes, c.broken, c.asked = "deferred", []string{"defer-possible"}, "deferred", true
		return c
	}
	strict := level("strictfew", "mail that waits rather than to be less protected", "encrypt")
	strict.set["smtp_tls_policy_maps"], strict.notes = ourMap+"+defer", nil
	// that of Postfix 3.11 and later
	const defaultLevel = "${{$compatibility_level} <level {3.11} ? {} : {may}}"
	today := fine("defaultlevel", "today's default level", "smtp_tls_security_level", defaultLevel)
	today.set["compatibility_level"], today.from = "3.11", "3.11"
	yesterday := fine("formerlevel", "yesterday's default level", "smtp_tls_security_level", defaultLevel, "level-none")
	yesterday.set["compatibility_level"], yesterday.from = "3.10", "3.11"
	return []doctorCase{
		today, yesterday,
		{name: "everything", why: "several at once", from: "3.10", chroot: true, set: map[string]string{
			"smtp_tls_policy_maps":    "static:may, socketmap:inet:127.0.0.1:1:QUERY",
			"smtp_tls_security_level": "dane", "smtp_tls_enforce_sts_mx_patterns": "no"},
			say:  []string{"other-daemon", "no-map", "dane-without-dnssec", "mx-patterns-off"},
			open: "sent", kept: "sent", tls: "Trusted", broken: "sent"},
		{name: "typomap", why: "a letter is missing", set: map[string]string{"smtp_tls_policy_maps": "",
			"smtp_tls_policy_map": ourMap}, say: []string{"no-map", "unknown-parameter"}, open: "sent", kept: "sent",
			tls: "Trusted", broken: "sent"},
		fine("typolevel", "two letters change places", "smtp_tls_secuirty_level", "encrypt", "unknown-parameter"),
		fine("typofallback", "a letter too many", "smtp_fallback_relays", "[fallback.example.test]",
			"unknown-parameter"),
		{name: "jailtwice", why: "a path that already has the chroot's prefix", chroot: true,
			set: tables("socketmap:unix:@QUEUE/stsmapd.sock:@STS"), say: []string{"socket-outside-chroot"},
			cure: "name it unix:/stsmapd.sock", open: "deferred", kept: "deferred"},
		{name: "shadowed", why: "a trial that enforces nothing", set: tables(ourMap + "+shadow"),
			notes: []string{"shadow"}, asked: true, open: "sent", kept: "sent", tls: "Trusted", broken: "sent"},
		{name: "persite", why: "a table that our map makes useless", set: with("smtp_tls_per_site",
			"texthash:@DIR/table"), say: []string{"per-site-ignored"}, open: "sent", kept: "sent", tls: "Verified",
			broken: "deferred"},
		{name: "rivalfirst", why: "another daemon's server, dead, before ours",
			set: tables("socketmap:inet:127.0.0.1:1:postfix, " + ourMap), say: []string{"other-daemon"},
			open: "deferred", kept: "deferred"},
		{name: "capathempty", why: "a directory without certificates, and no file",
			set: map[string]string{"smtp_tls_policy_maps": ourMap, "smtp_tls_CAfile": "",
				"smtp_tls_CApath": "@DIR/closed"}, say: []string{"capath-unusable"}, open: "sent", kept: "deferred",
			tls: "Untrusted"},
		level("levelencrypt", "no mail in the clear", "encrypt"),
		level("levelverify", "no mail to hosts that prove nothing", "verify"),
		level("levelsecure", "no mail to hosts that do not prove the domain", "secure"),
		strict,
	}
}
