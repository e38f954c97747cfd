package admin

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/stsmapd/stsmapd/cache/shared"
	"github.com/stsmapd/stsmapd/cache/store"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/history"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
	"github.com/stsmapd/stsmapd/socketmap/tlspolicy"
)

const (
	samplePause = time.Minute // between two samples of the counters
	sampleAge   = time.Second // of the last sample, below which a page takes no new one
)

// Sources are the parts of the daemon that a Monitor reads. The functions are called from many goroutines.
type Sources struct {
	Service    *resolver.Service
	Store      func() store.Stats
	Shared     func() shared.Stats // all zero without a shared engine
	Questions  func() []tlspolicy.Count
	Conns      func() int // of Postfix's
	MaxConns   int
	Reload     func() Reload        // of the configuration
	Resolver   *prometheus.Registry // has the resolver's metrics
	History    *history.Recorder
	Info       Info
	Log        *slog.Logger
	LogDropped func() uint64 // lines of the log that were not written
}

// Reload is the result of the last load of the configuration.
type Reload struct {
	At  time.Time
	Err error // not nil: the old settings stay in force
}

// Monitor is the one view of the running daemon. The control socket, the status page and the metrics show it.
// NewMonitor returns one. It is safe for concurrent use.
type Monitor struct {
	Sources
	admin    *resolver.Admin
	surveyor *surveyor
	end      context.CancelFunc
	look     func(*survey) observation // observe, but in tests of what is shown
	disk     diskWatch
}

// diskWatch finds out for how long policies have waited for a disk that writes nothing. A write to it does not fail.
type diskWatch struct {
	mu      sync.Mutex
	commits uint64
	since   time.Time // zero: nothing waits, or something was written
}

// note notes how many policies wait and how many commits there were.
func (d *diskWatch) note(now time.Time, unsaved int, commits uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case unsaved == 0 || commits != d.commits:
		d.since, d.commits = time.Time{}, commits
	case d.since.IsZero():
		d.since = now
	}
}

// stuck returns for how long nothing was written.
func (d *diskWatch) stuck(now time.Time) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.since.IsZero() {
		return 0
	}
	return now.Sub(d.since)
}

// NewMonitor returns a Monitor. Close ends its work.
func NewMonitor(s Sources) *Monitor {
	ctx, end := context.WithCancel(context.Background())
	m := &Monitor{Sources: s, admin: s.Service.Admin(), end: end}
	m.surveyor, m.look = newSurveyor(ctx, m.admin), m.observe
	return m
}

// Close ends walks over the policies.
func (m *Monitor) Close() {
	m.end()
	m.surveyor.wait()
}

// Run samples the counters for the history each minute and when ctx ends, logs the problems that begin and end between
// two samples and have no log line of their own, and saves the history. It returns after the last saving.
func (m *Monitor) Run(ctx context.Context) {
	tick := time.NewTicker(samplePause)
	defer tick.Stop()
	var failing error
	before := map[string]bool{}
	for ended := false; !ended; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			ended = true
		}
		m.sample(time.Now())
		before = m.logProblems(before)
		err := m.History.Save()
		if err != nil && failing == nil {
			m.Log.Warn("cannot save the history of the status page: a restart loses what it shows of the past; "+
				"mail is not affected; check the disk space and the state directory",
				"event", "history_failed", "error", err)
		}
		failing = err
	}
}

// logProblems logs which problems of rates have begun and ended since the last call. It returns those of now.
func (m *Monitor) logProblems(before map[string]bool) map[string]bool {
	now := map[string]bool{}
	s := m.look(m.surveyor.current())
	for _, k := range problemKinds() {
		if !k.rate {
			continue
		}
		text := k.find(s)
		if len(text) > 0 {
			now[k.id] = true
		}
		switch {
		case now[k.id] && !before[k.id]:
			m.Log.Warn(text[0], "event", k.id)
		case !now[k.id] && before[k.id]:
			m.Log.Info("this problem has ended: "+strings.ReplaceAll(k.id, "_", " "), "event", k.id+"_ended")
		}
	}
	return now
}

