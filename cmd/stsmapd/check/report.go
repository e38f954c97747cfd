package check

import "time"

// Report is all that a check found out of one domain. Its JSON form is the output of `stsmapd check --json`: the names
// of its fields stay, and fields may be added. Times are RFC 3339, UTC; lists are never null; texts of strangers are as
// they came, apart from bytes that are no UTF-8.
type Report struct {
	Domain string `json:"domain"` // the policy domain, as an A-label
	// what Postfix would ask about; the domain, unless a port or brackets were given
	NextHop  string    `json:"next_hop"`
	At       time.Time `json:"at"` // when the check began
	Record   Record    `json:"record"`
	Policy   *Policy   `json:"policy"`   // null where no record announces one
	Override *Override `json:"override"` // of this stsmapd's configuration; null where there is none for the domain
	MX       MX        `json:"mx"`
	DANE     DANE      `json:"dane"`
	TLSRPT   TLSRPT    `json:"tlsrpt"`
	Answers  []Answer  `json:"answers"`
	Advice   []Advice  `json:"advice"`
	Result   Result    `json:"result"`
}

// Status is what became of a look at a TXT record.
type Status string

// The statuses of TXT records.
const (
	Found     Status = "found"
	NotThere  Status = "none"      // the DNS says that there is none
	Several   Status = "several"   // more than one, so none counts
	Malformed Status = "malformed" // it breaks the grammar, so it does not count
	NoAnswer  Status = "no_answer" // the DNS did not answer
)

// Record is the `_mta-sts` TXT record (RFC 8461 section 3.1).
type Record struct {
	Name   string   `json:"name"`
	Status Status   `json:"status"`
	Texts  []string `json:"texts"` // of all TXT records of the name
	Alias  string   `json:"alias"` // where CNAMEs led; ""
	TTL    int      `json:"ttl_seconds"`
	ID     string   `json:"id"`
	Error  string   `json:"error"` // "" where the status is found
}

// Policy is the policy file, and how it was got (RFC 8461 sections 3.2 and 3.3).
type Policy struct {
	URL       string   `json:"url"`
	Host      string   `json:"host"`
	Addresses []string `json:"addresses"` // of the host, IPv6 first
	Via       string   `json:"via"`       // "with 192.0.2.1:443", "through the proxy …"; ""
	TLS       *TLS     `json:"tls"`       // null where the host sent no certificate
	// ok, or unreachable, certificate, status, media_type, too_large, invalid_policy
	Status string   `json:"status"`
	Error  string   `json:"error"` // "" where the status is ok
	Text   string   `json:"text"`  // the file; "" where none was got
	Lines  []Line   `json:"lines"`
	Mode   string   `json:"mode"` // "" unless the status is ok, as the next two
	MX     []string `json:"mx"`
	MaxAge int      `json:"max_age_seconds"`

	reason string // Error in plain words, for the last line
}

// Line is one line of the policy file, and what the parser makes of it.
type Line struct {
	Number  int    `json:"number"`
	Text    string `json:"text"`
	Verdict string `json:"verdict"` // ok, blank, unknown or repeated (both ignored), wrong
	Error   string `json:"error"`   // for wrong
}

// Override is what the configuration of this stsmapd says about the domain.
type Override struct {
	Domain string   `json:"domain"` // as configured
	Action string   `json:"action"` // ignore, strict or enforce
	MX     []string `json:"mx"`
	Reason string   `json:"reason"`
}

// TLS is a TLS connection, or the handshake that failed.
type TLS struct {
	Version      string        `json:"version"`      // "TLS 1.3"; "" where the handshake did not succeed
	Cipher       string        `json:"cipher"`       // as the version
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

// MX is where the domain's mail goes.
type MX struct {
	Status  MXStatus `json:"status"`
	Error   string   `json:"error"`    // for no_answer
	Hosts   []Host   `json:"hosts"`    // in the order in which Postfix tries them, 20 at most
	LeftOut int      `json:"left_out"` // hosts beyond those
}

// MXStatus is what the domain's MX records came to.
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
	InPolicy   *bool    `json:"in_policy"` // null where there is no policy with MX patterns
	Pattern    string   `json:"pattern"`   // the first that matches; ""
	// false with --no-smtp: nothing is known of what follows, and passes is false
	LookedAt bool      `json:"looked_at"`
	Address  string    `json:"address"`  // that was talked to; ""
	Failed   []Failure `json:"failed"`   // addresses that were tried before, in vain
	Greeting string    `json:"greeting"` // the first line
	StartTLS bool      `json:"starttls"` // is offered
	TLS      *TLS      `json:"tls"`      // null without a handshake
	// Passes: Postfix would deliver at level secure: the policy, if there is one, names the host, and STARTTLS, TLS
	// version and certificate are as they should be (RFC 8461 sections 4.1, 4.2 and 7.2).
	Passes bool `json:"passes"`
	// PassesMatch: it does not pass, but a Postfix that goes by match= alone would deliver (before 3.10.5, or asking a
	// map without tlsrpt): its certificate has another name that the policy has.
	PassesMatch bool      `json:"passes_match"`
	Problems    []Problem `json:"problems"` // why it does not pass; the first is the one to tell
	// what DANE would do: verified, encrypted, plain, refused, unknown; "" where DANE does not judge the host
	DANE string `json:"dane"`
}

