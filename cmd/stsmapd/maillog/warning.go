package maillog

import "bytes"

// parseWarning reads the warnings around a policy lookup. A lookup that fails has up to four of them, in this order,
// each from another layer of Postfix, and only the first says why:
//
//	socketmap:inet:127.0.0.1:8461:sts socketmap server temporary error: reason
//	socketmap:inet:127.0.0.1:8461:sts lookup error for "example.com"
//	smtp_tls_policy_maps, next-hop destination "example.com": policy table lookup error
//	TLS policy lookup for example.com/mx.example.com: client TLS configuration problem
func (p *parser) parseWarning(text []byte) Event {
	p.failure = PolicyFailure{}
	f := &p.failure
	ok := false
	switch {
	case bytes.HasPrefix(text, []byte("TLS policy lookup ")):
		ok = f.parseLookup(text)
	case bytes.HasPrefix(text, []byte("MX name '")):
		ok = f.parseMX(text)
	case hasAnyPrefix(text, "smtp_tls_policy_maps", "smtp_tls_per_site"):
		ok = f.parsePolicyMap(text)
	default:
		ok = f.parseTable(text)
	}
	if !ok {
		return nil
	}
	return f
}

// parseLookup reads "TLS policy lookup for next-hop/host: …", with "error" before "for" where connections are reused.
func (f *PolicyFailure) parseLookup(text []byte) bool {
	_, rest, ok := bytes.Cut(text, []byte(" for "))
	if !ok {
		return false
	}
	names, why, ok := bytes.Cut(rest, []byte(": "))
	if !ok {
		return false
	}
	f.NextHop, f.Host, _ = bytes.Cut(names, []byte("/"))
	f.Reason, _ = classify(why)
	f.Text = why
	return f.Reason != NoReason
}

// parseMX reads "MX name 'host' does not match STS MX pattern for 'domain'".
func (f *PolicyFailure) parseMX(text []byte) bool {
	host, rest, ok := bytes.Cut(text[len("MX name '"):], []byte("' does not match STS MX pattern for '"))
	if !ok {
		return false
	}
	f.Host, f.NextHop, f.Reason = host, bytes.TrimSuffix(rest, []byte("'")), MXNotInPolicy
	f.Text = []byte("does not match STS MX pattern")
	return true
}

// parsePolicyMap reads what Postfix finds wrong with an answer: `smtp_tls_policy_maps, next-hop destination "domain":
// …`.
func (f *PolicyFailure) parsePolicyMap(text []byte) bool {
	_, rest, ok := bytes.Cut(text, []byte(`"`))
	if !ok {
		return false
	}
	name, rest, ok := bytes.Cut(rest, []byte(`": `))
	if !ok || bytes.HasPrefix(rest, []byte("ignoring ")) {
		return false
	}
	f.NextHop, f.Text, f.Reason = name, rest, AnswerNotUnderstood
	if bytes.HasSuffix(rest, []byte("table lookup error")) {
		f.Reason = MapLookup
	}
	return true
}

// parseTable reads what a lookup table says of itself. Only what follows in the same process tells whether it is the
// table of policies.
func (f *PolicyFailure) parseTable(text []byte) bool {
	const server = " socketmap server "
	if i := bytes.Index(text, []byte(server)); i > 0 {
		class, why, ok := bytes.Cut(text[i+len(server):], []byte(" error"))
		if !ok {
			return false
		}
		f.Reason, f.Text = TemporaryAnswer, bytes.TrimPrefix(why, []byte(": "))
		switch string(class) {
		case "permanent":
			f.Reason = PermanentAnswer
		case "unknown":
			f.Reason = MapLookup
		}
		return true
	}
	if rest, ok := bytes.CutPrefix(text, []byte("table ")); ok {
		_, why, ok := bytes.Cut(rest, []byte(" lookup error: "))
		f.Reason, f.Text = MapLookup, why
		return ok
	}
	return false
}
