package doctor

import (
	"fmt"
	"slices"
	"strings"
)

// Parameters of TLS deliveries that rules read or set.
const (
	mandatoryProtocols = "smtp_tls_mandatory_protocols"
	mandatoryCiphers   = "smtp_tls_mandatory_ciphers"
	fallbackRelay      = "smtp_fallback_relay"
	tlsConfig          = "tls_config_file"
	ehloKeywords       = "smtp_discard_ehlo_keywords"
	ehloMaps           = "smtp_discard_ehlo_keyword_address_maps"
	underPolicy        = "mail to domains with a policy is deferred, whatever their hosts do"
	// smtp(8) goes on without TLS only where mail has waited for minimal_backoff_time
	otherMail = "mail to other hosts with TLS is deferred, and sent unencrypted when it is tried again"
	noTLS     = "Postfix then does no TLS at all, mail to domains with a policy is deferred, and other mail is sent " +
		"unencrypted"
)

// clientRules judge what smtp(8) does with its own settings, whatever the tables answer.
type clientRules struct{ *diagnosis }

// judgeEngine judges what makes every delivery under a policy impossible.
func (d clientRules) judgeEngine(v view) {
	d.judgeProtocols(v)
	d.judgeCiphers(v)
	d.judgeCurves(v)
	d.judgePairs(v)
	d.judgeEHLO(v)
	d.judgeSideTables(v)
	say := func(name, right, problem, cure string) {
		f := Finding{ID: "tls-impossible", Severity: Error, about: name, Problem: problem, Cure: cure}
		if right != "" {
			f.Fixes = []Fix{v.fix(name, right)}
		}
		d.add(v, f)
	}
	if v.yes("smtp_tls_connection_reuse") && !d.facts.hasService("tlsproxy/unix") {
		d.add(v, Finding{
			ID: "no-tlsproxy", Severity: Error, about: "smtp_tls_connection_reuse",
			Fixes: []Fix{v.fix("smtp_tls_connection_reuse", "no")},
			Problem: "smtp_tls_connection_reuse = yes needs the service tlsproxy, which master.cf does not have: " +
				underPolicy + "; " + otherMail,
			Cure: "set it to no; or add to master.cf: tlsproxy unix - - y - 0 tlsproxy",
		})
	}
	if !d.facts.hasService("tlsmgr/unix") && len(d.facts.Defaults) > 0 {
		d.add(v, Finding{
			ID: "no-tlsmgr", Severity: Error,
			Problem: "master.cf does not have the service tlsmgr: " + noTLS,
			Cure:    "add to master.cf: tlsmgr unix - - y 1000? 1 tlsmgr",
		})
	}
	if v.yes("smtp_tls_wrappermode") && v.value("relayhost") == "" {
		say("smtp_tls_wrappermode", "no", "smtp_tls_wrappermode = yes begins TLS without STARTTLS, which MX hosts "+
			"do not: all mail is deferred",
			"set it to no; a relay host at port 465 needs a service of its own in master.cf")
	}
	if v.yes("smtp_never_send_ehlo") {
		say("smtp_never_send_ehlo", "no", "smtp_never_send_ehlo = yes: without EHLO there is no STARTTLS, no mail is "+
			"encrypted, and "+underPolicy, "set it to no")
	}
	if digest := v.word("smtp_tls_fingerprint_digest"); digest != "" && !knownDigest(digest) {
		say("smtp_tls_fingerprint_digest", "sha256",
			fmt.Sprintf("smtp_tls_fingerprint_digest = %s is no digest: %s", digest, noTLS),
			"set it to sha256")
	}
	if file := v.value(tlsConfig); d.facts.Files[file] == FileMissing && file != "" {
		say(tlsConfig, "default", fmt.Sprintf("%s = %s does not exist: %s", tlsConfig, file, noTLS),
			"set it to default")
	}
}

func (f *Facts) hasService(name string) bool {
	return slices.ContainsFunc(f.Services, func(s Service) bool { return s.Name == name })
}

// knownDigest reports whether OpenSSL has a digest of this name in lower case.
func knownDigest(name string) bool {
	return slices.Contains([]string{
		"md5", "md5-sha1", "sha1", "sha224", "sha256", "sha384", "sha512", "sha512-224", "sha512-256",
		"sha3-224", "sha3-256",
		"sha3-384", "sha3-512", "ripemd160", "rmd160", "sm3", "blake2b512", "blake2s256",
	}, name)
}

