package enginetest

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// Cluster starts a cluster of three engines.
func Cluster(t testing.TB, p Program) []*Engine {
	t.Helper()
	nodes := make([]*Engine, 3)
	for i := range nodes {
		nodes[i] = Start(t, p, "--cluster-enabled", "yes", "--cluster-node-timeout", "2000",
			"--cluster-require-full-coverage", "no")
	}
	const slots = 16384
	for i, n := range nodes {
		n.Do("CLUSTER", "ADDSLOTSRANGE", fmt.Sprint(i*slots/3), fmt.Sprint((i+1)*slots/3-1))
		nodes[0].Do("CLUSTER", "MEET", n.Host, port)
	}
	testkit.Eventually(t, testkit.Hang, "the cluster's three nodes know each other and all slots", func() bool {
		for _, n := range nodes {
			if info := n.Do("CLUSTER", "INFO"); !strings.Contains(info, "cluster_state:ok") ||
				!strings.Contains(info, "cluster_known_nodes:3") ||
				!strings.Contains(info, "cluster_slots_ok:16384") {
				return false
			}
		}
		return true
	})
	return nodes
}

// Replica starts a replica of another engine.
func Replica(t testing.TB, p Program, of *Engine) *Engine {
	t.Helper()
	r := Start(t, p, "--replicaof", of.Host+" "+port, "--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0")
	testkit.Eventually(t, testkit.Hang, "the replica has caught up", func() bool {
		return strings.Contains(r.Do("INFO", "replication"), "master_link_status:up")
	})
	return r
}

// PrimaryName is the sentinels' name of the primary.
const PrimaryName = "stsmapd-test"

// Sentinels starts three sentinels that watch a primary with a replica, and promote the replica when the primary does
// not answer.
func Sentinels(t testing.TB, p Program, primary *Engine) []*Engine {
	t.Helper()
	all := make([]*Engine, 3)
	for i := range all {
		all[i] = startSentinel(t, p, primary)
	}
	testkit.Eventually(t, testkit.Hang, "the sentinels know each other and the replica", func() bool {
		for _, s := range all {
			info := s.Do("INFO", "sentinel")
			if !strings.Contains(info, "slaves=1,sentinels=3") || !strings.Contains(info, "status=ok") {
				return false
			}
		}
		return true
	})
	return all
}

func startSentinel(t testing.TB, p Program, primary *Engine) *Engine {
	t.Helper()
	file := filepath.Join(t.TempDir(), "sentinel.conf") // a sentinel writes to its configuration
	text := fmt.Sprintf("sentinel monitor %[1]s %[2]s %[3]s 2\nsentinel down-after-milliseconds %[1]s 1500\n"+
		"sentinel failover-timeout %[1]s 5000\n", PrimaryName, primary.Host, port)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return startLike(t, &Engine{program: p, config: file})
}

// Addrs returns the addresses of engines, separated by commas, as in a URL.
func Addrs(engines []*Engine) string {
	addrs := make([]string, len(engines))
	for i, e := range engines {
		addrs[i] = net.JoinHostPort(e.Host, port)
	}
	return strings.Join(addrs, ",")
}
