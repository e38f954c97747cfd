package dnsclient

import (
	"testing"

	"github.com/stsmapd/stsmapd/resolver/dnsclient/dnstest"
)

// BenchmarkTXT measures lookups from a server in the same process. The results include the server.
func BenchmarkTXT(b *testing.B) {
	srv := dnstest.New(b, dnstest.Config{Zone: zoneOne})
	c, err := New(Config{Servers: []string{srv.Addr()}, Timeout: longTimeout})
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