// protocols are those of TLS in order. MTA-STS needs 1.2 or later (RFC 8461 section 3.3), and current builds of OpenSSL
// do no older ones.
func protocols() []string {
	return []string{"SSLv2", "SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"}
}

// usableProtocols parses a list of protocols and exclusions as Postfix does. It returns those from TLS 1.2 on that are
// left, or the word that Postfix does not understand.
func usableProtocols(list string, bounds bool) (left []string, unknown string) {
	index := func(name string) int {
		return slices.IndexFunc(protocols(), func(p string) bool { return strings.EqualFold(p, name) })
	}
	hex := map[string]int{"0002": 0, "0300": 1, "0301": 2, "0302": 3, "0303": 4, "0304": 5}
	low, high, excluded, included := 0, len(protocols())-1, []int{}, []int{}
	parts := strings.FieldsFunc(list, func(c rune) bool { return isListSpace(c) || c == ':' })
	for i := 0; i < len(parts); i++ {
		part := parts[i]
		op := ""
		for _, o := range []string{">=", "<=", "!"} {
			if rest, ok := strings.CutPrefix(part, o); ok {
				op, part = o, rest
				break
			}
		}
		if part == "" && op != "" && i+1 < len(parts) { // a space behind the operator
			i++
			part = parts[i]
		}
		n := index(part)
		if v, ok := hex[strings.TrimPrefix(strings.ToLower(part), "0x")]; ok && bounds && strings.HasSuffix(op, "=") {
			n = v
		}
		switch {
		case n < 0 || strings.HasSuffix(op, "=") && !bounds:
			return nil, parts[i]
		case op == ">=":
			low = n
		case op == "<=":
			high = n
		case op == "!":
			excluded = append(excluded, n)
		default:
			included = append(included, n)
		}
	}
	for i := 4; i < len(protocols()); i++ {
		if i >= low && i <= high && !slices.Contains(excluded,
			i) && (len(included) == 0 || slices.Contains(included, i)) {
			left = append(left, protocols()[i])
		}
	}
	return left, ""
}

// judgeProtocols judges the lists of TLS protocols.
func (d clientRules) judgeProtocols(v view) {
	for _, p := range []struct{ name, effect string }{
		{mandatoryProtocols, underPolicy},
		{"smtp_tls_protocols", otherMail},
	} {
		value := v.value(p.name)
		bounds := v.facts.version().atLeast(3, 6, 0)
		left, unknown := usableProtocols(value, bounds)
		if value == "" || unknown == "" && len(left) > 0 {
			continue
		}
		right := ">=TLSv1.2"
		if !bounds {
			right = "!SSLv2, !SSLv3, !TLSv1, !TLSv1.1"
		}
		f := Finding{ID: "protocols-unusable", Severity: Error, about: p.name, Fixes: []Fix{v.fix(p.name, right)},
			Cure: fmt.Sprintf("set %s = %s", p.name, right)}
		what := "leaves neither TLS 1.2 nor 1.3"
		if unknown != "" {
			what = fmt.Sprintf("has %q, which is no protocol of Postfix's (they are %s)", unknown,
				strings.Join(protocols()[1:], ", "))
		}
		f.Problem = fmt.Sprintf("%s = %s %s: %s", p.name, value, what, p.effect)
		d.add(v, f)
	}
}

