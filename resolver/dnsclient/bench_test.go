package dnsclient

import (
	"testing"

	"github.com/stsmapd/stsmapd/resolver/dnsclient/dnstest"
)

// BenchmarkTXT is one lookup against a server in the same process, whose work is in the numbers too; allocations are
// counted for both.
func BenchmarkTXT(b *testing.B) {
	srv := dnstest.New(b, dnstest.Config{Zone: zoneOne})
	c, err := New(Config{Servers: []string{srv.Addr()}, Timeout: patience})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.TXT(b.Context(), asked); err != nil {
			b.Fatal(err)
		}
	}
}
