package check

import "time"

// Report is the result of a check of one domain. Its JSON form is the output of `stsmapd check --json`: names of
// members do not change, and members may be added. Times are RFC 3339, UTC; lists are never null; untrusted texts are
// unchanged, apart from bytes that are not UTF-8.
type Report struct {
	Domain string `json:"domain"` // the policy domain, as an A-label
	// the key that Postfix would send: the domain, unless a port or brackets were given
	NextHop  string    `json:"next_hop"`
	At       time.Time `json:"at"` // start of the check
	Record   Record    `json:"record"`
	Policy   *Policy   `json:"policy"`   // null if no record announces one
	Override *Override `json:"override"` // of this stsmapd's configuration; null if there is none for the domain
	MX       MX        `json:"mx"`
	DANE     DANE      `json:"dane"`
	TLSRPT   TLSRPT    `json:"tlsrpt"`
	Answers  []Answer  `json:"answers"`
	Advice   []Advice  `json:"advice"`
	Result   Result    `json:"result"`
}

// Status is the result of the lookup of a TXT record.
type Status string

// The statuses of TXT records.
const (
	Found     Status = "found"
	NoRecord  Status = "none"      // the DNS says that there is none
	Several   Status = "several"   // more than one: all are ignored
	Malformed Status = "malformed" // a syntax error: it is ignored
	NoAnswer  Status = "no_answer" // the DNS did not answer
)

// Record is the `_mta-sts` TXT record (RFC 8461 section 3.1).
type Record struct {
	Name   string   `json:"name"`
	Status Status   `json:"status"`
	Texts  []string `json:"texts"` // of all TXT records of the name
	Alias  string   `json:"alias"` // name at the end of CNAMEs; "" without
	TTL    int      `json:"ttl_seconds"`
	ID     string   `json:"id"`
	Error  string   `json:"error"` // "" if the status is found
}

// Policy is the policy file and its fetch (RFC 8461 sections 3.2 and 3.3).
type Policy struct {
	URL       string   `json:"url"`
	Host      string   `json:"host"`
	Addresses []string `json:"addresses"` // of the host, IPv6 first
	Via       string   `json:"via"`       // "with 192.0.2.1:443", "through the proxy …"; ""
	TLS       *TLS     `json:"tls"`       // null if the host sent no certificate
	// ok, or unreachable, certificate, status, media_type, too_large, invalid_policy
	Status string   `json:"status"`
	Error  string   `json:"error"` // "" if the status is ok
	Text   string   `json:"text"`  // the file; "" if there is none
	Lines  []Line   `json:"lines"`
	Mode   string   `json:"mode"` // "" unless the status is ok
	MX     []string `json:"mx"`
	MaxAge int      `json:"max_age_seconds"`

	reason string // Error as text for the summary
}

// Line is one line of the policy file, with the parser's verdict.
type Line struct {
	Number  int    `json:"number"`
	Text    string `json:"text"`
	Verdict string `json:"verdict"` // ok, blank, unknown or repeated (both ignored), wrong
	Error   string `json:"error"`   // for wrong
}

// Override is the override for the domain in the configuration of this stsmapd.
type Override struct {
	Domain string   `json:"domain"` // as configured
	Action string   `json:"action"` // ignore, strict or enforce
	MX     []string `json:"mx"`
	Reason string   `json:"reason"`
}

// TLS is a TLS connection, or the handshake that failed.
type TLS struct {
	Version      string        `json:"version"`      // "TLS 1.3"; "" if the handshake failed
	Cipher       string        `json:"cipher"`       // "" if the handshake failed
	Certificates []Certificate `json:"certificates"` // as the server sent them, its own first
}

// Certificate is one certificate.
type Certificate struct {
	Subject   string    `json:"subject"`
	Issuer    string    `json:"issuer"`
	Names     []string  `json:"names"` // DNS names of the subject alternative name
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	SHA256    string    `json:"sha256"` // of the certificate, in hexadecimal
}

