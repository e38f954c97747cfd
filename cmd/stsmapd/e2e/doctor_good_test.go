package e2e

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
)

// goodConfiguration is a way to set up Postfix in which there is nothing to find.
type goodConfiguration struct {
	name, source string
	set          map[string]string // beside smtp_tls_policy_maps = ourMap
	master       string            // more lines of master.cf
	chroot       string
}

// mapsOfContainers returns smtp_tls_policy_maps as packaging/docs/containers.md has it, by the headings, with the names
// that only its containers know replaced.
func mapsOfContainers(t *testing.T) map[string]string {
	t.Helper()
	page, err := os.ReadFile("../../../packaging/docs/containers.md")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	here := strings.NewReplacer("inet:stsmapd:8461", "inet:@INET",
		"proxy:mysql:/opt/postfix/conf/sql/mysql_tls_policy_override_maps.cf", "proxy:texthash:@DIR/table")
	for _, section := range strings.Split(string(page), "\n## ")[1:] {
		heading, text, _ := strings.Cut(section, "\n")
		_, value, _ := strings.Cut(text, "\n    smtp_tls_policy_maps = ")
		value, _, _ = strings.Cut(value+"\n", "\n\n")
		found[heading] = strings.Join(strings.Fields(here.Replace(value)), " ")
		if !strings.Contains(found[heading], "@INET") {
			t.Fatalf("%s has %q", heading, value)
		}
	}
	return found
}

// goodConfigurations are written after what each source has for mail to other hosts.
func goodConfigurations(containers map[string]string) []goodConfiguration {
	dane := map[string]string{"smtp_tls_security_level": "dane", "smtp_dns_support_level": "dnssec",
		"smtp_tls_policy_maps": "socketmap:inet:@INET:sts+dane"}
	with := func(base map[string]string, more ...string) map[string]string {
		set := maps.Clone(base)
		if set == nil {
			set = map[string]string{}
		}
		for i := 0; i < len(more); i += 2 {
			set[more[i]] = more[i+1]
		}
		return set
	}
	return []goodConfiguration{
		{name: "readme", source: "README.md", set: with(nil, "smtp_tls_security_level", "may")},
		{name: "dane", source: "README.md, with DANE", set: dane},
		{name: "debian", source: "Debian, /usr/share/postfix/main.cf.debian", chroot: "y", set: with(nil,
			"smtp_tls_CApath", "/etc/ssl/certs", "smtp_tls_session_cache_database",
			"btree:${data_directory}/smtp_scache",
			"inet_protocols", "all", "relayhost", "")},
		{name: "mailcow", source: "mailcow-dockerized, data/conf/postfix/main.cf", set: with(dane,
			"smtp_tls_cert_file", "@DIR/pair.pem", "smtp_tls_key_file", "@DIR/pair.pem", "smtp_tls_loglevel", "1",
			"smtp_tls_mandatory_protocols", ">=TLSv1.2", "smtp_tls_protocols", ">=TLSv1.2",
			"tls_preempt_cipherlist", "yes",
			"tls_ssl_options", "NO_COMPRESSION, NO_RENEGOTIATION", "smtp_address_preference", "ipv4",
			"smtp_sender_dependent_authentication", "yes", "smtp_sasl_auth_enable", "yes",
			"smtp_sasl_password_maps", "texthash:@DIR/table", "smtp_sasl_security_options", "",
			"smtp_sasl_mechanism_filter", "plain, login", "smtp_header_checks", "regexp:@DIR/some.re",
			"smtp_tls_policy_maps", containers["mailcow"], "smtp_sasl_auth_soft_bounce", "no",
			"compatibility_level", "3.6")},
		{name: "dms", source: "docker-mailserver, target/postfix/main.cf", set: with(nil,
			"tls_ssl_options", "NO_COMPRESSION, NO_RENEGOTIATION", "smtp_tls_protocols",
			"!SSLv2,!SSLv3,!TLSv1,!TLSv1.1",
			"smtp_tls_CApath", "/etc/ssl/certs", "smtp_header_checks", "regexp:@DIR/some.re", "tls_high_cipherlist",
			"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384",
			"smtp_tls_policy_maps", containers["docker-mailserver"], "smtp_tls_security_level", "may",
			"dms_smtpd_sender_restrictions", "permit_mynetworks", "compatibility_level", "2"),
			master: "smtp-amavis unix - - n - 2 smtp -o syslog_name=postfix/amavis -o " +
				"smtp_send_xforward_command=yes\n"},
		{name: "mailu", source: "Mailu, core/postfix/conf/main.cf", set: with(nil,
			"podop", "socketmap:unix:/tmp/podop.socket:", "transport_maps", "", "smtp_tls_protocols", "!SSLv2,!SSLv3",
			"smtp_tls_mandatory_protocols", "!SSLv2, !SSLv3", "smtp_host_lookup", "dns",
			"smtp_dns_support_level", "dnssec",
			"smtp_tls_session_cache_database", "btree:${data_directory}/smtp_scache", "lmtp_host_lookup", "native",
			"tls_ssl_options", "NO_COMPRESSION, NO_TICKET", "tls_high_cipherlist",
			"EDH+CAMELLIA:EECDH+aRSA+AESGCM:!aNULL",
			"smtp_tls_policy_maps", "texthash:@DIR/table, "+ourMap)},
		{name: "iredmail", source: "iRedMail, samples/postfix/main.cf", set: with(nil,
			"smtp_tls_protocols", "!SSLv2 !SSLv3 !TLSv1 !TLSv1.1", "tls_random_source", "dev:/dev/urandom",
			"smtp_tls_mandatory_protocols", "!SSLv2 !SSLv3 !TLSv1 !TLSv1.1", "smtp_tls_note_starttls_offer", "yes",
			"smtp_tls_CApath", "/etc/ssl/certs", "smtpd_tls_CAfile", "@CA", "smtp_tls_CAfile", "$smtpd_tls_CAfile"),
			master: "smtp-amavis unix - - n - 2 smtp -o smtp_data_done_timeout=1200 -o disable_dns_lookups=yes\n"},
		{name: "reuse", source: "TLS connections that are used again", set: with(nil,
			"smtp_tls_connection_reuse", "yes"),
			master: "tlsproxy unix - - n - 0 tlsproxy\n"},
		{name: "null client", source: "a smart host with a login", set: with(nil, "relayhost",
			"[smtp.isp.test]:submission",
			"smtp_sasl_auth_enable", "yes", "smtp_sasl_password_maps", "texthash:@DIR/table",
			"smtp_tls_security_level", "encrypt")},
		{name: "slow", source: "a slow transport with an -o in braces", master: "slow unix - - n - 2 smtp\n" +
			"  -o syslog_name=postfix/slow -o { smtp_helo_name = mta.sender.test } -o smtp_connect_timeout=90s -v\n"},
		{name: "modern", source: "what Postfix recommends today", set: with(nil, "smtp_tls_mandatory_protocols",
			">=TLSv1.2",
			"smtp_tls_protocols", ">=TLSv1.2", "smtp_tls_mandatory_ciphers", "high", "smtp_tls_chain_files",
			"@DIR/chain.pem",
			"smtp_tls_exclude_ciphers", "aNULL, MD5, DES, 3DES, RC4")},
		{name: "exceptions", source: "exceptions before ours, and a default behind", set: with(nil,
			"smtp_tls_policy_maps", "inline:{ {a.test = none} }, "+ourMap+", static:may",
			"smtp_discard_ehlo_keyword_address_maps", "cidr:@DIR/some.cidr", "smtp_generic_maps",
			"texthash:@DIR/table")},
	}
}

