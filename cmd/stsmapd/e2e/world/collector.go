package world

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
)

// collectorName is where in its queue directory a Postfix looks for its TLSRPT collector.
const collectorName = "tlsrpt.sock"

// Collector is a TLSRPT collector: a UNIX datagram socket and the reports that it has received.
type Collector struct {
	Path string

	mu      sync.Mutex
	reports []TLSReport
}

// TLSReport is one datagram of a TLSRPT client, libtlsrpt or stsmapd.
type TLSReport struct {
	Version  string            `json:"dpv"`
	Domain   string            `json:"d"`
	Record   string            `json:"pr"`
	Policies []TLSReportPolicy `json:"policies"`

	Text string `json:"-"` // all of it
}

// TLSReportPolicy is the part of a TLSReport about one policy.
type TLSReportPolicy struct {
	Type    int                `json:"policy-type"` // 1 TLSA, 2 STS, 9 none found
	Domain  string             `json:"policy-domain"`
	Lines   []string           `json:"policy-string"`
	MX      []string           `json:"mx-host"`
	Details []TLSReportFailure `json:"failure-details"`
	Failed  int                `json:"f"` // the final result: 0 success, 1 failure
}

// TLSReportFailure is one failure.
type TLSReportFailure struct {
	Code   int    `json:"c"`
	MX     string `json:"n"`
	Reason string `json:"f"`
}

// NewCollector starts a collector at this path, to which every user may send. It ends with the test.
func NewCollector(t testing.TB, path string) *Collector {
	t.Helper()
	conn := ListenDatagrams(t, path)
	c := &Collector{Path: path}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buffer := make([]byte, 1<<20)
		for {
			n, err := conn.Read(buffer)
			if err != nil {
				return // closed
			}
			report := TLSReport{Text: string(buffer[:n])}
			if err := json.Unmarshal(buffer[:n], &report); err != nil {
				t.Errorf("the collector got a datagram that is not of TLSRPT: %v\n%q", err, report.Text)
			}
			c.mu.Lock()
			c.reports = append(c.reports, report)
			c.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		_ = conn.Close()
		<-done
	})
	return c
}

// SocketPath returns a path in a new directory that is short enough for a socket.
func SocketPath(t testing.TB) string { return filepath.Join(PublicDir(t), "socket") }

// ListenDatagrams opens a collector's socket and reads nothing from it. It is closed with the test.
func ListenDatagrams(t testing.TB, path string) *net.UnixConn {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatalf("TLSRPT collector: %v", err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	return conn
}

// Reports waits for n reports about a domain and returns the first n.
func (c *Collector) Reports(t testing.TB, domain string, n int) []TLSReport {
	t.Helper()
	var found []TLSReport
	if !Poll(Hang, func() bool { found = c.SoFar(domain); return len(found) >= n }) {
		t.Fatalf("the collector has %d reports about %s after %v, want %d: %+v", len(found), domain, Hang, n, found)
	}
	return found[:n]
}

// SoFar returns the reports about a domain that have come so far.
func (c *Collector) SoFar(domain string) []TLSReport {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(c.reports), func(r TLSReport) bool { return r.Domain != domain })
}
