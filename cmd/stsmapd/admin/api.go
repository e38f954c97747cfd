package admin

import (
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/history"
)

// Policy is a policy of the daemon.
type Policy struct {
	Domain      string    `json:"domain"`
	Mode        string    `json:"mode,omitempty"` // enforce, testing or none
	MX          []string  `json:"mx,omitempty"`   // patterns, as the policy spells them
	MaxAge      int64     `json:"max_age"`        // seconds
	ID          string    `json:"id,omitempty"`   // of the TXT record at the fetch
	Live        bool      `json:"live"`           // false: it has expired
	Fetched     time.Time `json:"fetched,omitzero"`
	Expires     time.Time `json:"expires,omitzero"`
	Used        time.Time `json:"used,omitzero"`         // last question, to the minute; omitted: never
	NextRefresh time.Time `json:"next_refresh,omitzero"` // omitted: none is scheduled
	// the first question after this time checks the TXT record; omitted: the next question does
	NextCheck     time.Time      `json:"next_check,omitzero"`
	InMemory      bool           `json:"in_memory"`
	Unsaved       bool           `json:"unsaved,omitempty"` // not yet on disk
	Origin        string         `json:"origin,omitempty"`  // the host that fetched it; omitted: this host
	FetchFailures *FetchFailures `json:"fetch_failures,omitempty"`
	Override      *Override      `json:"override,omitempty"` // in force for the domain
	Answer        *Answer        `json:"answer,omitempty"`   // of the map name sts
	Text          string         `json:"text,omitempty"`     // as served
	// in lists: why this entry could not be read; all other members but domain are omitted
	Error string `json:"error,omitempty"`
}

// FetchFailures describes the failed fetches since the last successful one.
type FetchFailures struct {
	Count   int       `json:"count"` // in a row
	Since   time.Time `json:"since"`
	RetryAt time.Time `json:"retry_at"`
	Reason  string    `json:"reason"` // of the last failure
}

// Domain is everything known about a domain.
type Domain struct {
	Domain     string    `json:"domain"`
	Policy     *Policy   `json:"policy,omitempty"`
	Negative   *Negative `json:"negative,omitempty"`
	Override   *Override `json:"override,omitempty"`
	Answers    []Answer  `json:"answers"`
	Mail       Mail      `json:"mail"`
	StoreError string    `json:"store_error,omitempty"` // why the store could not be read; data may be missing
	// recent log lines about the domain, the newest first
	Events []history.Event `json:"events"`
}

// Mail is what becomes of mail to a domain by the map name sts.
type Mail struct {
	Text    string   `json:"text"`               // for people
	MX      []MXHost `json:"mx,omitempty"`       // as the DNS has them now; omitted: no policy names hosts
	MXError string   `json:"mx_error,omitempty"` // why they could not be looked up
}

// MXHost is an MX host of a domain.
type MXHost struct {
	Host       string `json:"host"`
	Preference uint16 `json:"preference"`
	InPolicy   bool   `json:"in_policy"`
}

// Negative is why a domain has no policy.
type Negative struct {
	Outcome    string    `json:"outcome"`             // no_policy, lookup_failed, fetch_failed or host_fault
	Failures   int       `json:"failures,omitempty"`  // in a row
	NextLookup time.Time `json:"next_lookup"`         // the first question after this time looks up the TXT record
	RetryAt    time.Time `json:"retry_at,omitzero"`   // next fetch of the same id, after a failed fetch
	FailedID   string    `json:"failed_id,omitempty"` // the id of the failed fetch
	Reason     string    `json:"reason,omitempty"`
}

// Unavailable is a domain that announces a policy which cannot be fetched, with none cached.
type Unavailable struct {
	Domain   string    `json:"domain"`
	ID       string    `json:"id"`       // of the TXT record
	Failures int       `json:"failures"` // in a row
	Since    time.Time `json:"since"`
	RetryAt  time.Time `json:"retry_at"` // next fetch of the same id
	Reason   string    `json:"reason"`   // of the last failure
}

