package admin

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
)

const (
	surveyShare     = 100                // walks take at most 1/surveyShare of the time
	surveyForScrape = time.Minute        // least time between two walks for scrapes
	surveyForPage   = 2 * time.Second    // least time between two walks for pages
	surveyFirstWait = 2 * time.Second    // how long a scrape waits for the first walk
	soon            = 7 * 24 * time.Hour // before the expiry of a policy that cannot be fetched
	maxFailing      = 500                // failing policies that are listed
	pageSize        = 50
)

// policyRow is a policy in a table of the pages.
type policyRow struct {
	Domain   string
	Mode     string
	Live     bool
	Expires  time.Time
	Fetched  time.Time
	Failures int
	Since    time.Time
	Reason   string
}

func policyRowOf(k resolver.Known) policyRow {
	e := k.Entry
	return policyRow{k.Domain.String(), e.Policy.Mode.String(), k.Live, e.Expires(), e.Fetched, e.Failures.Count,
		e.Failures.Since, e.Failures.Reason}
}

// survey is the result of a walk over all policies.
type survey struct {
	at   time.Time
	took time.Duration

	live        map[mtasts.Mode]int
	expired     int // still in the store
	failing     int // live, not of mode none, and the last fetch failed
	expiring    int // of them, those that expire soon
	unreadable  int
	unavailable int         // announced policies that cannot be fetched
	failingRows []policyRow // failing policies by expiry, at most maxFailing
	first       []policyRow // by name, at most pageSize
	status      resolver.Status
	overrides   int
}

// runSurvey walks over all policies. If ctx ends, the result is incomplete.
func runSurvey(ctx context.Context, service *resolver.Admin) *survey {
	now := time.Now().UTC()
	s := &survey{live: map[mtasts.Mode]int{}}
	failing := least[policyRow]{n: maxFailing, cmp: func(a, b policyRow) int {
		return cmp.Or(a.Expires.Compare(b.Expires), strings.Compare(a.Domain, b.Domain))
	}}
	first := least[policyRow]{n: pageSize, cmp: byDomain}
	for k, err := range service.Entries(ctx) {
		if ctx.Err() != nil {
			break
		}
		if err != nil || k.Entry == nil {
			s.unreadable++
			continue
		}
		r := policyRowOf(k)
		first.add(r)
		if s.count(now, k) {
			failing.add(r)
		}
	}
	for range service.Unavailable() {
		s.unavailable++
	}
	s.failingRows, s.first = failing.sorted(), first.sorted()
	s.status, s.overrides = service.Status(), len(service.Overrides())
	s.at, s.took = now, time.Since(now)
	return s
}

func byDomain(a, b policyRow) int { return strings.Compare(a.Domain, b.Domain) }

// count counts a policy and reports whether it is failing.
func (s *survey) count(now time.Time, k resolver.Known) (failing bool) {
	if !k.Live {
		s.expired++
		return false
	}
	s.live[k.Entry.Policy.Mode]++
	if failing = isFailing(k); failing {
		s.failing++
	}
	if isExpiring(now, k) {
		s.expiring++
	}
	return failing
}

// isFailing reports whether a policy cannot be refreshed: it is live, not of mode none, and its last fetch failed.
func isFailing(k resolver.Known) bool {
	return k.Live && k.Entry.Policy.Mode != mtasts.ModeNone && k.Entry.Failures.Count > 0
}

// isExpiring reports whether a failing policy expires soon: within 7 days, and half of its max_age is over. A policy
// that can be refreshed never counts, however short its max_age is.
func isExpiring(now time.Time, k resolver.Known) bool {
	return isFailing(k) && k.Entry.Expires().Sub(now) < min(soon, k.Entry.Policy.MaxAge/2)
}

// least keeps the n least of all added values.
type least[T any] struct {
	n    int
	cmp  func(a, b T) int
	kept []T
}

func (l *least[T]) add(v T) {
	l.kept = append(l.kept, v)
	if len(l.kept) >= 4*l.n {
		l.sorted()
	}
}

// sorted returns the kept values in order.
func (l *least[T]) sorted() []T {
	slices.SortFunc(l.kept, l.cmp)
	if len(l.kept) > l.n {
		clear(l.kept[l.n:])
		l.kept = l.kept[:l.n]
	}
	return l.kept
}

// surveyor runs surveys, one at a time, and limits how often.
type surveyor struct {
	ctx     context.Context // of the walks
	service *resolver.Admin
	walks   sync.WaitGroup

	mu      sync.Mutex
	last    *survey       // nil: none yet
	running chan struct{} // closed when the walk in progress ends; nil: no walk is in progress
}

func newSurveyor(ctx context.Context, service *resolver.Admin) *surveyor {
	return &surveyor{ctx: ctx, service: service}
}

// wait waits for a walk in progress to end. The surveyor's context must have ended.
func (s *surveyor) wait() { s.walks.Wait() }

// forScrape returns the last survey, nil if there is none yet. If it is old, a new walk starts in the background.
func (s *surveyor) forScrape() *survey {
	last, next := s.request(surveyForScrape)
	if last != nil || next == nil {
		return last
	}
	limit := time.NewTimer(surveyFirstWait)
	defer limit.Stop()
	select {
	case <-next:
	case <-limit.C:
	}
	return s.current()
}

// forPage returns a recent survey: it waits for a walk if surveyShare allows one. It returns nil if ctx ends before the
// first survey is complete.
func (s *surveyor) forPage(ctx context.Context) *survey {
	last, next := s.request(surveyForPage)
	if next == nil {
		return last
	}
	select {
	case <-next:
	case <-ctx.Done():
	}
	return s.current()
}

func (s *surveyor) current() *survey {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// request returns the last survey. It starts a walk if that survey is older than age and older than surveyShare times
// its duration; next is closed when the walk ends, and nil if none was needed.
func (s *surveyor) request(age time.Duration) (last *survey, next <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last != nil && time.Since(s.last.at) < max(age, surveyShare*s.last.took) || s.ctx.Err() != nil {
		return s.last, nil
	}
	if s.running == nil {
		done := make(chan struct{})
		s.running = done
		s.walks.Go(func() {
			defer close(done)
			made := runSurvey(s.ctx, s.service)
			s.mu.Lock()
			defer s.mu.Unlock()
			s.running = nil
			if s.ctx.Err() == nil {
				s.last = made
			}
		})
	}
	return s.last, s.running
}