// Failure is an address of a host that no SMTP session could be begun with.
type Failure struct {
	Address string `json:"address"`
	Error   string `json:"error"`
}

// Problem is one thing that keeps mail from a host.
type Problem struct {
	Code ProblemCode `json:"code"`
	Text string      `json:"text"` // goes on after the host's name: "offers no STARTTLS"
}

// ProblemCode is a kind of problem.
type ProblemCode string

// The kinds of problems.
const (
	ProblemNotInPolicy ProblemCode = "not_in_policy"
	ProblemNoAnswer    ProblemCode = "no_answer"  // of the DNS, about its addresses
	ProblemNoAddress   ProblemCode = "no_address" // the DNS knows none
	ProblemUnreachable ProblemCode = "unreachable"
	ProblemGreeting    ProblemCode = "greeting" // none, or one that sends us away
	ProblemSession     ProblemCode = "session"  // it breaks off, or refuses EHLO
	ProblemNoStartTLS  ProblemCode = "no_starttls"
	ProblemRefusedTLS  ProblemCode = "starttls_refused"
	ProblemHandshake   ProblemCode = "handshake"
	ProblemTLSVersion  ProblemCode = "tls_version"
	ProblemExpired     ProblemCode = "certificate_expired" // or not valid yet
	ProblemUntrusted   ProblemCode = "certificate_untrusted"
	ProblemWrongName   ProblemCode = "certificate_name"
)

// DANE is what the TLSA records of the MX hosts say (RFC 7672).
type DANE struct {
	Believed bool       `json:"believed"` // the DNS resolver's AD bit is; if not, no DANE can be found
	Status   string     `json:"status"`   // none, usable or failed
	Error    string     `json:"error"`
	Hosts    []DANEHost `json:"hosts"` // those of a secure MX answer
}

// DANEHost is the DANE of one MX host.
type DANEHost struct {
	Name    string `json:"name"`
	State   string `json:"state"`    // usable, unusable, plain, no_address or unknown
	InReach bool   `json:"in_reach"` // one of its addresses can be among the first five, which Postfix tries
	Error   string `json:"error"`    // for unknown
	At      string `json:"at"`       // the name of the TLSA records
	Records []TLSA `json:"records"`
	Matches *bool  `json:"matches"` // a usable record matches the certificate; null where there is none of either
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

// Answer is what the daemon would tell Postfix, with nothing remembered but what the check found.
type Answer struct {
	Map string `json:"map"`
	// enforce, testing, none, no_policy, lookup_failed, fetch_failed, ignored, dane_only, dane_unknown
	Outcome string `json:"outcome"`
	Reply   string `json:"reply"` // "OK secure match=… servername=hostname", "NOTFOUND", "TEMP …"
}

// Advice is something that the domain's owner should mend, though mail gets through.
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
	// the file is another than the daemon remembers under the same id
	AdviceSameID      AdviceCode = "id_unchanged"
	AdviceNotInPolicy AdviceCode = "mx_not_in_policy"    // an MX host that the policy does not name
	AdviceExpiring    AdviceCode = "certificate_expires" // within 14 days, or has expired
	AdvicePort25      AdviceCode = "port_25"             // for who checks: no MX host at all could be reached
)

// Delivery is what would become of a mail.
type Delivery string

// What can become of a mail.
const (
	Verified   Delivery = "verified"   // delivered to an MX host that passes
	Unverified Delivery = "unverified" // delivered, but not under the policy: there is none, or it does not bind
	Deferred   Delivery = "deferred"   // no MX host passes
	Returned   Delivery = "returned"   // the domain takes no mail
	Unlooked   Delivery = "not_looked" // --no-smtp: the policy names an MX host, and that is all that is known
)

// Result is the sum of a check.
type Result struct {
	OK       bool     `json:"ok"`       // delivery under the policy works: exit code 0
	Delivery Delivery `json:"delivery"` // by a Postfix that asks the map sts
	// WithDANE is the same for a Postfix that does DANE and asks sts+dane.
	WithDANE Delivery `json:"delivery_with_dane"`
	// Enforced is Delivery as it would be if the mode of the policy were enforce; "" where no policy was got.
	Enforced Delivery `json:"delivery_if_enforced"`
	Summary  string   `json:"summary"` // the last line of the text output
}