// Names of the counts in the history, each followed by an outcome or result.
const (
	answerCount = "answer:"
	lookupCount = "lookup:"
	fetchCount  = "fetch:"
	reportCount = "reports_"
	// questions whose mail is delivered unprotected because the DNS lookup failed
	unprotectedCount = "unprotected"
	damagedCount     = "store_damaged"
	poisonedCount    = "shared_poisoned"
)

// sample adds what was counted since the last sample to the history.
func (m *Monitor) sample(now time.Time) {
	c := history.Counts{}
	for _, q := range m.Questions() {
		if q.Outcome == tlspolicy.NoDomainOutcome {
			continue
		}
		c[answerCount+q.Outcome] += q.N
		if q.Outcome == resolver.Unknown.String() && !strings.Contains(q.Map, "defer") {
			c[unprotectedCount] += q.N
		}
	}
	families, err := m.Resolver.Gather()
	if err != nil {
		m.Log.Debug("cannot read the counters for the history", "event", "history_error", "error", err)
	}
	prefixes := map[string]string{"stsmapd_discoveries_total": lookupCount, "stsmapd_fetches_total": fetchCount,
		"stsmapd_tlsrpt_reports_total": reportCount}
	for _, f := range families {
		prefix, wanted := prefixes[f.GetName()]
		for _, counter := range f.GetMetric() {
			if wanted && len(counter.GetLabel()) == 1 {
				c[prefix+counter.GetLabel()[0].GetValue()] += uint64(counter.GetCounter().GetValue())
			}
		}
	}
	s := m.Store()
	m.disk.note(now, m.admin.Activity().Unsaved, s.Commits)
	c[damagedCount] = s.Heals + s.CorruptRecords
	c[poisonedCount] = m.Shared().Poisoned
	m.History.Sample(now, c)
}

// Status returns the daemon's status. It waits for a count of the policies until ctx ends, if none is recent.
func (m *Monitor) Status(ctx context.Context) Status { return m.status(m.surveyor.forPage(ctx)) }

// status returns the daemon's status with the counts of a survey, nil for none.
func (m *Monitor) status(v *survey) Status {
	now := time.Now()
	if age := now.Sub(m.History.Sampled()); age > sampleAge || age < 0 {
		m.sample(now)
	}
	s := m.look(v)
	a := s.activity
	view := Status{
		Info: m.Info, Health: Healthy, Problems: findProblems(s), Stored: int(m.Store().Policies),
		NoPolicy: a.Negatives,
		Lookups:  a.Lookups, Fetches: a.Fetches, Unsaved: a.Unsaved, Connections: s.conns,
		Overrides: len(m.admin.Overrides()),
		Reload:    ReloadResult{At: wholeSecond(s.reload.At), OK: s.reload.Err == nil},
	}
	if s.reload.Err != nil {
		view.Reload.Error = s.reload.Err.Error()
	}
	if v != nil {
		view.Refreshes, view.Overdue = v.status.Refreshes, v.status.Overdue
		view.Unavailable = v.unavailable
		view.Policies = &Policies{Enforce: v.live[mtasts.ModeEnforce], Testing: v.live[mtasts.ModeTesting],
			None: v.live[mtasts.ModeNone], Expired: v.expired, Failing: v.failing, Expiring: v.expiring,
			Unreadable: v.unreadable, Counted: wholeSecond(v.at)}
	}
	if len(view.Problems) > 0 {
		view.Health, view.Reason = view.Problems[0].Severity, view.Problems[0].Text
	}
	return view
}

// observation is what problems are found in.
type observation struct {
	activity resolver.Activity
	faults   []resolver.HostFault
	shared   shared.Stats
	reload   Reload
	conns    int
	maxConns int
	stuck    time.Duration // for how long policies have waited for a disk that writes nothing
	survey   *survey       // nil: the policies have not been counted yet
	// counts of the last time, at least
	counted func(time.Duration) history.Counts
}

func (m *Monitor) observe(v *survey) observation {
	return observation{activity: m.admin.Activity(), faults: m.admin.HostFaults(), shared: m.Shared(),
		reload: m.Reload(),
		conns:  m.Conns(), maxConns: m.MaxConns, survey: v, stuck: m.disk.stuck(time.Now()),
		counted: func(d time.Duration) history.Counts { return m.History.Since(time.Now(), d) }}
}
