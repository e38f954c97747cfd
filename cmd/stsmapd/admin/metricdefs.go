package admin

import "github.com/prometheus/client_golang/prometheus"

// metricDef is one metric: its name without the prefix stsmapd_, its help, its labels.
type metricDef struct {
	name, help string
	labels     []string
}

// metricDefs returns the metrics of stsmapd, without those of Go and the process. packaging/docs/monitoring.md has the
// same table.
func metricDefs() []metricDef {
	return []metricDef{
		{"build_info", "Always 1; the labels are the versions.", []string{"version", "goversion"}},
		{"questions_total", "Postfix's questions by map (features in one order, or unknown) and outcome.",
			[]string{"map", "outcome"}},
		{"connections", "Open connections from Postfix.", nil},
		{"connections_limit", "Limit of connections; at the limit new ones wait.", nil},
		{"policies", "Live policies by mode.", []string{"mode"}},
		{"policies_expired", "Policies that have expired and are still in the store.", nil},
		{"policies_failing", "Live policies, except mode none, whose last fetch failed.", nil},
		{"policies_expiring", "Policies of policies_failing that expire within 7 days, with half of max_age over.",
			nil},
		{"policies_unavailable", "Domains in memory whose announced policy cannot be fetched.", nil},
		{"policies_unreadable", "Policies in the store that cannot be read.", nil},
		{"policies_counted_timestamp_seconds",
			"When policies, refreshes and overrides were counted: at most once a minute.", nil},
		{"refreshes_waiting", "Proactive refreshes that are due before the next scan of the store.", nil},
		{"refreshes_overdue", "Proactive refreshes that should have run by now.", nil},
		{"overrides", "Overrides of the configuration that are in force.", nil},
		{"store_policies", "Policies in the store.", nil},
		{"store_commits_total", "Transactions that made one or more writes durable.", nil},
		{"store_commit_errors_total", "Transactions that failed.", nil},
		{"store_puts_total", "Policies written.", nil},
		{"store_deletes_total", "Policies removed.", nil},
		{"store_write_errors_total", "Writes and removals that failed.", nil},
		{"store_corrupt_records_total", "Corrupt records that were dropped.", nil},
		{"store_heals_total", "Corrupt store files that were replaced.", nil},
		{"store_lost_records_total", "Records that are known to be lost in corrupt store files.", nil},
		{"store_snapshots_total", "Snapshots of the policy store that were written.", nil},
		{"store_snapshot_errors_total", "Snapshots of the policy store that could not be written.", nil},
		{"shared_failing", "1: the shared engine cannot be reached, or rejects writes; 0 also without one.", nil},
		{"shared_queued", "Values that wait to be sent to the shared engine.", nil},
		{"shared_reads_total", "Reads of the shared engine by result; skipped: not sent, because the engine was " +
			"failing.",
			[]string{"result"}},
		{"shared_writes_total", "Writes to the shared engine by result; stale: the engine had a newer value.",
			[]string{"result"}},
		{"shared_claims_total", "Claims for fetches by result; taken: another host was fetching; refused: other " +
			"hosts had failed.", []string{"result"}},
		{"shared_messages_total", "Messages on the shared channel: of other hosts, and invalid ones.",
			[]string{"result"}},
		{"shared_poisoned_total", "Values of the shared engine that could not be decoded and were dropped.", nil},
		{"log_lines_dropped_total", "Log lines that were not written, because the log blocked or failed.", nil},
		{"config_last_reload_successful", "0: the last reload failed, the old settings are in force.", nil},
		{"config_last_reload_timestamp_seconds", "When the configuration was last read.", nil},
	}
}

// newDescs returns the descriptors of metricDefs, by name.
func newDescs() map[string]*prometheus.Desc {
	all := make(map[string]*prometheus.Desc)
	for _, d := range metricDefs() {
		all[d.name] = prometheus.NewDesc("stsmapd_"+d.name, d.help, d.labels, nil)
	}
	return all
}
