package doctor

import (
	"fmt"
	"slices"
)

// judgeSupport judges whether this Postfix can query stsmapd at all.
func (d *diagnosis) judgeSupport(views []view) bool {
	noService := view{facts: d.facts}
	switch version := noService.facts.version(); {
	case !noService.knows(policyMaps):
		d.add(noService, Finding{
			ID: "no-tls", Severity: Error,
			Problem: "this Postfix has no " + policyMaps + ": it was built without TLS, or before 2.3",
			Cure:    "install another Postfix",
		})
		return false
	case !version.atLeast(2, 10, 0):
		d.add(noService, Finding{
			ID: "too-old", Severity: Error,
			Problem: fmt.Sprintf("Postfix %s does not support socketmap, which needs 2.10 or later",
				noService.value("mail_version")),
			Cure: "install a newer Postfix",
		})
		return false
	case len(views) == 0:
		d.add(noService, Finding{
			ID: "no-client", Severity: Warning,
			Problem: "master.cf has no service that runs smtp(8): this Postfix sends no mail to other hosts",
			Cure:    "add the service smtp",
		})
		return false
	}
	return true
}

// levels are the security levels that Postfix has.
func levels() []string {
	return []string{"none", "may", "encrypt", "dane", "dane-only", "fingerprint", "verify", "secure"}
}

func isDANE(level string) bool { return level == "dane" || level == "dane-only" }

// level judges smtp_tls_security_level.
func (d *diagnosis) judgeLevel(v view) {
	level, legacy := v.level()
	wanted := v.wantedLevel()
	f := Finding{Severity: Warning, Fixes: []Fix{v.fix(securityLevel, wanted)}}
	switch {
	case !slices.Contains(levels(), level):
		f.ID, f.Severity = "level-invalid", Error
		f.Problem = fmt.Sprintf("%s = %s is not a security level: the SMTP client does not start", securityLevel,
			v.value(securityLevel))
		f.Cure = "set it to " + wanted
	case legacy:
		f.ID = "level-legacy"
		f.Problem = fmt.Sprintf(
			"%s is empty, so that the obsolete smtp_use_tls and smtp_enforce_tls apply (like level %s)", securityLevel,
			level)
		f.Cure = fmt.Sprintf("set %s = %s, and remove the others (postconf -X smtp_use_tls smtp_enforce_tls)",
			securityLevel, wanted)
	case level == "none":
		f.ID = "level-none"
		f.Problem = fmt.Sprintf("%s is %s: mail for domains without a policy is never encrypted", securityLevel,
			orEmpty(v.value(securityLevel)))
		f.Cure = fmt.Sprintf("set it to %s: TLS if it is offered", wanted)
	case level == "may" && wanted == "dane":
		f.ID = "level-not-dane"
		f.Problem = "the map name says +dane, and " + securityLevel +
			" = may: DANE is only used for domains with an MTA-STS policy"
		f.Cure = "set it to dane"
	default:
		return
	}
	d.add(v, f)
}

// orEmpty returns a value, or the word empty.
func orEmpty(value string) string {
	if value == "" {
		return "empty"
	}
	return value
}

// judgeDANE judges what the security levels dane and dane-only need.
func (d *diagnosis) judgeDANE(v view) {
	level, _ := v.level()
	if !isDANE(level) {
		return
	}
	effect := "Postfix does no DANE, and delivers as if the level were may"
	if level == "dane-only" {
		effect = "all mail is deferred"
	}
	for _, p := range []string{dnsSupport, hostLookup, ignoreMX} {
		if right := v.daneSetting(p); right != v.value(p) {
			cure := fmt.Sprintf("set %s = %s", p, right)
			if p == dnsSupport {
				cure += ", and run a validating resolver on this host (on a loopback address)"
			}
			d.add(v, Finding{ID: "dane-without-" + daneSettingID(p), Severity: Error, Fixes: []Fix{v.fix(p, right)},
				Problem: fmt.Sprintf("%s = %s, and %s is %s: %s", securityLevel, level, p, orEmpty(v.value(p)), effect),
				Cure:    cure})
		}
	}
}

func daneSettingID(parameter string) string {
	switch parameter {
	case dnsSupport:
		return "dnssec"
	case hostLookup:
		return "dns"
	}
	return "mx-errors"
}

