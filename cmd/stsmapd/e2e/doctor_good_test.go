package e2e

import (
	"maps"
	"os"
	"strings"
	"testing"
)

// mapsOfContainers returns smtp_tls_policy_maps as packaging/docs/containers.md has it, by the headings, with the names
// that only its containers know replaced.
func mapsOfContainers(t *testing.T) map[string]string {
	t.Helper()
	page, err := os.ReadFile("../../../packaging/docs/containers.md")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	here := strings.NewReplacer("inet:stsmapd:8461:sts", "inet:@INET:@STS",
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

// goodConfigurations are ways to set up Postfix in which there is nothing to find, written after what each source has
// for mail to other hosts.
func goodConfigurations(containers map[string]string) []doctorCase {
	dane := map[string]string{"smtp_tls_security_level": "dane", "smtp_dns_support_level": "dnssec",
		"smtp_tls_policy_maps": "socketmap:inet:@INET:@STS+dane"}
	set := func(base map[string]string, more ...string) map[string]string {
		all := tables(ourMap)
		maps.Copy(all, base)
		for i := 0; i < len(more); i += 2 {
			all[more[i]] = more[i+1]
		}
		return all
	}
	cases := []doctorCase{
		{name: "readme", why: "README.md", set: set(nil, "smtp_tls_security_level", "may")},
		{name: "readmedane", why: "README.md, with DANE", set: dane},
		{name: "tlspolmap", why: "README.md of postfix-tlspol", set: set(dane,
			"smtp_tls_policy_maps", "socketmap:inet:@INET:@QUERY")},
		{name: "debian", why: "Debian, /usr/share/postfix/main.cf.debian", chroot: true, set: set(nil,
			"smtp_tls_CApath", "/etc/ssl/certs", "smtp_tls_session_cache_database",
			"btree:${data_directory}/smtp_scache",
			"inet_protocols", "all", "relayhost", "")},
		{name: "mailcow", why: "mailcow-dockerized, data/conf/postfix/main.cf", set: set(dane,
			"smtp_tls_cert_file", "@DIR/pair.pem", "smtp_tls_key_file", "@DIR/pair.pem", "smtp_tls_loglevel", "1",
			"smtp_tls_mandatory_protocols", ">=TLSv1.2", "smtp_tls_protocols", ">=TLSv1.2",
			"tls_preempt_cipherlist", "yes",
			"tls_ssl_options", "NO_COMPRESSION, NO_RENEGOTIATION", "smtp_address_preference", "ipv4",
			"smtp_sender_dependent_authentication", "yes", "smtp_sasl_auth_enable", "yes",
			"smtp_sasl_password_maps", "texthash:@DIR/table", "smtp_sasl_security_options", "",
			"smtp_sasl_mechanism_filter", "plain, login", "smtp_header_checks", "regexp:@DIR/some.re",
			"smtp_tls_policy_maps", containers["mailcow"], "smtp_sasl_auth_soft_bounce", "no",
			"compatibility_level", "3.6")},
		{name: "dms", why: "docker-mailserver, target/postfix/main.cf", set: set(nil,
			"tls_ssl_options", "NO_COMPRESSION, NO_RENEGOTIATION", "smtp_tls_protocols",
			"!SSLv2,!SSLv3,!TLSv1,!TLSv1.1",
			"smtp_tls_CApath", "/etc/ssl/certs", "smtp_header_checks", "regexp:@DIR/some.re", "tls_high_cipherlist",
			"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384",
			"smtp_tls_policy_maps", containers["docker-mailserver"], "smtp_tls_security_level", "may",
			"dms_smtpd_sender_restrictions", "permit_mynetworks", "compatibility_level", "2"),
			master: "smtp-amavis unix - - n - 2 smtp -o syslog_name=postfix/amavis -o " +
				"smtp_send_xforward_command=yes\n"},
		{name: "mailu", why: "Mailu, core/postfix/conf/main.cf", set: set(nil,
			"podop", "socketmap:unix:/tmp/podop.socket:", "transport_maps", "", "smtp_tls_protocols", "!SSLv2,!SSLv3",
			"smtp_tls_mandatory_protocols", "!SSLv2, !SSLv3", "smtp_host_lookup", "dns",
			"smtp_dns_support_level", "dnssec",
			"smtp_tls_session_cache_database", "btree:${data_directory}/smtp_scache", "lmtp_host_lookup", "native",
			"tls_ssl_options", "NO_COMPRESSION, NO_TICKET", "tls_high_cipherlist",
			"EDH+CAMELLIA:EECDH+aRSA+AESGCM:!aNULL",
			"smtp_tls_policy_maps", "texthash:@DIR/table, "+ourMap)},
		{name: "iredmail", why: "iRedMail, samples/postfix/main.cf", set: set(nil,
			"smtp_tls_protocols", "!SSLv2 !SSLv3 !TLSv1 !TLSv1.1", "tls_random_source", "dev:/dev/urandom",
			"smtp_tls_mandatory_protocols", "!SSLv2 !SSLv3 !TLSv1 !TLSv1.1", "smtp_tls_note_starttls_offer", "yes",
			"smtp_tls_CApath", "/etc/ssl/certs", "smtpd_tls_CAfile", "@CA", "smtp_tls_CAfile", "$smtpd_tls_CAfile"),
			master: "smtp-amavis unix - - n - 2 smtp -o smtp_data_done_timeout=1200 -o disable_dns_lookups=yes\n"},
		{name: "tlsproxy", why: "TLS connections that are used again", set: set(nil,
			"smtp_tls_connection_reuse", "yes"),
			master: "tlsproxy unix - - n - 0 tlsproxy\n"},
		{name: "nullclient", why: "a smart host with a login", set: set(nil,
			"smtp_sasl_auth_enable", "yes", "smtp_sasl_password_maps", "texthash:@DIR/table",
			"smtp_tls_security_level", "encrypt"), relay: "[smtp.isp.test]:submission"},
		{name: "slow", why: "an -o in braces", set: set(nil), master: "slow unix - - n - 2 smtp\n" +
			"  -o syslog_name=postfix/slow -o { smtp_helo_name = mta.sender.test } -o smtp_connect_timeout=90s -v\n"},
		{name: "modern", why: "what Postfix recommends today", set: set(nil, "smtp_tls_mandatory_protocols",
			">=TLSv1.2",
			"smtp_tls_protocols", ">=TLSv1.2", "smtp_tls_mandatory_ciphers", "high", "smtp_tls_chain_files",
			"@DIR/chain.pem",
			"smtp_tls_exclude_ciphers", "aNULL, MD5, DES, 3DES, RC4")},
		{name: "allexceptions", why: "exceptions before ours, and a default behind", set: set(nil,
			"smtp_tls_policy_maps", "inline:{ {a.test = none} }, "+ourMap+", static:may",
			"smtp_discard_ehlo_keyword_address_maps", "cidr:@DIR/some.cidr", "smtp_generic_maps",
			"texthash:@DIR/table")},
	}
	for i, c := range cases {
		c.open, c.kept, c.tls, c.broken = "sent", "sent", "Verified", "deferred"
		if c.relay != "" { // whose policy applies, and which has none
			c.tls, c.broken, c.asked = "Trusted", "sent", true
		}
		cases[i] = c
	}
	return cases
}