// judgeCiphers judges grades, lists and exclusions of ciphers.
func (d clientRules) judgeCiphers(v view) {
	grades := []string{"export", "low", "medium", "high", "null"}
	for _, p := range []struct{ name, effect string }{
		{mandatoryCiphers, underPolicy}, {"smtp_tls_ciphers", otherMail},
	} {
		value := v.value(p.name)
		if value == "" || slices.Contains(grades, strings.ToLower(value)) {
			continue
		}
		d.add(v, Finding{
			ID: "ciphers-unusable", Severity: Error, about: p.name, Fixes: []Fix{v.fix(p.name, "medium")},
			Problem: fmt.Sprintf("%s = %s is no grade of ciphers: %s", p.name, value, p.effect),
			Cure:    "set it to medium",
		})
	}
	grade, effect := v.word(mandatoryCiphers), underPolicy
	if v.word("smtp_tls_ciphers") == grade {
		effect += "; " + otherMail
	}
	if list := "tls_" + grade + "_cipherlist"; v.value(list) != "" && !selectsCiphers(v.value(list)) {
		d.add(v, Finding{
			ID: "ciphers-unusable", Severity: Error, about: list, Fixes: []Fix{v.fix(list, v.facts.Defaults[list])},
			Problem: fmt.Sprintf("%s = %s selects no ciphers: %s", list, v.value(list), effect),
			Cure:    fmt.Sprintf("set %s = %s, which is the default", list, v.facts.Defaults[list]),
		})
	}
	for _, p := range []struct{ name, effect string }{
		{"smtp_tls_mandatory_exclude_ciphers", underPolicy},
		{"smtp_tls_exclude_ciphers", underPolicy + "; " + otherMail},
	} {
		for _, word := range strings.FieldsFunc(v.value(p.name),
			func(c rune) bool { return isListSpace(c) || c == ':' }) {
			if word == "ALL" || word == "HIGH" {
				d.add(v, Finding{
					ID: "ciphers-unusable", Severity: Error, about: p.name, Fixes: []Fix{v.fix(p.name, "")},
					Problem: fmt.Sprintf("%s excludes %s, and no ciphers are left: %s", p.name, word, p.effect),
					Cure:    "remove it; Postfix's default needs no exclusions",
				})
			}
		}
	}
}

// selectsCiphers reports whether a list in OpenSSL's format selects a cipher: one word of it must be an alias or a part
// of a cipher's name.
func selectsCiphers(list string) bool {
	for _, word := range strings.FieldsFunc(list, func(c rune) bool { return isListSpace(c) || c == ':' }) {
		if strings.HasPrefix(word, "!") || strings.HasPrefix(word, "-") || strings.HasPrefix(word, "@") {
			continue
		}
		for _, known := range []string{
			"ALL", "HIGH", "MEDIUM", "DEFAULT", "ECDH", "EDH", "DHE", "RSA", "AES", "CHACHA", "NULL", "ARIA",
			"CAMELLIA",
			"PSK", "TLS", "DSS", "SHA", "PROFILE", "LOW", "EXP", "FIPS", "SUITEB",
		} {
			if strings.Contains(word, known) {
				return true
			}
		}
	}
	return false
}

// judgeCurves judges the elliptic curves. Postfix 3.8 to 3.10 offers those that OpenSSL knows and the groups of
// tls_ffdhe_auto_groups; without any of the two, it takes its defaults, as others do without any curve.
func (d clientRules) judgeCurves(v view) {
	const name, fields = "tls_eecdh_auto_curves", "tls_ffdhe_auto_groups"
	words := func(name string) []string { return strings.FieldsFunc(v.value(name), isListSpace) }
	if !v.knows(fields) || v.facts.version().atLeast(3, 11, 0) || slices.ContainsFunc(words(name), knownCurve) ||
		len(words(fields)) == 0 {
		return
	}
	d.add(v, Finding{
		ID: "curves-unusable", Severity: Error, about: name, Fixes: []Fix{v.fix(name, v.facts.Defaults[name])},
		Problem: fmt.Sprintf("%s = %s has no curve that OpenSSL knows, and Postfix offers only the groups of %s, "+
			"which many hosts do not have: mail to such hosts under a policy is deferred; without a policy it is "+
			"deferred, and sent unencrypted when it is tried again", name, orEmpty(v.value(name)), fields),
		Cure: fmt.Sprintf("set %s = %s, which is the default", name, v.facts.Defaults[name]),
	})
}

// knownCurve reports whether a word may be the name of a curve: it knows all of NIST's, and how other names begin.
func knownCurve(word string) bool {
	begins := func(with string) bool { return strings.HasPrefix(word, with) }
	return slices.Contains([]string{"P-192", "P-224", "P-256", "P-384", "P-521", "B-163", "B-233", "B-283", "B-409",
		"B-571", "K-163", "K-233", "K-283", "K-409", "K-571"}, word) || strings.Contains(word, "MLKEM") ||
		slices.ContainsFunc([]string{"X25519", "X448", "prime", "secp", "sect", "brainpool", "c2", "wap-", "SM2",
			"auto", "DEFAULT"}, begins)
}

