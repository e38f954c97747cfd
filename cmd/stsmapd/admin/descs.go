package admin

import "github.com/prometheus/client_golang/prometheus"

// described is one metric: its name without the prefix stsmapd_, its help, its labels.
type described struct {
	name, help string
	labels     []string
}

// metricList is every metric of stsmapd's own. README.md has the same table.
func metricList() []described {
	return []described{
		{"build_info", "Always 1; the labels say what runs.", []string{"version", "goversion"}},
		{"questions_total", "Postfix's questions by map (features in one order, or unknown) and outcome.",
			[]string{"map", "outcome"}},
		{"answer_memory_seconds", "Time that an answer out of memory took; one in 1024 is measured.", nil},
		{"answer_wait_seconds", "Time that Postfix waited where memory had no answer: for a policy, and for DANE on " +
			"top.", []string{"for"}},
		{"connections", "Open connections of Postfix's.", nil},
		{"connections_limit", "Connections at which no more are accepted until one ends.", nil},
		{"discoveries_total", "Looks at _mta-sts TXT records by result.", []string{"result"}},
		{"fetches_total", "Fetches of policies by result.", []string{"result"}},
		{"host_faults_total", "Looks for policies that failed by a fault of this host, by kind: host (roots, proxy, " +
			"route) or exhausted (descriptors, memory, ports, limits).",
			[]string{"kind"}},
		{"dane_lookups_total", "Looks at the TLSA records of a domain's MX hosts by result.", []string{"result"}},
		{"lookups_in_flight", "Domains that are being looked up.", nil},
		{"fetches_in_flight", "Of them, those whose policy is being fetched.", nil},
		{"policies", "Live policies by mode.", []string{"mode"}},
		{"policies_expired", "Policies that have expired and are still in the store.", nil},
		{"policies_failing", "Live policies, but for mode none, whose last fetch failed.", nil},
		{"policies_expiring", "Live policies, but for mode none, that expire within 7 days unless they are fetched " +
			"again.", nil},
		{"policies_expiring_failing", "Of them, those whose last fetch failed.", nil},
		{"policies_unreadable", "Policies in the store that cannot be read.", nil},
		{"policies_unsaved", "Policies that wait for the disk: a restart would forget them.", nil},
		{"policies_counted_timestamp_seconds",
			"When policies, refreshes and overrides were counted: at most once a minute.", nil},
		{"refreshes_waiting", "Proactive refreshes that are due before the next scan of the store.", nil},
		{"refreshes_overdue", "Of them, those whose time has come.", nil},
		{"overrides", "Overrides of the configuration that are in force.", nil},
		{"negative_entries", "Domains without a policy in memory.", nil},
		{"store_policies", "Policies in the store.", nil},
		{"store_failing", "1: the last write to the store failed, policies are in memory alone.", nil},
		{"store_commits_total", "Transactions that made one or more writes durable.", nil},
		{"store_commit_errors_total", "Transactions that failed.", nil},
		{"store_puts_total", "Policies written.", nil},
		{"store_deletes_total", "Policies removed.", nil},
		{"store_write_errors_total", "Writes and removals that failed.", nil},
		{"store_corrupt_records_total", "Damaged records that were dropped.", nil},
		{"store_heals_total", "Damaged store files that were set aside.", nil},
		{"store_lost_records_total", "Records known to be lost in them.", nil},
		{"ca_roots_loaded", "0: there is no trusted CA, no policy can be fetched.", nil},
		{"dns_ad_trusted", "0: the DNS servers' AD bit is not to be believed, DANE cannot be judged.", nil},
		{"tlsrpt_reports_total", "Failed policy fetches for the TLSRPT collector, sent and dropped.",
			[]string{"result"}},
		{"shared_failing", "1: the shared engine cannot be asked, or takes no writes; 0 also without one.", nil},
		{"shared_queued", "Values that wait to be pushed to the shared engine.", nil},
		{"shared_reads_total", "Reads of the shared engine by result; skipped: it was failing, and was not asked.",
			[]string{"result"}},
		{"shared_writes_total", "Writes to the shared engine by result; stale: it had something newer.",
			[]string{"result"}},
		{"shared_claims_total", "Claims for fetches by result; taken: another host was fetching; refused: other " +
			"hosts had failed.", []string{"result"}},
		{"shared_messages_total", "Messages of other hosts, and what was none.", []string{"result"}},
		{"shared_poisoned_total", "Values of the shared engine that could not be read, and were dropped.", nil},
		{"shared_adopted_total", "Policies that were taken over from other hosts.", nil},
		{"config_last_reload_successful", "0: the configuration was not reloaded, the old settings are in force.", nil},
		{"config_last_reload_timestamp_seconds", "When the configuration was last read.", nil},
	}
}

// descs is metricList as Prometheus wants it, by name.
func descs() map[string]*prometheus.Desc {
	all := make(map[string]*prometheus.Desc)
	for _, d := range metricList() {
		all[d.name] = prometheus.NewDesc("stsmapd_"+d.name, d.help, d.labels, nil)
	}
	return all
}
