package dnsclient

import (
	"slices"
	"time"
)

// Denial says whether the records exist, and if not, how the DNS denied them.
type Denial uint8

// The values of Denial.
const (
	Exists   Denial = iota // the records exist
	NoData                 // the name exists, without records of this type
	NXDomain               // the name does not exist
)

// Answer is the DNS's answer for a name and type. A denial is an answer too, not an error.
type Answer[T any] struct {
	// Target is the name that the CNAMEs of the name lead to, in lower case, without the final dot; "" if it has none.
	Target  string
	Records []T // without duplicates, at most 200; empty if and only if Denial is not Exists
	// TTL is the smallest TTL of the CNAMEs and records. For a denial it is the negative TTL of the SOA (RFC 2308), or
	// 0 without a SOA.
	TTL       time.Duration
	Denial    Denial
	Authentic bool // every message used had the AD bit, from a server whose AD bit is believed (Config.TrustAD)
}

// MX is one MX record.
type MX struct {
	Preference uint16
	// Host is in lower case, without the final dot; "" for a null MX (RFC 7505). Bytes that host names cannot have are
	// escaped as in zone files.
	Host string
}

// TLSA is one TLSA record (RFC 6698).
type TLSA struct {
	Usage, Selector, MatchingType uint8
	Data                          []byte
}

func (t TLSA) equal(o TLSA) bool {
	return t.Usage == o.Usage && t.Selector == o.Selector && t.MatchingType == o.MatchingType &&
		slices.Equal(t.Data, o.Data)
}
