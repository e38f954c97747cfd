package resolver

import (
	"fmt"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

func TestNextCheck(t *testing.T) {
	const day = 24 * time.Hour
	for _, c := range []struct {
		why    string
		maxAge time.Duration
		want   time.Duration // before the domain's own ±10 %
	}{
		{"a long max_age is refreshed daily", 30 * day, day},
		{"a day's max_age at its half", day, 12 * time.Hour},
		{"an hour's max_age at its half", time.Hour, 30 * time.Minute},
		{"a tiny max_age never becomes a loop", 10 * time.Second, minRefreshAge},
		{"max_age 0 neither", 0, minRefreshAge},
	} {
		var low, high time.Duration
		for i := range 2000 {
			e := Entry{Domain: dnsname.MustParse(fmt.Sprintf("d%d.example.test", i)),
				Policy: policy(t, "enforce", c.maxAge), Fetched: decideAt}
			off := e.NextCheck(day).Sub(decideAt) - c.want
			if off < -c.want/10 || off > c.want/10 {
				t.Fatalf("%s: %v is not within 10 %% of %v", c.why, off+c.want, c.want)
			}
			if again := e.NextCheck(day).Sub(decideAt) - c.want; again != off {
				t.Fatalf("%s: drawn twice: %v and %v", c.why, off, again)
			}
			low, high = min(low, off), max(high, off)
		}
		if low > -c.want/11 || high < c.want/11 {
			t.Errorf("%s: 2000 domains are spread only over %v to %v of ±%v", c.why, low, high, c.want/10)
		}
	}
}

func TestNextCheckBacksOff(t *testing.T) {
	retry := decideAt.Add(90 * 24 * time.Hour)
	e := Entry{Domain: dnsname.MustParse("example.test"), Policy: policy(t, "enforce", time.Hour), Fetched: decideAt,
		Failures: FetchFailures{Count: 1, RetryAt: retry}}
	if got := e.NextCheck(24 * time.Hour); !got.Equal(retry) {
		t.Errorf("while backing off the next check is at %v, want %v", got, retry)
	}
}

func TestExpiry(t *testing.T) {
	e := Entry{Policy: policy(t, "enforce", 0), Fetched: decideAt}
	if !e.Live(decideAt) || e.Live(decideAt.Add(time.Second)) {
		t.Error("max_age 0 must bind in the very second of the fetch and no longer")
	}
	e.Checked = decideAt.Add(time.Hour)
	if !e.Expires().Equal(decideAt) {
		t.Error("something other than the fetch moved the expiry")
	}
}
