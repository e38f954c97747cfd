package maillog

import "bytes"

// parser turns texts into events. It keeps one event of each kind, so that reading a log costs no memory a line.
type parser struct {
	delivery    Delivery
	connection  Connection
	certificate Certificate
	failure     PolicyFailure
	attempt     Attempt
	gone        Gone
}

// parse returns what the text says, nil where it says nothing of what an Event is for.
func (p *parser) parse(program Program, text []byte) Event {
	switch program {
	case SMTP:
		return p.parseSMTP(text)
	case ErrorService:
		return p.parseQueued(text)
	case QueueManager:
		if bytes.HasSuffix(text, []byte("(queue active)")) {
			return nil // the line that it logs most
		}
		return p.parseQueueManager(text)
	case Postsuper:
		return p.parsePostsuper(text)
	case TLSProxy:
		return p.parseCertificate(text)
	default:
		return nil
	}
}

// parseSMTP reads the SMTP client's lines. A queue id may begin like a word, so that words are tried first, and whole.
func (p *parser) parseSMTP(text []byte) Event {
	if len(text) == 0 {
		return nil
	}
	switch text[0] {
	case 'V', 'T', 'U', 'A':
		if e := p.parseConnection(text); e != nil {
			return e
		}
	case 'S':
		if rest, ok := bytes.CutPrefix(text, []byte("SSL_connect error to ")); ok {
			p.connection.Trust = NoTrust
			p.connection.Peer, _ = parsePeer(rest)
			return &p.connection
		}
	case 'w':
		if rest, ok := bytes.CutPrefix(text, []byte("warning: ")); ok {
			return p.parseWarning(rest)
		}
	case 'c':
		if rest, ok := bytes.CutPrefix(text, []byte("connect to ")); ok {
			p.attempt = Attempt{Text: rest}
			return &p.attempt
		}
		fallthrough
	case 's', 'C':
		if e := p.parseCertificate(text); e != nil {
			return e
		}
	}
	return p.parseQueued(text)
}

// parseQueued reads lines that begin with a queue id: deliveries, and attempts with other hosts left to try.
func (p *parser) parseQueued(text []byte) Event {
	id, rest, ok := cutQueueID(text)
	if !ok {
		return nil
	}
	if bytes.HasPrefix(rest, []byte("to=<")) {
		if !p.delivery.parse(id, rest) {
			return nil
		}
		return &p.delivery
	}
	reason, _ := classify(rest)
	if reason == RequireTLS && !isRequireTLSFailure(rest) {
		return nil
	}
	p.attempt = Attempt{QueueID: id, Reason: reason, Text: rest}
	return &p.attempt
}

// isRequireTLSFailure tells a host that was left out from one that was used without REQUIRETLS, as the policy allows.
// Both texts begin with the same words.
func isRequireTLSFailure(text []byte) bool {
	return !bytes.Contains(text, []byte("but REQUIRETLS support was not offered")) &&
		!bytes.Contains(text, []byte("disables certificate matching"))
}

// parseQueueManager reads the queue manager's lines: the end of a message, and deliveries that it defers on its own.
func (p *parser) parseQueueManager(text []byte) Event {
	id, rest, ok := cutQueueID(text)
	if !ok {
		return nil
	}
	switch {
	case string(rest) == "removed":
		p.gone = Gone{QueueID: id, Exit: Removed}
	case bytes.HasSuffix(rest, []byte("expired, returned to sender")): // "expired" and "force-expired"
		p.gone = Gone{QueueID: id, Exit: Expired}
	case bytes.HasPrefix(rest, []byte("to=<")) && p.delivery.parse(id, rest):
		return &p.delivery
	default:
		return nil
	}
	return &p.gone
}

func (p *parser) parsePostsuper(text []byte) Event {
	id, rest, ok := cutQueueID(text)
	if !ok || string(rest) != "removed" && string(rest) != "requeued" {
		return nil
	}
	p.gone = Gone{QueueID: id, Exit: Removed}
	return &p.gone
}

var trustWords = [...]string{Anonymous: "Anonymous", Untrusted: "Untrusted", Trusted: "Trusted", Verified: "Verified"}

// parseConnection reads "Verified TLS connection established to host[address]:port: …". smtp(8) logs one for each
// connection from smtp_tls_loglevel 1 on, "reused" for one of the connection cache.
func (p *parser) parseConnection(text []byte) Event {
	word, rest, _ := bytes.Cut(text, []byte(" "))
	rest, ok := bytes.CutPrefix(rest, []byte("TLS connection "))
	if !ok {
		return nil
	}
	for trust := Anonymous; trust <= Verified; trust++ {
		if string(word) != trustWords[trust] {
			continue
		}
		_, rest, ok = bytes.Cut(rest, []byte(" to ")) // "established", "reused"
		if !ok {
			return nil
		}
		peer, _ := parsePeer(rest)
		if len(peer.Address) == 0 {
			return nil // the line is cut
		}
		p.connection = Connection{Trust: trust, Peer: peer}
		return &p.connection
	}
	return nil
}

// parseCertificate reads "[server |CA ]certificate verification failed for host[address]:port: …".
func (p *parser) parseCertificate(text []byte) Event {
	for _, purpose := range []string{"server ", "CA "} {
		text = bytes.TrimPrefix(text, []byte(purpose))
	}
	rest, ok := bytes.CutPrefix(text, []byte("certificate verification failed for "))
	if !ok {
		return nil
	}
	peer, rest := parsePeer(rest)
	why, ok := bytes.CutPrefix(rest, []byte(": "))
	if !ok {
		return nil
	}
	p.certificate = Certificate{Peer: peer, Reason: certificateReason(why), Text: why}
	return &p.certificate
}

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
