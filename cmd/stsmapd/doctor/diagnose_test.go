package doctor

import (
	"maps"
	"slices"
	"testing"
)

const (
	ourMap = "socketmap:inet:127.0.0.1:8461:"
	jail   = "/var/spool/postfix"
)

// lines are a report's changes.
type lines map[string]string

// diagnosisCase is a host, what there is to say of it, and the lines that main.cf should have.
type diagnosisCase struct {
	why   string
	host  *host
	ids   []string
	lines lines
}

func (c diagnosisCase) run(t *testing.T) {
	r := Diagnose(c.host.Facts)
	if got := ids(r); !slices.Equal(got, c.ids) {
		t.Errorf("findings\n got %q\nwant %q", got, c.ids)
	}
	if got := changed(r); !maps.Equal(got, c.lines) {
		t.Errorf("lines for main.cf\n got %q\nwant %q", got, c.lines)
	}
	todo := slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Severity != Note })
	if r.OK == todo {
		t.Errorf("OK is %v", r.OK)
	}
	for _, f := range r.Findings {
		if f.Severity != Note && f.Cure == "" {
			t.Errorf("%s has no cure", f.ID)
		}
		if len(f.Services) == 0 && f.ID != "no-tls" && f.ID != "too-old" && f.ID != "no-client" {
			t.Errorf("%s names no service", f.ID)
		}
	}
}

