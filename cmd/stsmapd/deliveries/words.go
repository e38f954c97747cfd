package deliveries

import "github.com/stsmapd/stsmapd/cmd/stsmapd/maillog"

// Words is a reason in plain words, as in "mail waits: the server offers no STARTTLS".
func Words(r maillog.Reason) string {
	switch r {
	case maillog.NoSTARTTLS:
		return "the server offers no STARTTLS"
	case maillog.STARTTLSRefused:
		return "the server refuses STARTTLS"
	case maillog.NotTrusted:
		return "certificate of no trusted authority"
	case maillog.NameMismatch:
		return "certificate is for another name"
	case maillog.CertificateExpired:
		return "certificate expired, or not valid yet"
	case maillog.NotVerified:
		return "certificate not verified"
	case maillog.MXNotInPolicy:
		return "the MX host is not in the policy"
	case maillog.HandshakeFailed:
		return "the TLS handshake failed"
	case maillog.TLSEngine:
		return "TLS of this Postfix does not work"
	case maillog.TemporaryAnswer:
		return "stsmapd answered TEMP"
	case maillog.PermanentAnswer:
		return "stsmapd answered PERM"
	case maillog.MapLookup:
		return "stsmapd cannot be reached"
	case maillog.AnswerNotUnderstood:
		return "Postfix cannot use the policy answer"
	case maillog.ClientConfiguration:
		return "Postfix has no usable TLS policy"
	case maillog.DANE:
		return "no usable TLSA records"
	case maillog.RequireTLS:
		return "the sender asks for REQUIRETLS"
	case maillog.OtherViolation:
		return "the TLS policy was violated"
	default:
		return r.String()
	}
}

// isPublishers reports whether the receiving domain has to mend a reason, so that an override would let mail go.
func isPublishers(r maillog.Reason) bool {
	switch r {
	case maillog.NoSTARTTLS, maillog.STARTTLSRefused, maillog.NotTrusted, maillog.NameMismatch,
		maillog.CertificateExpired, maillog.NotVerified, maillog.MXNotInPolicy, maillog.HandshakeFailed,
		maillog.OtherViolation:
		return true
	default:
		return false
	}
}

// remedy says what to do about mail that waits for a next hop.
func remedy(r maillog.Reason, nextHop string) string {
	if nextHop == "" {
		nextHop = "DOMAIN"
	}
	look := "stsmapd check " + nextHop
	switch r {
	case maillog.TLSEngine:
		return "stsmapd postfix; Postfix's own log says what its TLS lacks"
	case maillog.TemporaryAnswer:
		return "stsmapd query " + nextHop + " and stsmapd status; check the DNS resolver"
	case maillog.PermanentAnswer, maillog.AnswerNotUnderstood, maillog.ClientConfiguration:
		return "stsmapd postfix: the map name, or the policy map, does not fit this Postfix"
	case maillog.MapLookup:
		return "systemctl status stsmapd; stsmapd postfix"
	case maillog.DANE:
		return look + "; no override helps: stsmapd does not override DANE"
	case maillog.RequireTLS:
		return look + " says which MX announces REQUIRETLS; tell the sender"
	default:
		return look + "; tell the domain's postmaster"
	}
}