// TestDoctorGood runs `stsmapd postfix` where there is nothing to find.
func TestDoctorGood(t *testing.T) {
	w := world.Open(t)
	d := w.StartDaemon(t, world.DaemonConfig{})
	dir := world.PublicDir(t)
	write := func(name string, text []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("table", []byte("a.test may\n"))
	write("some.re", []byte("/^X-Originating-IP:/ IGNORE\n"))
	write("some.cidr", []byte("198.51.100.0/24 starttls\n"))
	writePairs(t, w, write)
	fill := strings.NewReplacer("@INET", d.Inet.String(), "@DIR", dir, "@CA", w.CAFile)
	for _, c := range goodConfigurations(mapsOfContainers(t)) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := w.NewPostfix(t, world.PostfixConfig{Map: "sts"})
			chroot := "n"
			if c.chroot != "" {
				chroot = c.chroot
			}
			p.Master(t, "smtp unix - - "+chroot+" - - smtp\nrelay unix - - "+chroot+" - - smtp\n"+c.master)
			settings := []string{"-e", "default_transport = smtp", "smtp_tls_policy_maps = " + fill.Replace(ourMap)}
			for _, name := range slices.Sorted(maps.Keys(c.set)) {
				settings = append(settings, name+" = "+fill.Replace(c.set[name]))
			}
			p.Postconf(t, settings...)
			got := doctor(t, w, p, "--connect=inet:"+d.Inet.String())
			if len(got.urgent()) > 0 || !got.OK {
				t.Errorf("%s: stsmapd postfix finds %+v", c.source, got.Findings)
			}
		})
	}
}