func TestDiagnoseFeatures(t *testing.T) {
	dane := func(version string) *host {
		return soundHost(version).set(securityLevel, "dane").set(dnsSupport, "dnssec")
	}
	for _, c := range []diagnosisCase{
		{"3.3, as it should be", soundHost("3.3.22"), nil, nil},
		{"3.7, as it should be", soundHost("3.7.11"), nil, nil},
		{"3.10 before the MX patterns, as it should be", soundHost("3.10.4"), nil, nil},
		{"3.11, as it should be", soundHost("3.11.7"), nil, nil},
		{"a snapshot of 3.11", soundHost("3.11-20250823"), nil, nil},
		{"a release candidate of 3.4 knows servername", soundHost("3.4.0-RC1"), nil, nil},
		{"a version in words is taken for a current one", soundHost("3.11.7").set("mail_version", "experimental"), nil,
			nil},

		{"3.3 does not know servername", soundHost("3.3.22").maps(ourMap + "sts"),
			[]string{"error unknown-attributes"}, lines{policyMaps: ourMap + "sts+nosni"}},
		{"3.3 knows neither servername nor the policy attributes", soundHost("3.3.22").maps(ourMap + "QUERYwithTLSRPT"),
			[]string{"error unknown-attributes", "error unknown-attributes", "error dane-not-done"},
			lines{policyMaps: ourMap + "sts+nosni"}},
		{"3.9 does not know the policy attributes", soundHost("3.9.1").maps(ourMap + "sts+tlsrpt+strict"),
			[]string{"error unknown-attributes"}, lines{policyMaps: ourMap + "sts+strict"}},
		{"3.10 does", soundHost("3.10.0").maps(ourMap + "sts"), []string{"warning no-tlsrpt"},
			lines{policyMaps: ourMap + "sts+tlsrpt"}},
		{"so does 3.11, which is better off with them", soundHost("3.11.7").maps(ourMap + "sts+defer"),
			[]string{"warning no-tlsrpt"}, lines{policyMaps: ourMap + "sts+tlsrpt+defer"}},
		{"3.11 can do SNI", soundHost("3.11.7").maps(ourMap + "sts+tlsrpt+nosni"), []string{"warning nosni-needless"},
			lines{policyMaps: ourMap + "sts+tlsrpt"}},
		{"3.11 told to ignore the MX patterns", soundHost("3.11.7").set(mxPatterns, "no"),
			[]string{"warning mx-patterns-off"}, lines{mxPatterns: "yes"}},
		{"a first week", soundHost("3.7.11").maps(ourMap + "sts+shadow"), []string{"note shadow"}, nil},
		{"another daemon's map name is as good", soundHost("3.7.11").maps(ourMap + "postfix"), nil, nil},
		{"another's, in its own capitals", dane("3.7.11").maps(ourMap + "query"), nil, nil},
		{"the same, asking for attributes", dane("3.11.7").maps(ourMap + "QUERYwithTLSRPT"), nil, nil},
		{"a misspelt name",
			soundHost("3.11.7").maps(ourMap + "sts+tlsrtp+strict"), []string{"error unknown-map-name"},
			lines{policyMaps: ourMap + "sts+tlsrpt+strict"}},
		{"a name that stsmapd refuses, whatever we think",
			soundHost("3.7.11").maps(ourMap+"sts+defer").answer(defaultServer, UnknownMap, "sts+defer"),
			[]string{"error unknown-map-name"}, nil},

		{"DANE, as it should be", dane("3.7.11").maps(ourMap + "sts+dane"), nil, nil},
		{"mandatory DANE, as it should be",
			dane("3.11.7").set(securityLevel, "dane-only").maps(ourMap + "sts+dane+tlsrpt"), nil, nil},
		{"DANE that stsmapd is not told of", dane("3.7.11"), []string{"error dane-not-told"},
			lines{policyMaps: ourMap + "sts+dane"}},
		{"in capitals", dane("3.7.11").set(securityLevel, "DANE"), []string{"error dane-not-told"},
			lines{policyMaps: ourMap + "sts+dane"}},
		{"DANE without DNSSEC", dane("3.7.11").maps(ourMap+"sts+dane").set(dnsSupport, "enabled"),
			[]string{"error dane-without-dnssec"}, lines{dnsSupport: "dnssec"}},
		{"DANE without DNSSEC, and stsmapd not told", soundHost("3.7.11").set(securityLevel, "dane"),
			[]string{"error dane-not-told", "error dane-without-dnssec"},
			lines{policyMaps: ourMap + "sts+dane", dnsSupport: "dnssec"}},
		{"DANE, but hosts looked up elsewhere", dane("3.7.11").maps(ourMap+"sts+dane").set(hostLookup, "native"),
			[]string{"error dane-without-dns"}, lines{hostLookup: "dns, native"}},
		{"DANE, but failing MX lookups ignored", dane("3.7.11").maps(ourMap+"sts+dane").set(ignoreMX, "yes"),
			[]string{"error dane-without-mx-errors"}, lines{ignoreMX: "no"}},
		{"told of DANE, which Postfix cannot do",
			soundHost("3.7.11").maps(ourMap + "sts+dane"), []string{"error dane-not-done"},
			lines{policyMaps: ourMap + "sts"}},
		{"told of DANE, which Postfix could do", soundHost("3.7.11").maps(ourMap+"sts+dane").set(dnsSupport, "dnssec"),
			[]string{"warning level-not-dane"}, lines{securityLevel: "dane"}},
		{"told of DANE, which comes by policy only, above a stronger level",
			soundHost("3.7.11").maps(ourMap+"sts+dane").set(dnsSupport, "dnssec").set(securityLevel, "encrypt"),
			[]string{"warning dane-partial", "note defer-possible"}, nil},
	} {
		t.Run(c.why, c.run)
	}
}

