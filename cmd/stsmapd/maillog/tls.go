package maillog

import (
	"bytes"
	"strings"
)

// Level is a TLS security level of Postfix's SMTP client, from weak to strong.
type Level uint8

// The levels, in the order of Postfix's tls_level.c.
const (
	NoLevel       Level = iota // not logged
	LevelUnknown               // Postfix could not find out the level: the policy lookup failed
	LevelOther                 // a word that this package does not know
	LevelNone                  // no TLS
	LevelMay                   // TLS where the server offers it
	LevelEncrypt               // TLS with any server
	LevelFprint                // a certificate with a given fingerprint
	LevelHalfDANE              // a certificate by TLSA records, of a host whose name DNSSEC does not vouch for
	LevelDANE                  // a certificate by TLSA records where there are any
	LevelDANEOnly              // a certificate by TLSA records
	LevelVerify                // a certificate of a trusted authority, with a matching name
	LevelSecure                // the same, its name not taken from an insecure MX lookup
	levelCount
)

var levelWords = [levelCount]string{
	LevelUnknown: "unknown", LevelOther: "other", LevelNone: "none", LevelMay: "may", LevelEncrypt: "encrypt",
	LevelFprint: "fingerprint", LevelHalfDANE: "halfdane", LevelDANE: "dane", LevelDANEOnly: "dane-only",
	LevelVerify: "verify", LevelSecure: "secure",
}

// String returns Postfix's word for the level, "" for NoLevel.
func (l Level) String() string {
	if l >= levelCount {
		return "other"
	}
	return levelWords[l]
}

// Authenticates reports whether the server is known to be the right one where this level was reached. LevelHalfDANE
// is not enough: Postfix never calls such a connection verified.
func (l Level) Authenticates() bool { return l >= LevelFprint && l != LevelHalfDANE && l < levelCount }

func parseLevel(b []byte) Level {
	for l := LevelUnknown; l < levelCount; l++ {
		if l != LevelOther && string(b) == levelWords[l] {
			return l
		}
	}
	return LevelOther
}

// Outcome says whether a wanted feature was there.
type Outcome uint8

// The outcomes.
const (
	NoOutcome Outcome = iota // the feature was not asked for, or is not logged
	Complied                 // the policy for the feature was kept, perhaps at a lower level that it allows
	Violated                 // it was not ("!"), and the connection was not used
	Undecided                // it is not known ("?"): no connection, or it broke
)

// RequireTLSLimit is what REQUIRETLS (RFC 8689) failed for, or went without.
type RequireTLSLimit uint8

// The limits, with Postfix's words.
const (
	NoLimit       RequireTLSLimit = iota
	NoCertMatch                   // nocertmatch: no server certificate that matches
	NoStartTLS                    // nostarttls: the server does not offer STARTTLS
	NoEncryption                  // noencryption: the TLS policy turns TLS off
	NoRequireTLS                  // none: the server does not offer REQUIRETLS
	OtherLimit                    // a word that this package does not know
	limitWordsEnd = OtherLimit
)

var limitWords = [...]string{NoCertMatch: "nocertmatch", NoStartTLS: "nostarttls", NoEncryption: "noencryption",
	NoRequireTLS: "none"}

// TLSStatus is the tls=… field of a delivery (Postfix 3.11 and later, smtp_log_tls_feature_status): the security
// level that was wanted and the one that was reached, and whether the message asked for REQUIRETLS. The zero
// TLSStatus: not logged.
type TLSStatus struct {
	Wanted  Level
	Reached Level // NoLevel unless Outcome is Complied
	Outcome Outcome
	// RequireTLS is NoOutcome where the message did not ask for REQUIRETLS.
	RequireTLS      Outcome
	RequireTLSLimit RequireTLSLimit
}

// IsLogged reports whether the delivery's line had the field.
func (s TLSStatus) IsLogged() bool { return s != TLSStatus{} }

// IsBelow reports whether the mail went out at a lower level than was wanted.
func (s TLSStatus) IsBelow() bool { return s.Outcome == Complied && s.Reached < s.Wanted }

// ParseTLSStatus reads the words of a tls=… field: [!]level[:reached][?], each further feature behind a slash.
// Features that it does not know are left out.
func ParseTLSStatus(b []byte) TLSStatus {
	var s TLSStatus
	for len(b) > 0 {
		var word []byte
		word, b, _ = bytes.Cut(b, []byte("/"))
		name, reached, outcome := parseFeature(word)
		if string(name) == "requiretls" {
			s.RequireTLS, s.RequireTLSLimit = outcome, parseLimit(reached)
			continue
		}
		if s.Outcome != NoOutcome {
			continue
		}
		s.Wanted, s.Outcome = parseLevel(name), outcome
		if outcome == Complied {
			s.Reached = s.Wanted
			if len(reached) > 0 {
				s.Reached = parseLevel(reached)
			}
		}
	}
	return s
}

// parseFeature splits [!]name[:reached][?].
func parseFeature(word []byte) (name, reached []byte, outcome Outcome) {
	outcome = Complied
	if rest, ok := bytes.CutPrefix(word, []byte("!")); ok {
		word, outcome = rest, Violated
	}
	if rest, ok := bytes.CutSuffix(word, []byte("?")); ok {
		word, outcome = rest, Undecided
	}
	name, reached, _ = bytes.Cut(word, []byte(":"))
	return name, reached, outcome
}

func parseLimit(b []byte) RequireTLSLimit {
	if len(b) == 0 {
		return NoLimit
	}
	for l := NoCertMatch; l < limitWordsEnd; l++ {
		if string(b) == limitWords[l] {
			return l
		}
	}
	if string(b) == "nomatch" { // so in the manual of smtp_requiretls_policy, in one place
		return NoCertMatch
	}
	return OtherLimit
}

// String returns the words as Postfix logs them, "" where they are not logged.
func (s TLSStatus) String() string {
	var words []string
	if s.Outcome != NoOutcome {
		reached := ""
		if s.Outcome == Complied && s.Reached != s.Wanted {
			reached = s.Reached.String()
		}
		words = append(words, featureWord(s.Wanted.String(), reached, s.Outcome))
	}
	if s.RequireTLS != NoOutcome {
		limit := ""
		switch {
		case s.RequireTLSLimit == OtherLimit:
			limit = "other"
		case s.RequireTLSLimit != NoLimit:
			limit = limitWords[s.RequireTLSLimit]
		}
		words = append(words, featureWord("requiretls", limit, s.RequireTLS))
	}
	return strings.Join(words, "/")
}

func featureWord(name, reached string, outcome Outcome) string {
	if outcome == Violated {
		name = "!" + name
	}
	if reached != "" {
		name += ":" + reached
	}
	if outcome == Undecided {
		name += "?"
	}
	return name
}
