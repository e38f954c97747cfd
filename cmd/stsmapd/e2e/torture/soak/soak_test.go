package soak

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
)

// plan is how long and how hard a run is.
type plan struct {
	duration time.Duration
	rate     int           // questions a second
	sample   time.Duration // between two samples
	outage   time.Duration // length of an outage of DNS and policy hosts
	outages  time.Duration // between the beginnings of two
	brief    time.Duration // max_age of the short-lived policies
	young    time.Duration // after which a new domain is forgotten
}

// readPlan takes the plan from SOAK_DURATION ("2h") and SOAK_RATE.
func readPlan(t *testing.T) plan {
	t.Helper()
	p := plan{duration: 12 * time.Second, rate: 2000}
	var err error
	if given := os.Getenv("SOAK_DURATION"); given != "" {
		if p.duration, err = time.ParseDuration(given); err != nil {
			t.Fatal(err)
		}
	}
	if given := os.Getenv("SOAK_RATE"); given != "" {
		if p.rate, err = strconv.Atoi(given); err != nil {
			t.Fatal(err)
		}
	}
	p.sample = min(time.Minute, p.duration/6)
	p.outages = min(10*time.Minute, p.duration/2)
	p.outage = p.outages / 8
	p.brief = max(2*time.Second, min(90*time.Second, p.duration/20).Truncate(time.Second))
	p.young = min(5*time.Minute, p.duration/6)
	return p
}

// TestSoak asks a daemon questions at a steady rate while its world changes: policies change, go to mode none and come
// back, end within their short max_age, domains are new and are forgotten, many have no policy, and again and again DNS
// and policy hosts are away. Each answer is judged, and the daemon's size is sampled.
func TestSoak(t *testing.T) {
	w := world.Open(t)
	plan := readPlan(t)
	s := newSoak(t, w, plan)
	s.learn(t)
	s.oracle.Reset()
	ctx, stop := context.WithTimeout(t.Context(), plan.duration)
	defer stop()
	s.begin = time.Now()
	s.run(ctx, t)

	tally := s.oracle.Tally()
	took := time.Since(s.begin)
	fmt.Printf("soak: %v, %d questions (%.0f a second), %d policies answered, %d changes, %d new domains, %d "+
		"forgotten, %d outages: "+
		"%d wrong answers, %d policies lost, %d temporary, %d without an answer\n",
		took.Round(time.Second), tally.Questions, float64(tally.Questions)/took.Seconds(), tally.Policies,
		s.changed.Load(), s.fresh.Load(),
		s.forgotten.Load(), s.outages.Load(), tally.Wrong, tally.Lost, tally.Temporary, tally.Closed)
	if tally.Wrong+tally.Lost+tally.Closed+tally.Temporary > 0 {
		t.Errorf("not every answer was right: %q", tally.Faults)
	}
	if float64(tally.Questions) < 0.8*float64(plan.rate)*took.Seconds() {
		t.Errorf("too few questions for a rate of %d", plan.rate)
	}
	if s.changed.Load() == 0 || s.fresh.Load() == 0 || s.forgotten.Load() == 0 || s.outages.Load() == 0 {
		t.Error("the domains did not change as they should")
	}
	text, flat := verdict(s.samples)
	fmt.Print(text)
	if !flat {
		t.Error("not everything stayed flat")
	}
}
