package doctor

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestUsableProtocols(t *testing.T) {
	for _, c := range []struct {
		list    string
		left    int // from TLS 1.2 on
		unknown string
	}{
		{"", 2, ""}, {">=TLSv1.2", 2, ""}, {">= TLSv1.2", 2, ""}, {"!SSLv2, !SSLv3, !TLSv1, !TLSv1.1", 2, ""},
		{"TLSv1.3", 1, ""}, {"!TLSv1.3", 1, ""}, {">=0303", 2, ""}, {">=0x0304", 1, ""}, {"tlsv1.2:tlsv1.3", 2, ""},
		{"TLSv1", 0, ""}, {"<=TLSv1.1", 0, ""}, {">=TLSv1.3 <=TLSv1.2", 0, ""}, {"!TLSv1.2, !TLSv1.3", 0, ""},
		{"TLS1.2", 0, "TLS1.2"}, {"!TLSv1_1", 0, "!TLSv1_1"}, {">=TLSv1.4", 0, ">=TLSv1.4"}, {"0303", 0, "0303"},
	} {
		if left, unknown := usableProtocols(c.list, true); len(left) != c.left || unknown != c.unknown {
			t.Errorf("%q leaves %q, and %q is unknown; want %d and %q", c.list, left, unknown, c.left, c.unknown)
		}
	}
	if _, unknown := usableProtocols(">=TLSv1.2", false); unknown == "" {
		t.Error("Postfix before 3.6 knows no bounds")
	}
}

// TestCurves: Postfix 3.8 to 3.10 offers no curve where OpenSSL knows none of the list, but only where it has other
// groups to offer.
func TestCurves(t *testing.T) {
	for _, c := range []struct {
		why, curves, groups string
		found               bool
	}{
		{"not a curve", "P-999", "ffdhe2048", true},
		{"an empty list", "", "ffdhe2048", true},
		{"one of two is a curve", "P-999, X25519", "ffdhe2048", false},
		{"names of OpenSSL's", "prime256v1 secp384r1", "ffdhe2048", false},
		{"a group of this decade", "X25519MLKEM768", "ffdhe2048", false},
		{"no group at all, which means the defaults", "P-999", "", false},
	} {
		h := soundHost("3.10.5").set("tls_eecdh_auto_curves", c.curves).set("tls_ffdhe_auto_groups", c.groups)
		r := Diagnose(h.Facts)
		if found := slices.Contains(ids(r), "error curves-unusable"); found != c.found {
			t.Errorf("%s: found %v, want %v: %+v", c.why, found, c.found, r.Findings)
		}
	}
	newer := soundHost("3.11.2").set("tls_ffdhe_auto_groups", "ffdhe2048")
	for _, h := range []*host{soundHost("3.7.11"), newer} {
		r := Diagnose(h.set("tls_eecdh_auto_curves", "P-999").Facts)
		if slices.Contains(ids(r), "error curves-unusable") {
			t.Errorf("Postfix %s, which takes its defaults: %+v", h.Parameters["mail_version"], r.Findings)
		}
	}
}

// TestOtherMail tests that a finding says what becomes of mail to domains without a policy where Postfix fails to begin
// TLS: unlike after a failed start of its TLS engine, it waits first.
func TestOtherMail(t *testing.T) {
	for _, c := range []struct {
		name, value string
		said        bool
	}{
		{"smtp_tls_connection_reuse", "yes", true}, {"smtp_tls_protocols", "TLS1.2", true},
		{"smtp_tls_ciphers", "strong", true}, {"smtp_tls_exclude_ciphers", "ALL", true},
		{"tls_medium_cipherlist", "x", true}, {mandatoryProtocols, "TLS1.2", false},
		{mandatoryCiphers, "strong", false},
		{"smtp_tls_mandatory_exclude_ciphers", "ALL", false},
	} {
		h := soundHost("3.7.11").set("smtp_tls_ciphers", "medium").set(mandatoryCiphers, "medium")
		r := Diagnose(h.set(c.name, c.value).Facts)
		if len(r.Findings) != 1 || strings.Contains(r.Findings[0].Problem, otherMail) != c.said {
			t.Errorf("%s = %s: %+v", c.name, c.value, r.Findings)
		}
	}
}

