package admin

import "time"

// Policy is a policy that the daemon remembers.
type Policy struct {
	Domain      string    `json:"domain"`
	Mode        string    `json:"mode,omitempty"` // enforce, testing or none
	MX          []string  `json:"mx,omitempty"`   // patterns, as the policy spells them
	MaxAge      int64     `json:"max_age"`        // seconds
	ID          string    `json:"id,omitempty"`   // of the TXT record that it was fetched under
	Live        bool      `json:"live"`           // it binds; false: it has expired
	Fetched     time.Time `json:"fetched,omitzero"`
	Expires     time.Time `json:"expires,omitzero"`
	Used        time.Time `json:"used,omitzero"`         // last question, within a minute; left out: never
	NextRefresh time.Time `json:"next_refresh,omitzero"` // left out: it is not refreshed ahead of questions
	// of the TXT record, with the first question after; left out: with the next question
	NextCheck time.Time `json:"next_check,omitzero"`
	InMemory  bool      `json:"in_memory"`
	Unsaved   bool      `json:"unsaved,omitempty"` // it waits for the disk
	Origin    string    `json:"origin,omitempty"`  // the host whose fetch this is; left out: this one
	Trouble   *Trouble  `json:"trouble,omitempty"`
	Override  *Override `json:"override,omitempty"` // that is in force for the domain
	Answer    *Answer   `json:"answer,omitempty"`   // to the map name sts
	Text      string    `json:"text,omitempty"`     // as served
	// in lists: this entry could not be read, and there is nothing else
	Error string `json:"error,omitempty"`
}

// Trouble is about fetches that keep failing since the last one that succeeded.
type Trouble struct {
	Failures int       `json:"failures"` // in a row
	Since    time.Time `json:"since"`
	RetryAt  time.Time `json:"retry_at"`
	Reason   string    `json:"reason"` // of the last one
}

// Domain is all that is known of a domain.
type Domain struct {
	Domain     string    `json:"domain"`
	Policy     *Policy   `json:"policy,omitempty"`
	Absence    *Absence  `json:"absence,omitempty"`
	Override   *Override `json:"override,omitempty"`
	Answers    []Answer  `json:"answers"`
	StoreError string    `json:"store_error,omitempty"` // the store could not be read, and may know more
}

// Absence is why a domain has no policy.
type Absence struct {
	Outcome  string    `json:"outcome"`             // no_policy, lookup_failed or fetch_failed
	Failures int       `json:"failures,omitempty"`  // in a row
	NextLook time.Time `json:"next_look"`           // a question after this has the TXT record looked at
	RetryAt  time.Time `json:"retry_at,omitzero"`   // of a failed fetch under the same id
	FailedID string    `json:"failed_id,omitempty"` // the TXT record's id of a failed fetch
	Reason   string    `json:"reason,omitempty"`
}

// Override is an [[override]] of the configuration that is in force.
type Override struct {
	Domain string    `json:"domain"` // with a dot before it: every name below
	Action string    `json:"action"` // ignore, strict or enforce
	MX     []string  `json:"mx,omitempty"`
	Until  time.Time `json:"until,omitzero"` // the moment from which on it does nothing
	Reason string    `json:"reason,omitempty"`
	Answer *Answer   `json:"answer,omitempty"` // to the map name sts, for action enforce
}

// Answer is what Postfix would be told under a map name.
type Answer struct {
	Map     string `json:"map"`
	Outcome string `json:"outcome,omitempty"` // left out: stsmapd would have to look first
	Status  string `json:"status,omitempty"`  // OK, NOTFOUND or TEMP
	Data    string `json:"data,omitempty"`    // the policy of OK, the reason of TEMP
}

// Refreshed is what came of a refresh.
type Refreshed struct {
	Domain  string  `json:"domain"`
	Outcome string  `json:"outcome"`         // enforce, testing, none, no_policy, lookup_failed or fetch_failed
	Error   string  `json:"error,omitempty"` // why the policy could not be fetched; the one in Policy stays in force
	Policy  *Policy `json:"policy,omitempty"`
}

// Forgotten says that what was known of a domain is known no more.
type Forgotten struct {
	Domain    string `json:"domain"`
	Forgotten bool   `json:"forgotten"` // always true
}

// Warmed is what a question came to.
type Warmed struct {
	Domain  string `json:"domain"`
	Outcome string `json:"outcome"` // of those in the log, and of Answer
	Reason  string `json:"reason,omitempty"`
}

// Info is what a daemon tells of itself.
type Info struct {
	Version  string    `json:"version"`
	PID      int       `json:"pid"`
	Started  time.Time `json:"started"`
	Config   string    `json:"config,omitempty"` // the configuration file, where there is one
	Listen   []string  `json:"listen"`
	StateDir string    `json:"state_dir"`
}

// Status is how the daemon does.
type Status struct {
	Info
	Stored    *int     `json:"policies_in_store,omitempty"` // left out: the store does not count them
	InMemory  InMemory `json:"policies_in_memory"`
	NoPolicy  *int     `json:"domains_without_policy,omitempty"` // in memory
	Refreshes int      `json:"refreshes_waiting"`                // due within the hour
	Overdue   int      `json:"refreshes_overdue"`                // of them, those whose time has come
	Lookups   int      `json:"lookups_under_way"`
	Fetches   int      `json:"fetches_under_way"`
	Unsaved   int      `json:"unsaved"` // policies that wait for the disk
	Overrides int      `json:"overrides"`
	Problems  []string `json:"problems"` // for people; none: all is well
}

// InMemory counts the policies in memory, the live ones by mode.
type InMemory struct {
	Enforce int `json:"enforce"`
	Testing int `json:"testing"`
	None    int `json:"none"`
	Expired int `json:"expired"`
	Failing int `json:"failing"` // of the live ones that are not of mode none: the last fetch failed
}

// Error is what the daemon says when it cannot do as it was asked.
type Error struct {
	Code    int    `json:"-"` // of HTTP
	Domain  string `json:"domain,omitempty"`
	Message string `json:"error"`
}

// Error implements error. The text names the domain where there is one.
func (e *Error) Error() string {
	if e.Domain == "" {
		return e.Message
	}
	return e.Domain + ": " + e.Message
}