// MX are the MX hosts of the domain.
type MX struct {
	Status  MXStatus `json:"status"`
	Error   string   `json:"error"`   // for no_answer
	Hosts   []Host   `json:"hosts"`   // in the order in which Postfix tries them, 20 at most
	Omitted int      `json:"omitted"` // number of further hosts
}

// MXStatus is the result of the lookup of the domain's MX records.
type MXStatus string

// The MX statuses.
const (
	MXFound    MXStatus = "found"
	MXImplicit MXStatus = "implicit"  // no MX records: the domain is its own host (RFC 5321 section 5.1)
	MXDirect   MXStatus = "direct"    // a next hop in brackets: no MX lookup
	MXNull     MXStatus = "null"      // the domain takes no mail (RFC 7505)
	MXNoDomain MXStatus = "no_domain" // the domain does not exist
	MXNoAnswer MXStatus = "no_answer" // the DNS did not answer
)

// Host is one MX host.
type Host struct {
	Name       string   `json:"name"`
	Preference int      `json:"preference"`
	Addresses  []string `json:"addresses"`
	InPolicy   *bool    `json:"in_policy"` // null if there is no policy with MX patterns
	Pattern    string   `json:"pattern"`   // the first that matches; "" without
	// false with --no-smtp: the members below are not known, and passes is false
	Probed   bool      `json:"probed"`
	Address  string    `json:"address"`  // of the session; "" without
	Failed   []Failure `json:"failed"`   // addresses that were tried before
	Greeting string    `json:"greeting"` // its first line
	StartTLS bool      `json:"starttls"` // is offered
	TLS      *TLS      `json:"tls"`      // null without a handshake
	// RequireTLS says that the host announces REQUIRETLS (RFC 8689): mail that asks for it can be delivered.
	RequireTLS bool `json:"requiretls"`
	// Passes says that Postfix would deliver at level secure: the policy, if there is one, names the host, and
	// STARTTLS, TLS version and certificate are valid (RFC 8461 sections 4.1, 4.2 and 7.2).
	Passes bool `json:"passes"`
	// PassesMatch says that the host does not pass, but that a Postfix that only uses match= would deliver (before
	// 3.10.5, or with a map without tlsrpt): its certificate has another name that the policy allows.
	PassesMatch bool      `json:"passes_match"`
	Problems    []Problem `json:"problems"` // why it does not pass; the first is the most important
	// result of DANE: verified, encrypted, plain, refused, unknown; "" if DANE does not judge the host
	DANE string `json:"dane"`
}

// Failure is an address of a host that has no SMTP session.
type Failure struct {
	Address string `json:"address"`
	Error   string `json:"error"`
}

// Problem is one reason why mail cannot be delivered to a host.
type Problem struct {
	Code ProblemCode `json:"code"`
	Text string      `json:"text"` // continues the host's name: "offers no STARTTLS"
}

// ProblemCode is a kind of problem.
type ProblemCode string

// The kinds of problems.
const (
	ProblemNotInPolicy ProblemCode = "not_in_policy"
	ProblemNoAnswer    ProblemCode = "no_answer"  // of the DNS, for its addresses
	ProblemNoAddress   ProblemCode = "no_address" // the DNS knows none
	ProblemUnreachable ProblemCode = "unreachable"
	ProblemGreeting    ProblemCode = "greeting" // none, or not 220
	ProblemSession     ProblemCode = "session"  // it ends early
	ProblemNoEHLO      ProblemCode = "ehlo_refused"
	ProblemNoStartTLS  ProblemCode = "no_starttls"
	ProblemRefusedTLS  ProblemCode = "starttls_refused"
	ProblemHandshake   ProblemCode = "handshake"
	ProblemTLSVersion  ProblemCode = "tls_version"
	ProblemExpired     ProblemCode = "certificate_expired" // or not valid yet
	ProblemUntrusted   ProblemCode = "certificate_untrusted"
	ProblemNoIssuer    ProblemCode = "certificate_issuer" // the intermediate certificate is not sent
	ProblemWrongName   ProblemCode = "certificate_name"
)