// judgeEHLO judges what hides STARTTLS from the client.
func (d clientRules) judgeEHLO(v view) {
	keywords := strings.FieldsFunc(v.word(ehloKeywords), isListSpace)
	if slices.Contains(keywords, "starttls") {
		rest := slices.DeleteFunc(slices.Clone(keywords), func(k string) bool { return k == "starttls" })
		d.add(v, Finding{
			ID: "starttls-discarded", Severity: Error, about: ehloKeywords,
			Fixes:   []Fix{v.fix(ehloKeywords, strings.Join(rest, ", "))},
			Problem: fmt.Sprintf("%s has starttls: no mail is encrypted, and %s", ehloKeywords, underPolicy),
			Cure:    "remove starttls from it",
		})
	}
	for _, table := range splitLookupTables(v.value(ehloMaps)) {
		state := d.facts.Tables[Lookup{table, probeAddress}]
		if state.Kind == TableMatchesAll && strings.Contains(strings.ToLower(state.Value), "starttls") {
			d.add(v, Finding{
				ID: "starttls-discarded", Severity: Error, about: ehloMaps,
				Problem: fmt.Sprintf("%s discards STARTTLS of every host (%s = %s): no mail is encrypted, and "+
					"%s", table,
					ehloMaps, table, underPolicy),
				Cure: "restrict the table to the hosts that need it",
			})
		}
	}
}

// sideTable is a parameter with tables that smtp(8) searches for each message, and a key that no one would enter.
type sideTable struct{ parameter, key string }

func sideTables() []sideTable {
	return []sideTable{
		{ehloMaps, probeAddress}, {"smtp_generic_maps", "stsmapd@" + probeDomain},
		{"smtp_header_checks", "X-Stsmapd-Probe: x"}, {"smtp_mime_header_checks", "X-Stsmapd-Probe: x"},
		{"smtp_nested_header_checks", "X-Stsmapd-Probe: x"}, {"smtp_body_checks", "stsmapd probe"},
		{"smtp_reply_filter", "250 stsmapd probe"}, {"smtp_dns_reply_filter", probeDomain + ". 60 IN A 192.0.2.1"},
	}
}

// judgeSideTables judges the other tables of the client: one that fails makes mail wait.
func (d clientRules) judgeSideTables(v view) {
	for _, p := range sideTables() {
		for _, table := range splitLookupTables(v.value(p.parameter)) {
			if state := d.facts.Tables[Lookup{table, p.key}]; state.Kind == TableBroken {
				d.add(v, Finding{
					ID: "table-broken", Severity: Error, about: p.parameter,
					Problem: fmt.Sprintf("the table %s of %s fails: mail is deferred (%s)", table, p.parameter,
						state.Detail),
					Cure: "repair it (postmap makes a hash or lmdb table), or remove it",
				})
			}
		}
	}
}

// pairsOf returns the client certificates of the service.
func pairsOf(v view) []KeyPair {
	var pairs []KeyPair
	for _, file := range strings.FieldsFunc(v.value("smtp_tls_chain_files"), isListSpace) {
		pairs = append(pairs, KeyPair{Certificate: v.facts.beforeChroot(file)})
	}
	if pairs != nil {
		return pairs // the others are ignored
	}
	for _, kind := range []string{"", "ec", "d"} {
		certificate := v.value("smtp_tls_" + kind + "cert_file")
		key := v.value("smtp_tls_" + kind + "key_file")
		if certificate == "" {
			continue
		}
		if key == "" {
			key = certificate
		}
		pairs = append(pairs, KeyPair{v.facts.beforeChroot(certificate), v.facts.beforeChroot(key)})
	}
	return pairs
}

// judgePairs judges the client certificates: with one that cannot be loaded, Postfix does no TLS.
func (d clientRules) judgePairs(v view) {
	for _, pair := range pairsOf(v) {
		state := d.facts.Pairs[pair]
		if state.Problem == "" || state.Missing && pair.Key == "" { // a missing chain is only logged
			continue
		}
		var fixes []Fix
		var names []string
		for _, name := range []string{
			"smtp_tls_cert_file", "smtp_tls_eccert_file", "smtp_tls_dcert_file", "smtp_tls_chain_files",
		} {
			if v.value(name) != "" {
				names, fixes = append(names, name), append(fixes, v.fix(name, ""))
			}
		}
		d.add(v, Finding{
			ID: "client-certificate", Severity: Error, about: names[0], Fixes: fixes,
			Problem: fmt.Sprintf("the client certificate in %s cannot be used (%s): %s", pair.Certificate,
				state.Problem, noTLS),
			Cure: fmt.Sprintf("repair it; or remove %s, for few servers ask for a client certificate",
				strings.Join(names, ", ")),
		})
	}
}
