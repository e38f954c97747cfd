package torture

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
)

// fewFiles is a limit of open files of which half are for connections from Postfix.
const fewFiles = 1000

// everyConnection holds every connection that the daemon accepts, and more that wait, and as many of the status page.
// The watchdog of a systemd must hear all the while that the daemon lives: else it would be aborted, and those who hold
// the connections would be the first to bind its port.
func everyConnection(t *testing.T, r *rig) {
	pings := r.watched(t)
	r.d.setup = fmt.Sprintf("ulimit -n %d", fewFiles)
	r.restart(t)
	r.amid(t, crowdMemory, func() {
		crowd := append(r.connect(t, r.d.Address, fewFiles), r.connect(t, r.d.Metrics, 300)...)
		defer closeAll(crowd)
		r.injected = len(crowd)
		r.logged(t, "socketmap_conn_limit", 1)
		begin := pings.Load()
		wait(time.Duration(rounds(20, 2)) * time.Second)
		world.Eventually(t, recoveryLimit, "pings of the watchdog under the flood",
			func() bool { return pings.Load() >= begin+int64(rounds(20, 5)) })
		r.healthy(t)
	})
	if lines := r.d.Log.Lines("event=self_check_failed"); lines != nil {
		t.Errorf("a self-check has failed: %v", lines)
	}
	r.note += fmt.Sprintf(", %d pings", pings.Load())
}

// watched has the next processes report to a systemd that wants a ping every second. It counts the pings.
func (r *rig) watched(t *testing.T) (pings *atomic.Int64) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	systemd, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { systemd.Close() })
	pings = new(atomic.Int64)
	go func() {
		message := make([]byte, 4096)
		for {
			n, err := systemd.Read(message)
			if err != nil {
				return
			}
			if string(message[:n]) == "WATCHDOG=1" {
				pings.Add(1)
			}
		}
	}()
	r.d.setEnv("NOTIFY_SOCKET="+path, "WATCHDOG_USEC=1000000")
	return pings
}

// healthy fails the test if /healthz does not say that the daemon answers.
func (r *rig) healthy(t *testing.T) {
	t.Helper()
	client := http.Client{Timeout: answerLimit}
	defer client.CloseIdleConnections()
	answer, err := client.Get("http://" + r.d.Metrics + "/healthz")
	if err != nil {
		t.Errorf("/healthz: %v", err)
		return
	}
	defer answer.Body.Close()
	if body, err := io.ReadAll(answer.Body); err != nil || string(body) != "ok\n" {
		t.Errorf("/healthz: %q, %v", body, err)
	}
}
