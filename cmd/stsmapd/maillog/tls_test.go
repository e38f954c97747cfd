package maillog

import "testing"

// featureWords are the forms that Postfix's documentation of smtp_log_tls_feature_status and smtp_requiretls_policy
// lists, and others that its source can write.
func featureWords() []struct {
	why, words      string
	wanted, reached Level
	outcome         Outcome
	requireTLS      Outcome
	limit           RequireTLSLimit
	below           bool
} {
	type row = struct {
		why, words      string
		wanted, reached Level
		outcome         Outcome
		requireTLS      Outcome
		limit           RequireTLSLimit
		below           bool
	}
	return []row{
		{"TLS turned off", "none", LevelNone, LevelNone, Complied, 0, 0, false},
		{"opportunistic, used", "may", LevelMay, LevelMay, Complied, 0, 0, false},
		{"opportunistic, no connection", "may?", LevelMay, 0, Undecided, 0, 0, false},
		{"opportunistic, no STARTTLS", "may:none", LevelMay, LevelNone, Complied, 0, 0, true},
		{"encryption", "encrypt", LevelEncrypt, LevelEncrypt, Complied, 0, 0, false},
		{"encryption, no STARTTLS", "!encrypt", LevelEncrypt, 0, Violated, 0, 0, false},
		{"DANE", "dane", LevelDANE, LevelDANE, Complied, 0, 0, false},
		{"DANE, the MX records not signed", "dane:halfdane", LevelDANE, LevelHalfDANE, Complied, 0, 0, true},
		{"DANE, no usable TLSA record", "dane:encrypt", LevelDANE, LevelEncrypt, Complied, 0, 0, true},
		{"DANE, the handshake failed", "dane?", LevelDANE, 0, Undecided, 0, 0, false},
		{"DANE only", "dane-only", LevelDANEOnly, LevelDANEOnly, Complied, 0, 0, false},
		{"a fingerprint", "fingerprint", LevelFprint, LevelFprint, Complied, 0, 0, false},
		{"a fingerprint that does not match", "!fingerprint", LevelFprint, 0, Violated, 0, 0, false},
		{"verified", "verify", LevelVerify, LevelVerify, Complied, 0, 0, false},
		{"MTA-STS", "secure", LevelSecure, LevelSecure, Complied, 0, 0, false},
		{"MTA-STS violated", "!secure", LevelSecure, 0, Violated, 0, 0, false},
		{"MTA-STS, the handshake failed", "secure?", LevelSecure, 0, Undecided, 0, 0, false},
		{"no policy to be found out", "unknown?", LevelUnknown, 0, Undecided, 0, 0, false},
		{"REQUIRETLS sent", "secure/requiretls", LevelSecure, LevelSecure, Complied, Complied, 0, false},
		{"REQUIRETLS, the certificate does not match", "!secure/!requiretls:nocertmatch", LevelSecure, 0, Violated,
			Violated, NoCertMatch,
			false},
		{"REQUIRETLS, a level that does not match certificates", "may?/!requiretls:nocertmatch", LevelMay, 0,
			Undecided, Violated,
			NoCertMatch, false},
		{"REQUIRETLS sent, no match wanted", "may/requiretls:nocertmatch", LevelMay, LevelMay, Complied, Complied,
			NoCertMatch, false},
		{"REQUIRETLS, no STARTTLS", "!encrypt/!requiretls:nostarttls", LevelEncrypt, 0, Violated, Violated, NoStartTLS,
			false},
		{"REQUIRETLS, TLS turned off", "none?/!requiretls:noencryption", LevelNone, 0, Undecided, Violated,
			NoEncryption, false},
		{"REQUIRETLS not offered, enforced", "secure/!requiretls:none", LevelSecure, LevelSecure, Complied, Violated,
			NoRequireTLS,
			false},
		{"REQUIRETLS not offered, opportunistic", "may/requiretls:none", LevelMay, LevelMay, Complied, Complied,
			NoRequireTLS, false},
		{"REQUIRETLS and STARTTLS not offered", "may:none/requiretls:none", LevelMay, LevelNone, Complied, Complied,
			NoRequireTLS, true},
		{"REQUIRETLS undecided", "secure?/requiretls?", LevelSecure, 0, Undecided, Undecided, 0, false},
		{"REQUIRETLS, no policy to be found out", "unknown?/requiretls?", LevelUnknown, 0, Undecided, Undecided, 0,
			false},
	}
}

func TestTLSStatus(t *testing.T) {
	for _, c := range featureWords() {
		got := ParseTLSStatus([]byte(c.words))
		if want := (TLSStatus{c.wanted, c.reached, c.outcome, c.requireTLS, c.limit}); got != want {
			t.Errorf("%s: %q is %+v, want %+v", c.why, c.words, got, want)
		}
		if got.String() != c.words {
			t.Errorf("%s: %q is written %q", c.why, c.words, got)
		}
		if got.IsBelow() != c.below || !got.IsLogged() {
			t.Errorf("%s: below its level: %v, logged: %v", c.why, got.IsBelow(), got.IsLogged())
		}
	}
}

// TestUnknownTLSWords: words of a later Postfix are not taken for others.
func TestUnknownTLSWords(t *testing.T) {
	for _, c := range []struct{ why, words, want string }{
		{"the word in one place of the manual", "may/requiretls:nomatch", "may/requiretls:nocertmatch"},
		{"a new level", "quantum", "other"},
		{"a new feature", "secure/new:none", "secure"},
		{"a new limit", "secure/requiretls:new", "secure/requiretls:other"},
		{"nothing", "", ""},
	} {
		if got := ParseTLSStatus([]byte(c.words)).String(); got != c.want {
			t.Errorf("%s: %q is %q, want %q", c.why, c.words, got, c.want)
		}
	}
	if ParseTLSStatus(nil).IsLogged() {
		t.Error("no words are logged words")
	}
}

func TestAuthenticates(t *testing.T) {
	for l := range levelCount {
		want := l == LevelFprint || l == LevelDANE || l == LevelDANEOnly || l == LevelVerify || l == LevelSecure
		if l.Authenticates() != want {
			t.Errorf("%v authenticates: %v", l, !want)
		}
	}
	if Level(200).Authenticates() || Level(200).String() != "other" {
		t.Error("a level that does not exist")
	}
}