func TestSplitDestination(t *testing.T) {
	for text, want := range map[string][2]string{
		"[smtp.isp.test]": {"smtp.isp.test", ""}, "[smtp.isp.test]:587": {"smtp.isp.test", "587"},
		"isp.test:submission": {"isp.test", "submission"}, "isp.test": {"isp.test", ""},
		"[192.0.2.1]:25":        {"192.0.2.1", "25"},
		"[ipv6:2001:db8::1]:25": {"ipv6:2001:db8::1", "25"}, "[2001:db8::1]": {"2001:db8::1", ""},
		"smtp_out.isp.test": {"smtp_out.isp.test", ""}, "inet:mx.test:25": {"mx.test", "25"},
		"[smtp.isp.test]:": {"smtp.isp.test", ""},
	} {
		if host, port, err := splitDestination(text); host != want[0] || port != want[1] || err != nil {
			t.Errorf("%s: %q, %q, %v", text, host, port, err)
		}
	}
	for _, text := range []string{
		"[smtp.isp.test", "[smtp.isp.test]587", "[smtp..isp.test]", "[]:587", "[smtp.isp.test]:99999",
		"smtp://smtp.isp.test:587",
		"-smtp.isp.test", "",
	} {
		if host, port, err := splitDestination(text); err == nil {
			t.Errorf("%s: %q, %q, and no error", text, host, port)
		}
	}
}

func TestInvalidValue(t *testing.T) {
	for _, c := range []struct {
		name, value, usual string
		valid              bool
	}{
		{"smtp_tls_connection_reuse", "YES", "no", true}, {"smtp_tls_connection_reuse", "true", "no", false},
		{"smtp_mx_address_limit", "-1", "5", true}, {"smtp_mx_address_limit", "", "5", false},
		{"smtp_connect_timeout", "30", "30s", true}, {"smtp_connect_timeout", "2minutes", "30s", true},
		{"smtp_connect_timeout", "30x", "30s", false}, {"smtp_connect_timeout", "0", "30s", true},
		{"smtp_helo_timeout", "0", "300s", false}, {"smtp_helo_name", "", "mta.test", false},
		{hostLookup, "dns, native", "dns", true}, {hostLookup, "native dns hosts", "dns", false},
		{"smtp_tls_loglevel", "high", "0", true}, {"inet_protocols", "ipv4, ipv6", "all", true},
	} {
		if want := invalidValue(c.name, c.value, c.usual); (want == "") != c.valid {
			t.Errorf("%s = %q: must be %q", c.name, c.value, want)
		}
	}
}

func TestStrayArguments(t *testing.T) {
	services := parseServices(`a unix - - n - - smtp -o x=y -v -o { z = a b } -ou=v -D
b unix - - n - - smtp -o x = y
c unix - - n - - smtp -o
d unix - - n - - smtp x=y -q -o x:y
`)
	for i, want := range [][]string{nil, {"-o x", "=", "y"}, {"-o"}, {"x=y", "-q", "-o x:y"}} {
		if !slices.Equal(services[i].Stray, want) {
			t.Errorf("%s: %q, want %q", services[i].Name, services[i].Stray, want)
		}
	}
}

