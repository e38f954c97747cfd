package e2e

import (
	"crypto/tls"
	"net/netip"
	"os"
	"testing"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
)

func TestMain(m *testing.M) { os.Exit(world.Main(m)) }

// certificate is for certificates, whose making fails only where there is no randomness.
func certificate(t *testing.T) func(tls.Certificate, error) tls.Certificate {
	return func(cert tls.Certificate, err error) tls.Certificate {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return cert
	}
}

func addrPort(t *testing.T, text string) netip.AddrPort {
	t.Helper()
	a, err := netip.ParseAddrPort(text)
	if err != nil {
		t.Fatal(err)
	}
	return a
}
