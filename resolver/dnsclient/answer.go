package dnsclient

import (
	"time"
)

// Denial says whether and how the DNS denied that the records exist.
type Denial uint8

// What an answer says of existence.
const (
	Exists   Denial = iota // the records are there
	NoData                 // the name exists, without records of this type
	NXDomain               // the name does not exist
)

// Answer is what the DNS said of a name and type, a denial included: that is an answer too, not an error.
type Answer[T any] struct {
	// where CNAMEs led from the name asked, lower case, without the final dot; "" if there were none
	Target  string
	Records []T // without duplicates, at most 200; empty exactly when Denial is not Exists
	// smallest of the CNAME chain and records; for a denial the negative TTL of the SOA (RFC 2308), 0 if it had none
	TTL       time.Duration
	Denial    Denial
	Authentic bool // the AD bit was set, on every message used, by a resolver that Config allows to be believed
}

// MX is one MX record.
type MX struct {
	Preference uint16
	// lower case, without the final dot; "" for a null MX (RFC 7505); bytes no host name has stay escaped as in zone
	// files
	Host string
}

// TLSA is one TLSA record (RFC 6698).
type TLSA struct {
	Usage, Selector, MatchingType uint8
	Data                          []byte
}
