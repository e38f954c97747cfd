package admin

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/history"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/term"
)

// Health is how the daemon does, in one word.
type Health string

// The words, the best first.
const (
	Healthy  Health = "healthy"  // there is no problem
	Degraded Health = "degraded" // something needs repair; mail is protected and delivered
	Failing  Health = "failing"  // mail is unprotected, or waits, or policies would be lost
)

// Problem is something that an administrator should repair.
type Problem struct {
	ID       string `json:"id"` // a stable word
	Severity Health `json:"severity"`
	Text     string `json:"text"`            // what, the consequence for mail, and what to check
	Alert    string `json:"alert,omitempty"` // the rule of packaging/grafana/alerts.yml
	List     string `json:"-"`               // the page that lists what has the problem; "": none
}

// problemKind is a kind of problem. There is one list of them, problemKinds, for status, page, health and alert rules.
type problemKind struct {
	id       string
	severity Health
	alert    string
	list     string
	rate     bool // it is found in counts of the last minutes
	find     func(observation) []string
}

// Bounds of problems. The alert rules have the same ones.
const (
	minUnprotected   = 20   // questions in 15 minutes
	unprotectedShare = 0.05 // of all questions
	minDANEUnknown   = 3    // questions in 15 minutes
	minOverloaded    = 10   // questions in 10 minutes
	minDNSFailures   = 20   // lookups in 10 minutes
	dnsFailureShare  = 0.25
	minFetchFailures = 20 // fetches in 30 minutes
	fetchFailShare   = 0.5
	minRefreshFail   = 10 // policies
	refreshFailShare = 0.1
	maxOverdue       = 1000
	connsWarnShare   = 0.8 // of the limit
	// for how long policies may wait for a disk that writes nothing
	maxStuck = 5 * time.Minute
)

// findProblems returns the problems of a daemon, the worst first. It is pure.
func findProblems(s observation) []Problem {
	list := []Problem{}
	for _, severity := range []Health{Failing, Degraded} {
		for _, k := range problemKinds() {
			if k.severity != severity {
				continue
			}
			for _, text := range k.find(s) {
				list = append(list, Problem{ID: k.id, Severity: severity, Text: text, Alert: k.alert, List: k.list})
			}
		}
	}
	return list
}

// problemKinds returns all kinds of problems.
func problemKinds() []problemKind {
	return slices.Concat(failingKinds(), rateKinds(), degradedKinds())
}

func failingKinds() []problemKind {
	return []problemKind{
		{id: "store_failing", severity: Failing, alert: "StsmapdStoreFailing", find: func(s observation) []string {
			return textIf(s.activity.Failing || s.activity.Unwritten > 0 || s.stuck >= maxStuck,
				"cannot write the policy store: policies are served from memory, and a restart would lose those not "+
					"yet on disk; check the disk space and the state directory")
		}},
		{id: "no_roots", severity: Failing, alert: "StsmapdNoRoots", find: func(s observation) []string {
			return textIf(s.activity.NoRoots, "there are no CA roots: no policy can be fetched, and live policies are "+
				"served until they expire; install ca-certificates or set fetch.ca_file, then reload")
		}},
		{id: "dns_dead", severity: Failing, alert: "StsmapdDNSDead", find: faults(true)},
		{id: "host_fault", severity: Failing, alert: "StsmapdHostFault", find: faults(false)},
	}
}

// faults is the find of the faults of this host: those of DNS lookups, or the others.
func faults(ofDNS bool) func(observation) []string {
	return func(s observation) (texts []string) {
		for _, f := range s.faults {
			if f.OfDNS() == ofDNS {
				texts = append(texts, f.String())
			}
		}
		return texts
	}
}

// rateKinds are found in the history.
func rateKinds() []problemKind {
	return []problemKind{
		{id: "mail_unprotected", severity: Failing, alert: "StsmapdMailUnprotected", rate: true,
			find: func(s observation) []string {
				c := s.counted(15 * time.Minute)
				n, all := c[unprotectedCount], total(c, answerCount)
				return textIf(n > minUnprotected && share(n, all) > unprotectedShare,
					"%d of %d questions were answered without a policy in 15 minutes, because DNS lookups fail: mail "+
						"to domains without a cached policy is sent unprotected; check the DNS resolver; the map "+
						"sts+defer lets such mail wait instead", n, all)
			}},
		{id: "dane_unknown", severity: Failing, alert: "StsmapdDANEUnknown", rate: true,
			find: func(s observation) []string {
				n := s.counted(15 * time.Minute)[answerCount+"dane_unknown"]
				return textIf(n > minDANEUnknown, "TLSA records cannot be looked up (%d questions in 15 minutes): "+
					"mail to domains that enforce a policy waits; check the DNSSEC-validating resolver", n)
			}},
		{id: "overloaded", severity: Failing, alert: "StsmapdMailWaits", rate: true,
			find: func(s observation) []string {
				n := s.counted(10 * time.Minute)[answerCount+"overloaded"]
				return textIf(n > minOverloaded, "mail waits because lookups take too long or this host lacks "+
					"resources (%d questions in 10 minutes); check the DNS resolver, and this host's descriptors, "+
					"memory and ports", n)
			}},
		{id: "dns_failing", severity: Failing, alert: "StsmapdDNSFailing", rate: true,
			find: func(s observation) []string {
				c := s.counted(10 * time.Minute)
				n, all := total(c, lookupCount+"dns_"), total(c, lookupCount)
				return textIf(n > minDNSFailures && share(n, all) > dnsFailureShare,
					"%d of %d DNS lookups failed in 10 minutes: live policies are served, but mail to new domains is "+
						"unprotected; check the DNS resolver", n, all)
			}},
		{id: "fetches_failing", severity: Degraded, alert: "StsmapdFetchesFail", rate: true,
			find: func(s observation) []string {
				c := s.counted(30 * time.Minute)
				all := total(c, fetchCount)
				n := all - c[fetchCount+"ok"]
				return textIf(n > minFetchFailures && share(n, all) > fetchFailShare,
					"%d of %d policy fetches failed in 30 minutes; check this host's HTTPS to the internet, its clock "+
						"and its CA roots", n, all)
			}},
		countKind(Degraded, "store_damaged", "StsmapdStoreDamaged", damagedCount, "the policy store was damaged "+
			"within the last hour: what could be read is in a new store; check the disk; the log (event=store_…) "+
			"names the old file"),
		countKind(Failing, "shared_poisoned", "StsmapdSharedPoisoned", poisonedCount, "the shared engine had values "+
			"that stsmapd did not write; they were dropped; find the client that writes there, and restrict access "+
			"to the engine"),
		countKind(Degraded, "reports_dropped", "StsmapdReportsDropped", reportCount+"dropped", "reports to the "+
			"TLSRPT collector were dropped; check that the collector runs, and that stsmapd may write to "+
			"tlsrpt_socket"),
	}
}