func TestDiagnoseTables(t *testing.T) {
	const rivalMap = "socketmap:inet:127.0.0.1:8642:QUERY"
	mine := ourMap + "sts"
	for _, c := range []diagnosisCase{
		{"nothing yet", soundHost("3.7.11").maps(""), []string{"error no-map"}, lines{policyMaps: mine}},
		{"nothing yet, 3.3", soundHost("3.3.1").maps(""), []string{"error no-map"}, lines{policyMaps: mine + "+nosni"}},
		{"nothing yet, 3.11 with DANE",
			soundHost("3.11.7").maps("").set(securityLevel, "dane").set(dnsSupport, "dnssec"),
			[]string{"error no-map"}, lines{policyMaps: mine + "+dane+tlsrpt"}},
		{"a table of the administrator's comes first, and stays there",
			soundHost("3.7.11").maps("hash:/etc/postfix/tls"),
			[]string{"error no-map"}, lines{policyMaps: "hash:/etc/postfix/tls, " + mine}},
		{"a table with exceptions before ours",
			soundHost("3.7.11").maps("inline:{ {example.com = may}, {example.net = none} } " + mine),
			[]string{"note table-before"}, nil},
		{"another after ours", soundHost("3.7.11").maps(mine + ", hash:/etc/postfix/tls"), nil, nil},
		{"a default for the others after ours", soundHost("3.7.11").maps(mine + ", static:encrypt"), nil, nil},
		{"a default before ours", soundHost("3.7.11").maps("hash:/etc/postfix/tls, static:encrypt, " + mine),
			[]string{"error map-hidden", "note table-before"},
			lines{policyMaps: "hash:/etc/postfix/tls, " + mine + ", static:encrypt"}},
		{"a pattern for everything before ours",
			soundHost("3.7.11").maps("regexp:/etc/postfix/tls.re "+mine).table("regexp:/etc/postfix/tls.re",
				TableMatchesAll),
			[]string{"error map-hidden"}, lines{policyMaps: mine + ", regexp:/etc/postfix/tls.re"}},
		{"a default, and nothing of ours", soundHost("3.7.11").maps("static:may"), []string{"error no-map"},
			lines{policyMaps: mine + ", static:may"}},
		{"a table that cannot be opened",
			soundHost("3.7.11").maps(mine+", hash:/gone").table("hash:/gone", TableBroken),
			[]string{"error table-broken"},
			nil},
		{"a socketmap that is none of ours, without a name",
			soundHost("3.7.11").maps(mine + ", socketmap:unix:/run/other"), []string{"error table-broken"}, nil},
		{"asked twice", soundHost("3.7.11").maps(mine + " " + ourMap + "sts+strict"), []string{"warning two-maps"},
			lines{policyMaps: mine}},
		{"another daemon that is there, first",
			soundHost("3.7.11").maps(rivalMap+", "+mine).answer("inet:127.0.0.1:8642", OtherMap, "QUERY"),
			[]string{"warning other-daemon"}, lines{policyMaps: mine}},
		{"another daemon that is gone, last",
			soundHost("3.7.11").maps(mine+", "+rivalMap).answer("inet:127.0.0.1:8642", NoConnection, "QUERY"),
			[]string{"error other-daemon"}, lines{policyMaps: mine}},
		{"another daemon alone: ours takes its place",
			soundHost("3.7.11").maps("hash:/a, "+rivalMap+", hash:/b").answer("inet:127.0.0.1:8642", OtherMap, "QUERY"),
			[]string{"error no-map", "warning other-daemon"}, lines{policyMaps: "hash:/a, " + mine + ", hash:/b"}},
		{"another daemon at our port, its zone of another name",
			soundHost("3.7.11").maps(ourMap+"strictzone").answer(defaultServer, OtherMap, "strictzone", "sts"),
			[]string{"error no-map", "warning other-daemon"}, lines{policyMaps: mine}},
		{"a socketmap of the administrator's own",
			soundHost("3.7.11").maps("socketmap:inet:10.0.0.1:99:tls, "+mine).answer("inet:10.0.0.1:99", OtherMap,
				"tls"),
			[]string{"note table-before"}, nil},
		{"ours through proxymap", soundHost("3.7.11").maps("proxy:" + mine), nil, nil},
		{"ours through proxymap, which may ask it",
			soundHost("3.7.11").maps("proxy:"+mine).set("proxy_read_maps", "proxy:unix:passwd.byname proxy:"+mine), nil,
			nil},
		{"ours through proxymap, which may not ask it",
			soundHost("3.7.11").maps("proxy:"+mine).set("proxy_read_maps", mine), []string{"error proxy-unapproved"},
			nil},
		{"another table through proxymap, which may not ask it",
			soundHost("3.7.11").maps("proxy:hash:/a, "+mine).set("proxy_read_maps", mine),
			[]string{"error proxy-unapproved", "note table-before"}, nil},
		{"ours through proxymap, with a feature too many",
			soundHost("3.7.11").maps("proxy:" + mine + "+tlsrpt"), []string{"error unknown-attributes"},
			lines{policyMaps: "proxy:" + mine}},
		{"ours in a pipemap", soundHost("3.7.11").maps("pipemap:{" + mine + ",static:may}"),
			[]string{"error map-wrapped"},
			nil},
		{"the port forgotten", soundHost("3.7.11").maps("socketmap:inet:127.0.0.1:sts"),
			[]string{"error map-malformed"},
			lines{policyMaps: mine}},
		{"the name forgotten", soundHost("3.7.11").maps("socketmap:inet:127.0.0.1:8461"),
			[]string{"error map-malformed"},
			lines{policyMaps: mine}},
		{"inet: forgotten",
			soundHost("3.7.11").maps("socketmap:127.0.0.1:8461:sts+strict"), []string{"error map-malformed"},
			lines{policyMaps: mine + "+strict"}},
		{"socketmap: forgotten", soundHost("3.7.11").maps("inet:127.0.0.1:8461:sts"), []string{"error map-malformed"},
			lines{policyMaps: mine}},
		{"the wrong protocol", soundHost("3.7.11").maps("tcp:127.0.0.1:8461"), []string{"error map-malformed"},
			lines{policyMaps: mine}},
		{"wrong, and then right", soundHost("3.7.11").maps("tcp:127.0.0.1:8461 " + mine),
			[]string{"error map-malformed"},
			lines{policyMaps: mine}},
	} {
		t.Run(c.why, c.run)
	}
}

