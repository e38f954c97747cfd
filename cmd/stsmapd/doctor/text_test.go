package doctor

import (
	"strings"
	"testing"
)

func TestWrite(t *testing.T) {
	h := soundHost("3.7.11").maps(ourMap+"sts+dane").override("relay/unix", securityLevel, "").override("relay/unix",
		policyMaps, "inline:{a='b'}")
	r := Diagnose(h.Facts)
	var b strings.Builder
	const flags = "-c /etc/postfix-out "
	if err := r.Write(&b, flags); err != nil {
		t.Fatal(err)
	}
	if err := r.WriteLines(&b, flags); err != nil {
		t.Fatal(err)
	}
	if err := r.WriteChanges(&b); err != nil {
		t.Fatal(err)
	}
	const want = `Postfix 3.7.11, /etc/postfix; SMTP clients: smtp/unix (chroot), relay/unix
    (chroot)

error dane-not-done: the map sts+dane says that Postfix does DANE, but it cannot
    (smtp_dns_support_level is empty): mail to domains with TLSA records and a
    policy is deferred [smtp/unix]
  cure: remove dane from the map name; or set smtp_tls_security_level = dane and
      smtp_dns_support_level = dnssec, with a validating resolver on this host

error map-overridden: master.cf overrides smtp_tls_policy_maps without naming
    stsmapd: this service enforces no MTA-STS policy, whatever main.cf says
    [relay/unix]
  cure: name stsmapd there, or remove the override
    postconf -c /etc/postfix-out -P 'relay/unix/smtp_tls_policy_maps=inline:{a='\''b'\''},` +
		`socketmap:inet:127.0.0.1:8461:sts'

warning level-none: smtp_tls_security_level is empty: mail for domains without a
    policy is never encrypted [relay/unix]
  cure: set it to may: TLS if it is offered
    postconf -c /etc/postfix-out -P 'relay/unix/smtp_tls_security_level=may'

Lines for /etc/postfix/main.cf:

    smtp_tls_policy_maps = socketmap:inet:127.0.0.1:8461:sts

` + "`stsmapd postfix -c /etc/postfix-out --apply` sets them. They take effect with `postfix -c /etc/postfix-out reload`." + `

/etc/postfix/main.cf:

  - smtp_tls_policy_maps = socketmap:inet:127.0.0.1:8461:sts+dane
  + smtp_tls_policy_maps = socketmap:inet:127.0.0.1:8461:sts
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestQuote(t *testing.T) {
	for in, want := range map[string]string{
		"/etc/postfix-out": "/etc/postfix-out", "": "''", "my dir": "'my dir'", "it's": `'it'\''s'`, "$x": "'$x'",
		"a\nb": "'a\nb'", "ü": "'ü'",
	} {
		if got := quote(in); got != want {
			t.Errorf("Quote(%q) = %s, want %s", in, got, want)
		}
	}
}