// countKind is the kind of a problem that counts as long as its count grew in the last hour.
func countKind(severity Health, id, alert, count, text string) problemKind {
	return problemKind{id: id, severity: severity, alert: alert, find: func(s observation) []string {
		return textIf(s.counted(time.Hour)[count] > 0, "%s", text)
	}}
}

func degradedKinds() []problemKind {
	return []problemKind{
		{id: "reload_failed", severity: Degraded, alert: "StsmapdNotReloaded", find: func(s observation) []string {
			return textIf(s.reload.Err != nil, "the configuration was not reloaded, and the old settings stay in "+
				"force: %v",
				s.reload.Err)
		}},
		{id: "policies_expiring", severity: Degraded, alert: "StsmapdPoliciesExpiring",
			list: "/policies?state=expiring",
			find: counted(func(v *survey) []string {
				return textIf(v.expiring > 0, "%s soon and cannot be fetched: after that, mail to the domain is no "+
					"longer protected; check the policy host from here: stsmapd "+
					"check", policiesDo(v.expiring, "expire"))
			})},
		{id: "refreshes_failing", severity: Degraded, alert: "StsmapdRefreshesFail", list: "/policies?state=failing",
			find: counted(func(v *survey) []string {
				all := 0
				for _, n := range v.live {
					all += n
				}
				return textIf(v.failing > minRefreshFail && share(uint64(v.failing), uint64(all)) > refreshFailShare,
					"%d of %d policies cannot be fetched again: so many at once are rarely the fault of the domains; "+
						"check this host's HTTPS to the internet, its clock and its CA roots", v.failing, all)
			})},
		{id: "policies_unreadable", severity: Degraded, alert: "StsmapdPoliciesUnreadable",
			find: counted(func(v *survey) []string {
				return textIf(v.unreadable > 0, "%s in the store cannot be read: domains that are not in memory are "+
					"looked up again when there is mail for them; check the disk", term.Plural(v.unreadable, "policy"))
			})},
		{id: "refreshes_overdue", severity: Degraded, alert: "StsmapdRefreshesOverdue",
			find: counted(func(v *survey) []string {
				return textIf(v.status.Overdue > maxOverdue, "%d refreshes are overdue: policies may expire before "+
					"they are fetched again; check for slow policy hosts, and whether fetch.concurrency is too small",
					v.status.Overdue)
			})},
		{id: "connections_near_limit", severity: Degraded, alert: "StsmapdConnectionsNearLimit",
			find: func(s observation) []string {
				return textIf(float64(s.conns) > connsWarnShare*float64(s.maxConns),
					"%d of %d connections are open: at the limit, new connections from Postfix wait; check which "+
						"clients keep them open", s.conns, s.maxConns)
			}},
		{id: "shared_failing", severity: Degraded, alert: "StsmapdSharedFailing", find: func(s observation) []string {
			return textIf(s.shared.Failing, "cannot reach the shared engine, or it rejects writes: continuing with "+
				"the local store; check the engine, its memory, and shared.url")
		}},
	}
}

// counted is a problem's find that needs a count of the policies.
func counted(find func(*survey) []string) func(observation) []string {
	return func(s observation) []string {
		if s.survey == nil {
			return nil
		}
		return find(s.survey)
	}
}

func textIf(found bool, format string, args ...any) []string {
	if !found {
		return nil
	}
	return []string{fmt.Sprintf(format, args...)}
}

// policiesDo returns "1 policy expires" or "2 policies expire".
func policiesDo(n int, verb string) string {
	if n == 1 {
		verb += "s"
	}
	return term.Plural(n, "policy") + " " + verb
}

// total returns the sum of the counts whose name begins with a prefix.
func total(c history.Counts, prefix string) (sum uint64) {
	for name, n := range c {
		if strings.HasPrefix(name, prefix) {
			sum += n
		}
	}
	return sum
}

func share(n, all uint64) float64 { return float64(n) / float64(max(all, 1)) }