func TestDiagnoseConnection(t *testing.T) {
	const socket = "/run/stsmapd/sts.sock"
	ourSocket := func() *host { return soundHost("3.7.11").maps("socketmap:unix:" + socket + ":sts") }
	for _, c := range []diagnosisCase{
		{"stsmapd is down", soundHost("3.7.11").answer(defaultServer, NoConnection, "sts"),
			[]string{"error nobody-answers"}, nil},
		{"somebody else took its port", soundHost("3.7.11").answer(defaultServer, NoSocketmap, "sts"),
			[]string{"error wrong-listener"}, nil},
		{"stsmapd has moved", soundHost("3.7.11").maps("socketmap:inet:127.0.0.1:9999:sts+strict").answer(
			"inet:127.0.0.1:9999", NoConnection, "sts+strict"),
			[]string{"error nobody-answers"}, lines{policyMaps: ourMap + "sts+strict"}},
		{"stsmapd runs on another host",
			soundHost("3.7.11").maps("socketmap:inet:192.0.2.1:8461:sts").answer("inet:192.0.2.1:8461", Stsmapd, "sts"),
			nil, nil},
		{"a name to look up in the chroot, which it can",
			soundHost("3.7.11").maps("socketmap:inet:localhost:8461:sts").file(jail+"/etc/hosts", FileGood), nil, nil},
		{"a name to look up in the chroot, which it cannot",
			soundHost("3.7.11").maps("socketmap:inet:localhost:8461:sts").file(jail+"/etc/hosts", FileMissing),
			[]string{"warning name-in-chroot"}, nil},

		{"a socket outside of the chroot",
			ourSocket().socket(jail+socket, jail, SocketMissing).socket(socket, "/", SocketOpen),
			[]string{"error socket-outside-chroot"}, lines{policyMaps: ourMap + "sts"}},
		{"a socket without a chroot",
			ourSocket().chroot("n").socket(socket, "/", SocketOpen).answer("unix:"+socket, Stsmapd, "sts"), nil, nil},
		{"the default of the chroot column",
			ourSocket().chroot("-").socket(socket, "/", SocketOpen).answer("unix:"+socket, Stsmapd, "sts"), nil, nil},
		{"its default for those who have not looked since 2.x", ourSocket().chroot("-").set("compatibility_level", "0").
			socket(jail+socket, jail, SocketMissing).socket(socket, "/", SocketOpen),
			[]string{"error socket-outside-chroot"}, lines{policyMaps: ourMap + "sts"}},
		{"a socket within the chroot",
			ourSocket().socket(jail+socket, jail, SocketOpen).answer("unix:"+jail+socket, Stsmapd, "sts"), nil, nil},
		{"no socket anywhere", ourSocket().socket(jail+socket, jail, SocketMissing).socket(socket, "/", SocketMissing),
			[]string{"error nobody-answers"}, lines{policyMaps: ourMap + "sts"}},
		{"a socket that Postfix may not use",
			ourSocket().socket(jail+socket, jail, SocketClosed).answer("unix:"+jail+socket, Stsmapd, "sts"),
			[]string{"error socket-permission"}, lines{policyMaps: ourMap + "sts"}},
		{"a file that is no socket",
			ourSocket().socket(jail+socket, jail, SocketOther).answer("unix:"+jail+socket, NoConnection, "sts"),
			[]string{"error nobody-answers"}, lines{policyMaps: ourMap + "sts"}},
		{"a socket that only root may look at", ourSocket().answer("unix:"+jail+socket, Forbidden, "sts"),
			[]string{"note not-checked"}, nil},
		{"a socket asked by proxymap, which is not chrooted",
			soundHost("3.7.11").maps("proxy:socketmap:unix:"+socket+":sts").
				socket(socket, "/", SocketOpen).answer("unix:"+socket, Stsmapd, "sts"), nil, nil},
		{"a relative path is the same to all",
			soundHost("3.7.11").maps("socketmap:unix:sts.sock:sts").socket(jail+"/sts.sock", jail, SocketOpen).
				answer("unix:"+jail+"/sts.sock", Stsmapd, "sts"), nil, nil},
		{"a socket that root may use, whatever its permissions",
			rooted(ourSocket()).socket(jail+socket, jail, SocketClosed).answer("unix:"+jail+socket, Stsmapd, "sts"),
			nil, nil},
	} {
		t.Run(c.why, c.run)
	}
}

