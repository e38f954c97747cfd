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
	surveyShare   = 100             // walks take at most one part in so many of the time
	surveyForAll  = time.Minute     // the least time between two walks for scrapes
	surveyForPage = 2 * time.Second // and for pages, which wait for theirs
	surveyPatient = 2 * time.Second // how long a scrape waits for the first one
	soon          = 7 * 24 * time.Hour
	maxTrouble    = 500 // policies in trouble that are listed
	pageSize      = 50
)

// row is a policy in a list.
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

// survey is what a walk over all policies brought.
type survey struct {
	at   time.Time
	took time.Duration

	live            map[mtasts.Mode]int
	expired         int // in the store all the same
	failing         int // live, not of mode none, and the last fetch failed
	expiring        int // live, not of mode none, and over within 7 days
	expiringFailing int // both
	unreadable      int
	trouble         []policyRow // the failing ones, those that expire first before the others; maxTrouble at most
	first           []policyRow // by name; pageSize at most
	status          resolver.Status
	overrides       int
}

// take looks at all policies. It ends early, with what it has, when ctx does.
func take(ctx context.Context, service *resolver.Service) *survey {
	now := time.Now().UTC()
	s := &survey{live: map[mtasts.Mode]int{}}
	trouble := least[policyRow]{n: maxTrouble, cmp: func(a, b policyRow) int {
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
			trouble.add(r)
		}
	}
	s.trouble, s.first = trouble.take(), first.take()
	s.status, s.overrides = service.Status(), len(service.Overrides())
	s.at, s.took = now, time.Since(now)
	return s
}

func byDomain(a, b policyRow) int { return strings.Compare(a.Domain, b.Domain) }

// count counts a policy and reports whether it is in trouble.
func (s *survey) count(now time.Time, k resolver.Known) (trouble bool) {
	e := k.Entry
	if !k.Live {
		s.expired++
		return false
	}
	s.live[e.Policy.Mode]++
	if e.Policy.Mode == mtasts.ModeNone {
		return false
	}
	trouble = e.Failures.Count > 0
	expiring := e.Expires().Sub(now) < soon
	if trouble {
		s.failing++
	}
	if expiring {
		s.expiring++
	}
	if trouble && expiring {
		s.expiringFailing++
	}
	return trouble
}

// least keeps the n least of all that are added.
type least[T any] struct {
	n    int
	cmp  func(a, b T) int
	kept []T
}

func (l *least[T]) add(v T) {
	l.kept = append(l.kept, v)
	if len(l.kept) >= 4*l.n {
		l.take()
	}
}

// take returns what is kept, in order.
func (l *least[T]) take() []T {
	slices.SortFunc(l.kept, l.cmp)
	if len(l.kept) > l.n {
		clear(l.kept[l.n:])
		l.kept = l.kept[:l.n]
	}
	return l.kept
}

// surveyor makes surveys, one at a time, and not too often.
type surveyor struct {
	ctx     context.Context // of the walks
	service *resolver.Service
	running sync.WaitGroup

	mu    sync.Mutex
	last  *survey       // nil: none yet
	doing chan struct{} // closed when the walk that is under way ends; nil: none is
}

func newSurveyor(ctx context.Context, service *resolver.Service) *surveyor {
	return &surveyor{ctx: ctx, service: service}
}

// wait waits for a walk under way; the context must have ended.
func (s *surveyor) wait() { s.running.Wait() }

// forScrape returns the last survey, and has another one made where that is old. nil: there is none yet.
func (s *surveyor) forScrape() *survey {
	last, next := s.renew(surveyForAll)
	if last != nil || next == nil {
		return last
	}
	limit := time.NewTimer(surveyPatient)
	defer limit.Stop()
	select {
	case <-next:
	case <-limit.C:
	}
	return s.current()
}

// forPage returns a survey that is new, if that takes no more than its share; nil: ctx ended before there was any.
func (s *surveyor) forPage(ctx context.Context) *survey {
	last, next := s.renew(surveyForPage)
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

// renew begins a walk where the last survey is older than age and than surveyShare times what it took; next is closed
// when that ends, nil: the last one is good enough.
func (s *surveyor) renew(age time.Duration) (last *survey, next <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last != nil && time.Since(s.last.at) < max(age, surveyShare*s.last.took) || s.ctx.Err() != nil {
		return s.last, nil
	}
	if s.doing == nil {
		done := make(chan struct{})
		s.doing = done
		s.running.Go(func() {
			defer close(done)
			made := take(s.ctx, s.service)
			s.mu.Lock()
			defer s.mu.Unlock()
			s.doing = nil
			if s.ctx.Err() == nil {
				s.last = made
			}
		})
	}
	return s.last, s.doing
}
