package pace

import (
	"fmt"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// TestHold: the limit of a domain, and the backoff of each recent id.
func TestHold(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	name := dnsname.MustParse("example.test")
	type event struct {
		after time.Duration // since the start
		id    string        // "": a fetch that worked
	}
	for _, c := range []struct {
		why    string
		events []event
		now    time.Duration
		id     string
		until  time.Duration // 0: not held
	}{
		{"nothing is known", nil, 0, "a", 0},
		{"a failed id waits 5 minutes", []event{{0, "a"}}, time.Minute, "a", Window},
		{"and no longer", []event{{0, "a"}}, Window, "a", 0},
		{"a new id does not wait", []event{{0, "a"}}, time.Second, "b", 0},
		{"but only one", []event{{0, "a"}, {time.Second, "b"}}, 2 * time.Second, "c", Window},
		{"so long as both are of the last 5 minutes", []event{{0, "a"}, {4 * time.Minute, "b"}}, Window, "c", 0},
		{"the backoff of the first of two ids stands", []event{{0, "a"}, {Window, "a"}, {Window + time.Second, "b"}},
			2*Window + 2*time.Second, "a", 3 * Window},
		{"and that of the second", []event{{0, "a"}, {Window, "a"}, {Window + time.Second, "b"}},
			2*Window + 2*time.Second, "b", 0},
		{"an id that fails four times", []event{{0, "a"}, {5 * time.Minute, "a"}, {15 * time.Minute, "a"},
			{35 * time.Minute, "a"}}, 36 * time.Minute, "a", 75 * time.Minute},
		{"a fetch that works ends all backoffs", []event{{0, "a"}, {Window, "b"}, {Window + time.Second, ""}},
			2*Window + time.Second, "a", 0},
		{"but not the limit", []event{{0, ""}, {time.Second, ""}}, 2 * time.Second, "b", Window},
		{"five ids: the oldest is forgotten", []event{{0, "a"}, {Window, "a"}, {20 * time.Minute, "b"},
			{20 * time.Minute, "c"}, {20 * time.Minute, "d"}, {20 * time.Minute, "e"}}, 26 * time.Minute, "a", 0},
		{"forgotten", []event{{0, "a"}, {0, "forget"}}, time.Second, "a", 0},
	} {
		var f Fetches
		for _, e := range c.events {
			switch e.id {
			case "":
				f.Worked(start.Add(e.after), name)
			case "forget":
				f.Forget(name)
			default:
				f.Failed(start.Add(e.after), name, e.id, time.Second)
			}
		}
		want := time.Time{}
		if c.until > 0 {
			want = start.Add(c.until)
		}
		if got := f.Hold(start.Add(c.now), name, c.id).Until; !got.Equal(want) {
			t.Errorf("%s: held until %v, want %v", c.why, got.Sub(start), c.until)
		}
	}
}

// TestFlippingIDs: two ids that flip every 5 seconds for a day, at a policy host that fails, are fetched no more often
// than the limit says at first, and once an hour each in the end.
func TestFlippingIDs(t *testing.T) {
	var f Fetches
	name, start := dnsname.MustParse("example.test"), time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var fetches []time.Time
	for at := time.Duration(0); at < 24*time.Hour; at += 5 * time.Second {
		now, id := start.Add(at), fmt.Sprint(at/(5*time.Second)%2)
		if f.Hold(now, name, id).Until.IsZero() {
			f.Failed(now, name, id, time.Second)
			fetches = append(fetches, now)
		}
	}
	for i := Limit; i < len(fetches); i++ {
		if d := fetches[i].Sub(fetches[i-Limit]); d < Window {
			t.Errorf("%d fetches within %v", Limit+1, d)
		}
	}
	if n := len(fetches); n > 2*(24+5) {
		t.Errorf("%d fetches in a day, want about 2 in an hour", n)
	}
}

func TestSlow(t *testing.T) {
	var f Fetches
	name, now := dnsname.MustParse("example.test"), time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if f.Slow(now, name) {
		t.Error("slow before the first fetch")
	}
	if f.Failed(now, name, "a", time.Second); f.Slow(now, name) {
		t.Error("slow, though it failed at once")
	}
	if f.Failed(now, name, "a", 30*time.Second); !f.Slow(now, name) || f.Slow(now.Add(Window), name) {
		t.Error("a policy host that was silent for 30s is slow for 5 minutes")
	}
	if f.Worked(now, name); f.Slow(now, name) {
		t.Error("slow, though a fetch has worked since")
	}
}

// TestBound: what is over goes first, and then some of the rest.
func TestBound(t *testing.T) {
	var f Fetches
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for i := range maxDomains {
		f.Worked(now, dnsname.MustParse(fmt.Sprintf("d%d.test", i)))
	}
	f.Failed(now, dnsname.MustParse("new.test"), "a", 0)
	if n := len(f.domains); n > maxDomains*9/10+1 {
		t.Errorf("%d domains", n)
	}
	for i := range maxDomains / 2 { // enough that room is made once, and not twice
		f.Worked(now.Add(Window), dnsname.MustParse(fmt.Sprintf("e%d.test", i)))
	}
	if f.Hold(now.Add(Window-1), dnsname.MustParse("new.test"), "a").Until.IsZero() {
		t.Error("a backoff was forgotten, though there was room after what is over had gone")
	}
}