func rooted(h *host) *host {
	h.service("smtp/unix").Root, h.service("relay/unix").Root = true, true
	return h
}

func TestDiagnoseSettings(t *testing.T) {
	for _, c := range []diagnosisCase{
		{"no TLS for the others", soundHost("3.7.11").set(securityLevel, ""), []string{"warning level-none"},
			lines{securityLevel: "may"}},
		{"no TLS, said so", soundHost("3.7.11").set(securityLevel, "none"), []string{"warning level-none"},
			lines{securityLevel: "may"}},
		{"the old switch",
			soundHost("3.7.11").set(securityLevel, "").set("smtp_use_tls", "yes"), []string{"warning level-legacy"},
			lines{securityLevel: "may"}},
		{"the old strict switch",
			soundHost("3.7.11").set(securityLevel, "").set("smtp_enforce_tls", "yes"), []string{"warning level-legacy"},
			lines{securityLevel: "verify"}},
		{"the old strict switch without names",
			soundHost("3.7.11").set(securityLevel, "").set("smtp_enforce_tls", "yes").set("smtp_tls_enforce_peername",
				"no"),
			[]string{"warning level-legacy"}, lines{securityLevel: "encrypt"}},
		{"the old switch beside the new one", soundHost("3.7.11").set("smtp_use_tls", "yes"),
			[]string{"note legacy-ignored"}, nil},
		{"a level that does not exist",
			soundHost("3.7.11").set(securityLevel, "opportunistic"), []string{"error level-invalid"},
			lines{securityLevel: "may"}},
		{"a stricter level", soundHost("3.7.11").set(securityLevel, "encrypt"), []string{"note defer-possible"},
			nil},
		{"tables of 2.2", soundHost("3.7.11").set("smtp_tls_per_site", "hash:/etc/postfix/per_site"),
			[]string{"warning per-site-ignored"}, nil},

		{"no CA certificates", soundHost("3.7.11").set(caFile, ""), []string{"error no-ca"}, lines{caFile: bundleFile}},
		{"no CA certificates, with a setting that does not help",
			soundHost("3.7.11").set(caFile, "").set("tls_append_default_CA", "yes"), []string{"error no-ca"},
			lines{caFile: bundleFile}},
		{"a CA file that is gone",
			soundHost("3.7.11").set(caFile, "/etc/ca.pem").file("/etc/ca.pem", FileMissing),
			[]string{"error ca-unusable"},
			lines{caFile: bundleFile}},
		{"a CA file without a certificate",
			soundHost("3.7.11").set(caFile, "ca.pem").file(jail+"/ca.pem", FileEmpty), []string{"error ca-unusable"},
			lines{caFile: bundleFile}},
		{"a CA file that only root may read", soundHost("3.7.11").set(caFile, "/root/ca.pem"), nil, nil},
		{"CA directory, copied into the chroot",
			soundHost("3.7.11").set(caFile, "").set("smtp_tls_CApath", "/etc/ssl/certs").file(jail+"/etc/ssl/certs",
				FileGood), nil, nil},
		{"CA directory outside of the chroot",
			soundHost("3.7.11").set(caFile, "").set("smtp_tls_CApath", "/etc/ssl/certs").file(jail+"/etc/ssl/certs",
				FileMissing).
				file("/etc/ssl/certs", FileGood), []string{"error capath-unusable"}, lines{caFile: bundleFile}},
		{"CA directory without a chroot",
			soundHost("3.7.11").chroot("n").set(caFile, "").set("smtp_tls_CApath",
				"/etc/ssl/certs").file("/etc/ssl/certs",
				FileGood), nil, nil},
		{"CA directory that nobody hashed",
			soundHost("3.7.11").chroot("n").set(caFile, "").set("smtp_tls_CApath", "/etc/certs").file("/etc/certs",
				FileEmpty),
			[]string{"error capath-unusable"}, lines{caFile: bundleFile}},
		{"trust anchors in place of CAs",
			soundHost("3.7.11").set("smtp_tls_trust_anchor_file", "/etc/anchor.pem"), []string{"warning trust-anchors"},
			nil},

		{"a relay host", soundHost("3.7.11").set("relayhost", "[smtp.example.com]:587"), []string{"note relayhost"},
			nil},
		{"no DNS", soundHost("3.7.11").set(dnsSupport, "disabled"), []string{"warning dns-off"}, nil},
		{"no DNS, the old way", soundHost("3.7.11").set("disable_dns_lookups", "yes"), []string{"warning dns-off"},
			nil},
		{"no DNS, none needed", soundHost("3.7.11").set("disable_dns_lookups", "yes").set("relayhost", "[192.0.2.1]"),
			[]string{"note relayhost"}, nil},
		{"a silent log", soundHost("3.7.11").set("smtp_tls_loglevel", "0"), []string{"note log-silent"}, nil},

		{"too old to ask", soundHost("2.9.6").maps(""), []string{"error too-old"}, nil},
		{"built without TLS", without(soundHost("3.7.11"), policyMaps), []string{"error no-tls"}, nil},
		{"a null client",
			&host{Facts{Parameters: soundHost("3.7.11").Parameters,
				Services: []Service{service("smtp/inet", "smtpd", "n")}}}, []string{"warning no-client"}, nil},
	} {
		t.Run(c.why, c.run)
	}
}

func without(h *host, parameter string) *host {
	delete(h.Parameters, parameter)
	delete(h.Written, parameter)
	return h
}