func TestPlaces(t *testing.T) {
	got := map[Setting]Place{}
	parseLines("main.cf", "# x = 1\na = 1\n\nb = 2\n  c = 3\na = 4\n", got)
	parseMasterLines("master.cf", "smtp unix - - y - - smtp\n# -o a=1\n  -o b=2 -o { c = 3 }\nx inet n - n - - "+
		"smtpd -o d=4\n",
		got)
	want := map[Setting]Place{
		{"", "a"}: {"main.cf", 6}, {"", "b"}: {"main.cf", 4}, {"smtp/unix", ""}: {"master.cf", 1},
		{"smtp/unix", "b"}: {"master.cf", 3}, {"smtp/unix", "c"}: {"master.cf", 3}, {"x/inet", ""}: {"master.cf", 4},
		{"x/inet", "d"}: {"master.cf", 4},
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
}

func TestZones(t *testing.T) {
	got := parseZones(`host: 127.0.0.1
cache:
  type: internal
default_zone:
  strict_testing: false # the default
zones:
  postfix:
    strict_testing: true
    timeout: 4
  "other":
    timeout: 4
`)
	if want := map[string]bool{"default_zone": false, "postfix": true, "other": false}; !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestDiagnoseRest has what needs more of a host than parameters, or files that others wrote.
func TestDiagnoseRest(t *testing.T) {
	strict := func(h *host, zones map[string]bool) *host { h.StrictZones = zones; return h }
	warned := func(h *host, text string) *host {
		h.Warnings = append(h.Warnings, text)
		h.Defaults = map[string]string{policyMaps: "", "smtp_tls_CAfile": ""}
		h.add(service("tlsmgr/unix", "tlsmgr", "n"))
		return h
	}
	second := func(enabled bool) *host {
		h := soundHost("3.7.11")
		h.Instances = []Instance{{Directory: "/etc/postfix-out", Enabled: enabled,
			Report: Diagnose(soundHost("3.7.11").maps("").Facts)}}
		return h
	}
	doubled := soundHost("3.7.11").maps("socketmap:unix:"+jail+"/sts.sock:sts").
		socket(jail+jail+"/sts.sock", jail, SocketMissing).socket(jail+"/sts.sock", "/", SocketOpen)
	for _, c := range []diagnosisCase{
		{"a zone was strict", strict(soundHost("3.7.11").maps(ourMap+"postfix"), map[string]bool{"postfix": true}),
			[]string{"warning strict-lost"}, lines{policyMaps: ourMap + "sts+strict"}},
		{"the default zone was strict", strict(soundHost("3.7.11").maps(ourMap+"postfix"),
			map[string]bool{"default_zone": true}), []string{"warning strict-lost"},
			lines{policyMaps: ourMap + "sts+strict"}},
		{"another zone was strict", strict(soundHost("3.7.11").maps(ourMap+"postfix"),
			map[string]bool{"default_zone": false, "other": true}), nil, nil},
		{"QUERY beside a stronger level", soundHost("3.7.11").maps(ourMap+"QUERY").set(securityLevel, "encrypt").
			set(dnsSupport, "dnssec"), []string{"warning dane-partial", "note defer-possible"}, nil},
		{"an instance without the map", second(true), []string{"error other-instance"}, nil},
		{"an instance that is not used", second(false), nil, nil},
		{"the chroot's path in front of a socket's", doubled, []string{"error socket-outside-chroot"},
			lines{policyMaps: "socketmap:unix:/sts.sock:sts"}},
		{"a typo", warned(soundHost("3.7.11"), "/etc/postfix/main.cf: unused parameter: smtp_tls_policy_map=hash:/x"),
			[]string{"warning unknown-parameter"}, nil},
		{"a parameter of one's own", warned(soundHost("3.7.11"), "/etc/postfix/main.cf: unused parameter: my_domain=x"),
			[]string{"note unknown-parameter"}, nil},
		{"set twice", warned(soundHost("3.7.11"),
			"/etc/postfix/main.cf, line 7: overriding earlier entry: smtp_tls_policy_maps=x"),
			[]string{"warning set-twice"}, nil},
		{"a brace", warned(soundHost("3.7.11"), "master.cf: missing '}' in \"{ a = b\""),
			[]string{"error configuration-malformed"}, nil},
		{"some warning", warned(soundHost("3.7.11"), "not owned by root: /x"), []string{"note postfix-warning"}, nil},
	} {
		t.Run(c.why, func(t *testing.T) {
			r := Diagnose(c.host.Facts)
			if got := ids(r); !slices.Equal(got, c.ids) {
				t.Errorf("findings\n got %q\nwant %q: %+v", got, c.ids, r.Findings)
			}
			if got := changed(r); !maps.Equal(got, c.lines) {
				t.Errorf("lines for main.cf\n got %q\nwant %q", got, c.lines)
			}
		})
	}
}
