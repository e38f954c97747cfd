package resolver

import (
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
)

func TestAdopt(t *testing.T) {
	now := time.Date(2026, 3, 14, 15, 9, 26, 535, time.UTC)
	policy := func(mode string) mtasts.Policy {
		p, err := mtasts.ParsePolicy([]byte("version: STSv1\nmode: " + mode + "\nmx: mx.example\nmax_age: 864000\n"))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	entry := func(mode string, age time.Duration) Entry {
		at := now.Add(-age)
		return Entry{Domain: dnsname.MustParse("a.example"), ID: "1", Policy: policy(mode), Fetched: at, Checked: at,
			Used: at}
	}
	failing := func(e Entry, checked time.Duration) Entry {
		e.Failures = FetchFailures{Count: 1, Since: now, RetryAt: now.Add(time.Minute), Reason: "x"}
		e.Checked = now.Add(-checked)
		return e
	}
	const day = 24 * time.Hour
	for _, c := range []struct {
		why    string
		known  *Entry
		told   Entry
		want   bool
		wantAt time.Duration // age of Fetched, where it is taken
	}{
		{"nothing is known here", nil, entry("enforce", day), true, day},
		{"what has expired is nothing", nil, entry("enforce", 11*day), false, 0},
		{"fetched later", ptr(entry("enforce", 2*day)), entry("enforce", day), true, day},
		{"fetched later, and changed", ptr(entry("enforce", 2*day)), entry("none", day), true, day},
		{"fetched earlier: a policy never becomes older", ptr(entry("enforce", day)), entry("enforce", 2*day), false,
			0},
		{"mode none fetched earlier ends nothing", ptr(entry("enforce", day)), entry("none", 2*day), false, 0},
		{"the same fetch", ptr(entry("enforce", day)), entry("enforce", day), false, 0},
		{"the same fetch, but for what a fleet does not pass on of a time", ptr(entry("enforce", day)),
			entry("enforce", day+400), false, 0},
		{"the same fetch, and one that failed since", ptr(entry("enforce", day)),
			failing(entry("enforce", day), time.Hour), false, 0},
		{"fetched later, and one that failed since", ptr(entry("enforce", 2*day)),
			failing(entry("enforce", day), time.Hour), true, day},
		{"a policy that fails elsewhere", nil, failing(entry("enforce", day), time.Hour), true, day},
		{"one that failed here, and the same fetch", ptr(failing(entry("enforce", day), time.Hour)),
			entry("enforce", day), false, 0},
		{"a clock that runs ahead a little", ptr(entry("enforce", day)), entry("enforce", -fleetSkew), true, 0},
		{"the future counts as now", nil, entry("enforce", -100*day), true, 0},
		{"a policy of the future replaces another", ptr(entry("enforce", day)), entry("testing", -100*day), true, 0},
		{"but the same one does not live on by it", ptr(entry("enforce", day)), entry("enforce", -100*day), false, 0},
	} {
		var known *CachedPolicy
		if c.known != nil {
			known = NewCachedPolicy(*c.known, now)
			known.used.Store(now.Unix())
		}
		got, ok := adopt(now, known, c.told)
		if ok != c.want || ok && (now.Sub(got.Fetched) != c.wantAt || got.Checked.After(now)) {
			t.Errorf("%s: %+v, %v", c.why, got, ok)
		}
		if ok && got.Failures != (FetchFailures{}) {
			t.Errorf("%s: another host's failures are adopted: %+v", c.why, got.Failures)
		}
		if ok && known != nil && got.Used.Before(known.Used()) {
			t.Errorf("%s: last used %v, but here it was %v", c.why, got.Used, known.Used())
		}
	}
}

func ptr[T any](v T) *T { return &v }