// judgeAuthorities judges the CA certificates.
func (d *diagnosis) judgeAuthorities(v view) {
	file, dir := v.value(caFile), v.value("smtp_tls_CApath")
	f := Finding{Severity: Error}
	const waits = "every certificate is \"Untrusted\", and mail to domains with a policy is deferred"
	if bundle := d.facts.Bundle; bundle != "" {
		f.Fixes = []Fix{v.fix(caFile, bundle)}
		f.Cure = fmt.Sprintf("set %s = %s", caFile, bundle)
	} else {
		f.Cure = fmt.Sprintf("install the system's CA certificates (Debian: ca-certificates) and set %s to their file",
			caFile)
	}
	state := d.facts.Files[v.facts.beforeChroot(file)]
	jail := d.facts.Files[v.facts.seenOutside(v.service, dir)]
	switch {
	case v.value("smtp_tls_trust_anchor_file") != "":
		f = Finding{
			ID: "trust-anchors", Severity: Warning,
			Problem: "smtp_tls_trust_anchor_file replaces the CA certificates: mail to domains with a policy is " +
				"deferred unless these anchors signed their certificates",
			Cure: "remove it, and set tafile= in a policy table for the destinations that need it",
		}
	case file == "" && dir == "":
		f.ID, f.Problem = "no-ca", fmt.Sprintf("%s and smtp_tls_CApath are empty: %s", caFile, waits)
		if v.yes("tls_append_default_CA") {
			f.Problem += "; tls_append_default_CA = yes alone adds nothing"
		}
	case file != "" && (state == FileMissing || state == FileEmpty):
		what := "does not exist"
		if state == FileEmpty {
			what = "holds no certificate"
		}
		f.ID = "ca-unusable"
		f.Problem = fmt.Sprintf("%s = %s %s: %s", caFile, file, what, noTLS)
	case file == "" && (jail == FileMissing || jail == FileEmpty) && !v.yes("tls_append_default_CA"):
		f.ID = "capath-unusable"
		f.Problem = fmt.Sprintf(
			"smtp_tls_CApath = %s: the SMTP client looks in %s, which has no certificates (named by c_rehash): %s",
			dir, v.facts.seenOutside(v.service, dir), waits)
	default:
		return
	}
	if d.missing && f.Severity == Error && f.Fixes == nil {
		d.blocked = include(d.blocked, "there are no CA certificates: mail to domains with a policy would be deferred")
	}
	d.add(v, f)
}

// judgeObsolete judges settings that newer ones have replaced, or that disable newer ones.
func (d *diagnosis) judgeObsolete(v view) {
	if v.value("smtp_tls_per_site") != "" {
		if v.value(policyMaps) == "" {
			d.blocked = include(d.blocked,
				"the entries of smtp_tls_per_site would then be ignored, and some may require TLS")
		}
		d.add(v, Finding{
			ID: "per-site-ignored", Severity: Warning,
			Problem: "smtp_tls_per_site has no effect if " + policyMaps + " is set",
			Cure:    "move its entries to a table before stsmapd in " + policyMaps + ", and remove it",
		})
	}
	if v.word(mxPatterns) == "no" {
		d.add(v, Finding{
			ID: "mx-patterns-off", Severity: Warning, Fixes: []Fix{v.fix(mxPatterns, "yes")},
			Problem: mxPatterns + " = no: " + inexactMatching, Cure: "set it to yes",
		})
	}
	if v.value(securityLevel) != "" && (v.yes("smtp_use_tls") || v.yes("smtp_enforce_tls")) {
		d.add(v, Finding{ID: "legacy-ignored", Severity: Note,
			Problem: "smtp_use_tls and smtp_enforce_tls have no effect if " + securityLevel +
				" is set; postconf -X removes them"})
	}
}

// addNotes adds findings about the DNS, the relay host and the log.
func (d *diagnosis) addNotes(v view) {
	support := v.word(dnsSupport)
	off := support == "disabled" || support == "" && v.yes("disable_dns_lookups")
	relay := v.value("relayhost")
	if off && relay == "" {
		d.add(v, Finding{
			ID: "dns-off", Severity: Warning,
			Problem: "DNS lookups are disabled: mail is not sent to MX hosts, but policies name only those",
			Cure:    "set " + dnsSupport + " = enabled and disable_dns_lookups = no",
		})
	}
	if relay != "" {
		d.add(v, Finding{
			ID: "relayhost", Severity: Note,
			Problem: fmt.Sprintf("mail is sent to the relay host %s: its policy applies; the relay host must enforce "+
				"those of the recipients' domains", relay),
		})
	}
	if v.value("smtp_tls_loglevel") == "0" {
		d.add(v, Finding{ID: "log-silent", Severity: Note,
			Problem: "smtp_tls_loglevel = 0: the log does not say which connections were verified; 1 does"})
	}
}