// Override is an [[override]] of the configuration that is in force.
type Override struct {
	Domain string    `json:"domain"` // with a leading dot: every name below it
	Action string    `json:"action"` // ignore, strict or enforce
	MX     []string  `json:"mx,omitempty"`
	Until  time.Time `json:"until,omitzero"` // end of the override
	Reason string    `json:"reason,omitempty"`
	Answer *Answer   `json:"answer,omitempty"` // of the map name sts, for action enforce
}

// Answer is the answer of a map name to Postfix.
type Answer struct {
	Map     string `json:"map"`
	Outcome string `json:"outcome,omitempty"` // omitted: not known without a lookup
	Status  string `json:"status,omitempty"`  // OK, NOTFOUND or TEMP
	Data    string `json:"data,omitempty"`    // the policy of OK, the reason of TEMP
}

// Refreshed is the result of a refresh.
type Refreshed struct {
	Domain  string  `json:"domain"`
	Outcome string  `json:"outcome"`         // enforce, testing, none, no_policy, lookup_failed or fetch_failed
	Error   string  `json:"error,omitempty"` // why the fetch failed; the policy in Policy stays in force
	Policy  *Policy `json:"policy,omitempty"`
}

// Forgotten says that the data about a domain was removed.
type Forgotten struct {
	Domain    string `json:"domain"`
	Forgotten bool   `json:"forgotten"` // always true
}

// Warmed is the result of a question.
type Warmed struct {
	Domain  string `json:"domain"`
	Outcome string `json:"outcome"` // as in the log and in Answer
	Reason  string `json:"reason,omitempty"`
}

// Info identifies a daemon.
type Info struct {
	Version  string    `json:"version"`
	PID      int       `json:"pid"`
	Started  time.Time `json:"started"`
	Config   string    `json:"config,omitempty"` // the configuration file, if there is one
	Listen   []string  `json:"listen"`
	StateDir string    `json:"state_dir"`
}

// Status is the status of the daemon.
type Status struct {
	Info
	Health      Health       `json:"health"`
	Reason      string       `json:"reason,omitempty"`   // the text of the worst problem
	Problems    []Problem    `json:"problems"`           // the worst first; empty: none
	Policies    *Policies    `json:"policies,omitempty"` // omitted: being counted for the first time
	Stored      int          `json:"policies_in_store"`
	Unavailable int          `json:"announced_not_available"` // domains whose announced policy cannot be fetched
	NoPolicy    int          `json:"domains_without_policy"`  // in memory
	Refreshes   int          `json:"refreshes_waiting"`       // due within the hour
	Overdue     int          `json:"refreshes_overdue"`       // of them, those that should have run by now
	Lookups     int          `json:"lookups_in_progress"`
	Fetches     int          `json:"fetches_in_progress"`
	Unsaved     int          `json:"unsaved"` // policies not yet on disk
	Overrides   int          `json:"overrides"`
	Connections int          `json:"connections"` // of Postfix
	Reload      ReloadResult `json:"reload"`
}

// Policies counts the policies, the live ones by mode.
type Policies struct {
	Enforce    int       `json:"enforce"`
	Testing    int       `json:"testing"`
	None       int       `json:"none"`
	Expired    int       `json:"expired"`
	Failing    int       `json:"failing"`    // live, not of mode none, and the last fetch failed
	Expiring   int       `json:"expiring"`   // of them, those that expire soon
	Unreadable int       `json:"unreadable"` // in the store
	Counted    time.Time `json:"counted"`
}

// ReloadResult is the result of the last load of the configuration.
type ReloadResult struct {
	At    time.Time `json:"at,omitzero"`
	OK    bool      `json:"ok"`              // false: the old settings stay in force
	Error string    `json:"error,omitempty"` // what is wrong
}

// Error is the reply of the daemon to a request that failed.
type Error struct {
	Code    int    `json:"-"` // HTTP status
	Domain  string `json:"domain,omitempty"`
	Message string `json:"error"`
}

// Error implements error. The text begins with the domain if there is one.
func (e *Error) Error() string {
	if e.Domain == "" {
		return e.Message
	}
	return e.Domain + ": " + e.Message
}