// DANE is the result of the TLSA lookups for the MX hosts (RFC 7672).
type DANE struct {
	ADTrusted bool       `json:"ad_trusted"` // the DNS resolver's AD bit is trusted; if not, no DANE is found
	Status    string     `json:"status"`     // none, usable or failed
	Error     string     `json:"error"`
	Hosts     []DANEHost `json:"hosts"` // of an MX answer that DNSSEC proves
}

// DANEHost is the result of the TLSA lookup for one MX host.
type DANEHost struct {
	Name    string `json:"name"`
	State   string `json:"state"`    // usable, unusable, plain, no_address or unknown
	InReach bool   `json:"in_reach"` // an address of it can be among the first five, which Postfix tries
	Error   string `json:"error"`    // for unknown
	At      string `json:"at"`       // the name of the TLSA records
	Records []TLSA `json:"records"`
	Matches *bool  `json:"matches"` // a usable record matches the certificate; null if one of both is missing
}

// TLSA is one TLSA record.
type TLSA struct {
	Usage        int    `json:"usage"`
	Selector     int    `json:"selector"`
	MatchingType int    `json:"matching_type"`
	Data         string `json:"data"` // in hexadecimal
	Usable       bool   `json:"usable"`
}

// TLSRPT is the `_smtp._tls` TXT record (RFC 8460 section 3).
type TLSRPT struct {
	Name   string `json:"name"`
	Status Status `json:"status"`
	Record string `json:"record"`
	Error  string `json:"error"`
}

// Answer is the reply that the daemon would give to Postfix with an empty cache.
type Answer struct {
	Map string `json:"map"`
	// enforce, testing, none, no_policy, lookup_failed, fetch_failed, ignored, dane_only, dane_unknown
	Outcome string `json:"outcome"`
	Reply   string `json:"reply"` // "OK secure match=… servername=hostname", "NOTFOUND", "TEMP …"
}

// Advice is something that the domain's owner should change, although mail is delivered.
type Advice struct {
	Code AdviceCode `json:"code"`
	Text string     `json:"text"`
}

// AdviceCode is a kind of advice.
type AdviceCode string

// The kinds of advice.
const (
	AdviceShortMaxAge AdviceCode = "max_age_short" // under a day
	AdviceLongMaxAge  AdviceCode = "max_age_long"  // over a year
	AdviceMediaType   AdviceCode = "media_type"    // not text/plain
	// the file differs from the daemon's policy of the same id
	AdviceSameID      AdviceCode = "id_unchanged"
	AdviceNotInPolicy AdviceCode = "mx_not_in_policy"    // an MX host that the policy does not name
	AdviceExpiring    AdviceCode = "certificate_expires" // within 14 days, or has expired
	AdvicePort25      AdviceCode = "port_25"             // for the user of check: no MX host can be reached
)

// Delivery is the result of a delivery.
type Delivery string

// The results of a delivery.
const (
	Verified   Delivery = "verified"   // delivered to an MX host that passes
	Unverified Delivery = "unverified" // delivered, but not under the policy: there is none, or it is not enforced
	Deferred   Delivery = "deferred"   // no MX host passes
	Returned   Delivery = "returned"   // the domain takes no mail
	NotProbed  Delivery = "not_probed" // --no-smtp: the policy names an MX host; the hosts were not probed
)

// Result is the summary of a check.
type Result struct {
	OK       bool     `json:"ok"`       // delivery under the policy works: exit code 0
	Delivery Delivery `json:"delivery"` // by a Postfix with the map sts
	// WithDANE is Delivery for a Postfix that does DANE, with the map sts+dane.
	WithDANE Delivery `json:"delivery_with_dane"`
	// Enforced is Delivery if the mode of the policy were enforce; "" without a policy.
	Enforced Delivery `json:"delivery_if_enforced"`
	Summary  string   `json:"summary"` // the last line of the text output

	enforced  bool   // a policy is enforced
	fault     string // why mail would be deferred under the policy, if it would
	daneFault string // the same for a Postfix with DANE
}
