package resolver

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// TestCachedPolicyKeepsItsEntry: what memory keeps in little room comes out as it was put in.
func TestCachedPolicyKeepsItsEntry(t *testing.T) {
	plain := Entry{
		Domain: dnsname.MustParse("example.test"), ID: "20260101T000000", Policy: policy(t, "enforce", time.Hour),
		Fetched: decideAt.Add(123456789), Checked: decideAt, Used: decideAt.Add(-time.Hour)}
	with := func(change func(*Entry)) Entry {
		e := plain
		change(&e)
		return e
	}
	for _, c := range []struct {
		why string
		e   Entry
	}{
		{"a plain one", plain},
		{"without an id", with(func(e *Entry) { e.ID = "" })},
		{"with the longest id that a store keeps", with(func(e *Entry) { e.ID = strings.Repeat("i", math.MaxUint8) })},
		{"of mode testing", with(func(e *Entry) { e.Policy = policy(t, "testing", 0) })},
		{"never asked for, in doubt", with(func(e *Entry) { e.Used, e.Checked = time.Time{}, time.Time{} })},
		{"the longest max_age", with(func(e *Entry) { e.Policy = policy(t, "enforce", 31557600*time.Second) })},
		{"used often, of a network", with(func(e *Entry) { e.UsedDays, e.Network = math.MaxUint16, 6<<56+1 })},
		{"from another host of the fleet", with(func(e *Entry) { e.Origin = "mail-2" })},
		{"with failures", with(func(e *Entry) {
			e.Failures = FetchFailures{
				Count: 3, ID: "2", Since: decideAt, RetryAt: decideAt.Add(time.Hour), Reason: "HTTP 404"}
		})},
		{"by a clock that stood at its first second", with(func(e *Entry) { e.Fetched = time.Unix(1, 0).UTC() })},
	} {
		if got := NewCachedPolicy(c.e, decideAt).Entry(); got != c.e {
			t.Errorf("%s:\n got %+v\nwant %+v", c.why, got, c.e)
		}
	}
}

// TestCachedPolicyOfAnAbsurdClock: a time that does not fit is taken for the nearest one that does, so no policy is
// immortal, or new, by it.
func TestCachedPolicyOfAnAbsurdClock(t *testing.T) {
	for _, c := range []struct {
		why   string
		at    time.Time
		later bool // than now
	}{
		{"the year 1", time.Time{}.Add(time.Second), false},
		{"the year 1600", time.Date(1600, 1, 1, 0, 0, 0, 0, time.UTC), false},
		{"the year 2300", time.Date(2300, 1, 1, 0, 0, 0, 0, time.UTC), true},
		{"the last year of a store", time.UnixMilli(math.MaxInt64).UTC(), true},
		{"the first year of a store", time.UnixMilli(math.MinInt64).UTC(), false},
	} {
		e := Entry{Domain: dnsname.MustParse("example.test"), Policy: policy(t, "enforce", time.Hour), Fetched: c.at}
		if got := NewCachedPolicy(e, decideAt).Fetched(); got.IsZero() || got.After(decideAt) != c.later {
			t.Errorf("%s: %v", c.why, got)
		}
	}
}
