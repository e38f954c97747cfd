package admin

import (
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/stsmapd/stsmapd/cache/shared"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
)

// newRegistry returns the metrics besides the resolver's. No label holds a domain or anything else that a remote party
// chooses.
func newRegistry(m *Monitor) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		&collector{m, newDescs()},
	)
	return r
}

// collector is a prometheus.Collector that reads the counters of the daemon at each scrape.
type collector struct {
	monitor *Monitor
	descs   map[string]*prometheus.Desc
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, desc := range c.descs {
		ch <- desc
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	out := sink{ch, c.descs}
	out.gauge("build_info", 1, c.monitor.Info.Version, runtime.Version())
	for _, q := range c.monitor.Questions() {
		out.counter("questions_total", float64(q.N), q.Map, q.Outcome)
	}
	out.gauge("connections", float64(c.monitor.Conns()))
	out.gauge("connections_limit", float64(c.monitor.MaxConns))
	out.counter("log_lines_dropped_total", float64(c.monitor.LogDropped()))
	reload := c.monitor.Reload()
	out.gauge("config_last_reload_successful", boolValue(reload.Err == nil))
	out.gauge("config_last_reload_timestamp_seconds", unixSeconds(reload.At))
	c.store(out)
	out.shared(c.monitor.Shared())
	if s := c.monitor.surveyor.forScrape(); s != nil {
		out.survey(s)
	}
}

func (c *collector) store(out sink) {
	s := c.monitor.Store()
	out.gauge("store_policies", float64(s.Policies))
	for name, n := range map[string]uint64{
		"store_commits_total": s.Commits, "store_commit_errors_total": s.CommitErrors, "store_puts_total": s.Puts,
		"store_deletes_total": s.Deletes, "store_write_errors_total": s.WriteErrors,
		"store_corrupt_records_total": s.CorruptRecords, "store_heals_total": s.Heals,
		"store_lost_records_total": s.Lost,
		"store_snapshots_total":    s.Snapshots, "store_snapshot_errors_total": s.SnapshotErrors,
	} {
		out.counter(name, float64(n))
	}
}

func (s sink) shared(v shared.Stats) {
	s.gauge("shared_failing", boolValue(v.Failing))
	s.gauge("shared_queued", float64(v.Queued))
	for name, counts := range map[string]map[string]uint64{
		"shared_reads_total":    {"hit": v.Hits, "miss": v.Misses, "error": v.Failed, "skipped": v.Skipped},
		"shared_writes_total":   {"stored": v.Stored, "stale": v.Stale, "error": v.Unwritten, "dropped": v.Dropped},
		"shared_claims_total":   {"granted": v.Granted, "taken": v.Taken, "refused": v.Refused, "error": v.Unclaimed},
		"shared_messages_total": {"heard": v.Messages, "bad": v.BadMessages},
	} {
		for result, n := range counts {
			s.counter(name, float64(n), result)
		}
	}
	s.counter("shared_poisoned_total", float64(v.Poisoned))
}

// sink sends metrics, by name, to the channel of a scrape.
type sink struct {
	ch    chan<- prometheus.Metric
	descs map[string]*prometheus.Desc
}

func (s sink) counter(name string, v float64, labels ...string) {
	s.ch <- prometheus.MustNewConstMetric(s.descs[name], prometheus.CounterValue, v, labels...)
}

func (s sink) gauge(name string, v float64, labels ...string) {
	s.ch <- prometheus.MustNewConstMetric(s.descs[name], prometheus.GaugeValue, v, labels...)
}

func (s sink) survey(v *survey) {
	for _, mode := range []mtasts.Mode{mtasts.ModeEnforce, mtasts.ModeTesting, mtasts.ModeNone} {
		s.gauge("policies", float64(v.live[mode]), mode.String())
	}
	for name, n := range map[string]int{
		"policies_expired": v.expired, "policies_failing": v.failing, "policies_expiring": v.expiring,
		"policies_unreadable": v.unreadable, "policies_unavailable": v.unavailable,
		"refreshes_waiting": v.status.Refreshes,
		"refreshes_overdue": v.status.Overdue, "overrides": v.overrides,
	} {
		s.gauge(name, float64(n))
	}
	s.gauge("policies_counted_timestamp_seconds", unixSeconds(v.at))
}

func boolValue(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func unixSeconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}
