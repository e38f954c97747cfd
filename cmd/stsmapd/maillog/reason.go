package maillog

import (
	"bytes"
	"fmt"
)

// Reason is why a TLS policy kept mail back.
type Reason uint8

// The reasons. The texts of Postfix behind them are in reasonTexts.
const (
	NoReason            Reason = iota // no policy kept it back
	NoSTARTTLS                        // the server does not offer STARTTLS
	STARTTLSRefused                   // it offers STARTTLS and then refuses it
	NotTrusted                        // its certificate is of no trusted authority
	NameMismatch                      // its certificate has another name
	CertificateExpired                // its certificate has expired, or is not valid yet
	NotVerified                       // its certificate was refused, and the log does not say why
	MXNotInPolicy                     // no pattern of the policy matches the MX host (Postfix 3.10.5 and later)
	HandshakeFailed                   // the TLS handshake failed
	TLSEngine                         // Postfix's own TLS does not work
	TemporaryAnswer                   // the policy daemon answered TEMP or TIMEOUT
	PermanentAnswer                   // the policy daemon answered PERM: a configuration error
	MapLookup                         // the policy daemon could not be reached, or broke the connection
	AnswerNotUnderstood               // Postfix cannot use the policy that it was answered
	ClientConfiguration               // Postfix has no usable policy, and the log does not say why
	DANE                              // TLSA records are missing, unusable or cannot be looked up
	RequireTLS                        // the message asks for REQUIRETLS (RFC 8689), and no server could be used
	OtherViolation                    // Postfix 3.11 says that the policy was violated (tls=!…), and no line says how
	ReasonCount                       // the number of reasons, NoReason among them
)

var reasonWords = [ReasonCount]string{
	NoReason:            "none",
	NoSTARTTLS:          "no-starttls",
	STARTTLSRefused:     "starttls-refused",
	NotTrusted:          "not-trusted",
	NameMismatch:        "name-mismatch",
	CertificateExpired:  "certificate-expired",
	NotVerified:         "not-verified",
	MXNotInPolicy:       "mx-not-in-policy",
	HandshakeFailed:     "handshake-failed",
	TLSEngine:           "tls-engine",
	TemporaryAnswer:     "temporary-answer",
	PermanentAnswer:     "permanent-answer",
	MapLookup:           "map-lookup",
	AnswerNotUnderstood: "answer-not-understood",
	ClientConfiguration: "client-configuration",
	DANE:                "dane",
	RequireTLS:          "requiretls",
	OtherViolation:      "other-violation",
}

// String returns the reason as one stable word, the one that JSON has.
func (r Reason) String() string {
	if r >= ReasonCount {
		return fmt.Sprintf("Reason(%d)", uint8(r))
	}
	return reasonWords[r]
}

// MarshalText implements encoding.TextMarshaler.
func (r Reason) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// reasonTexts are the beginnings of the texts that Postfix 3.4 to 3.11 has for a policy that kept mail back: in the
// delivery line's parentheses, behind the queue id of an attempt, and behind "TLS policy lookup for …". A remote
// server's own words never begin so: Postfix writes "host … said:" in front of them.
var reasonTexts = []struct {
	text   string
	reason Reason
}{
	{"TLS is required, but was not offered", NoSTARTTLS},
	{"TLS is required, but host ", STARTTLSRefused},
	{"TLS is required, but our TLS engine is unavailable", TLSEngine},
	{"TLS is required, but unavailable", TLSEngine},
	{"Server certificate not trusted", NotTrusted}, // until 3.5; later versions say "not verified" for this too
	{"Server certificate not verified", NotVerified},
	{"Cannot start TLS: handshake failure", HandshakeFailed},
	{"client TLS configuration problem", ClientConfiguration},
	{"Temporary lookup error", MapLookup}, // of smtp_tls_per_site
	{"TLSA lookup error for ", DANE},
	{"non DNSSEC destination", DANE},
	{"no TLSA records found", DANE},
	{"TLSA records unusable", DANE},
	{"Verification not possible, MX RRset is insecure", DANE},
	{"Sender requested REQUIRETLS, ", RequireTLS},
	{"REQUIRETLS policy configuration error", RequireTLS},
}

const (
	suspendedText   = "delivery temporarily suspended: "
	unavailableText = "server unavailable or unable to receive mail"
)

// classify returns what a text says of a policy, and whether it is the queue manager's copy of an earlier text.
func classify(text []byte) (reason Reason, suspended bool) {
	text, suspended = bytes.CutPrefix(text, []byte(suspendedText))
	for _, r := range reasonTexts {
		if len(text) >= len(r.text) && text[0] == r.text[0] && string(text[:len(r.text)]) == r.text {
			return r.reason, suspended
		}
	}
	return NoReason, suspended
}

// family is the text under which Postfix logs a reason in the end, where that text leaves the cause open: a copy of
// the text is for the same cause.
func (r Reason) family() Reason {
	switch r {
	case NotTrusted, NameMismatch, CertificateExpired, NotVerified:
		return NotVerified
	case TemporaryAnswer, PermanentAnswer, MapLookup, AnswerNotUnderstood, ClientConfiguration:
		return ClientConfiguration
	default:
		return r
	}
}

// isOpen reports whether the log may know more than the text says.
func (r Reason) isOpen() bool {
	return r == NotVerified || r == NotTrusted || r == ClientConfiguration || r == MapLookup
}

// certificateReason reads what OpenSSL or Postfix says of a certificate that was not verified.
func certificateReason(text []byte) Reason {
	switch {
	case bytes.HasPrefix(text, []byte("certificate has expired")), bytes.HasPrefix(text,
		[]byte("certificate not yet valid")):
		return CertificateExpired
	case hasAnyPrefix(text, "num=62:", "num=63:", "num=64:"): // X509_V_ERR_HOSTNAME_MISMATCH, EMAIL_, IP_ADDRESS_
		return NameMismatch
	default:
		return NotTrusted
	}
}

func hasAnyPrefix(text []byte, prefixes ...string) bool {
	for _, p := range prefixes {
		if bytes.HasPrefix(text, []byte(p)) {
			return true
		}
	}
	return false
}
