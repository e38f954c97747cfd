package dane

// Status is what was found of the TLSA records of a domain's MX hosts.
type Status uint8

// The statuses. The zero Status is Unasked.
const (
	Unasked Status = iota // DANE was not looked up
	None                  // no host that Postfix would try has secure, usable records
	Usable                // a host that Postfix may try has secure, usable records
	Failed                // a lookup failed and nothing is remembered
	statusCount
)

// String returns a stable word for logs and metrics.
func (s Status) String() string {
	if s >= statusCount {
		return "invalid"
	}
	return [...]string{"unasked", "none", "usable", "failed"}[s]
}

// Finding is a Status and, for Failed, why.
type Finding struct {
	Status Status
	Err    error
}

// failed is the finding of a lookup that failed.
func failed(err error) Finding { return Finding{Status: Failed, Err: err} }
