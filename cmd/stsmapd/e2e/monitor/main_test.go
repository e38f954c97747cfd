package monitor

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
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

// start starts a Postfix, and the stsmapd that it asks.
func start(t *testing.T, w *world.World, config world.PostfixConfig, daemon world.DaemonConfig) (*world.Postfix,
	*world.Daemon) {
	t.Helper()
	config.Inet = netip.AddrPortFrom(w.Host(), 8461)
	p := w.NewPostfix(t, config)
	daemon.Inet = config.Inet
	d := w.StartDaemon(t, daemon)
	p.Start(t)
	t.Logf("Postfix %s", p.Version(t))
	return p, d
}

// good publishes a policy in mode enforce, and starts the MX host that keeps it.
func good(t *testing.T, d *world.Domain) *world.MXHost {
	t.Helper()
	mx := d.AddMX(t)
	d.Publish(t, "1", world.Text("enforce", mx.Name))
	return mx
}

// stripped is good, but the MX host offers no STARTTLS.
func stripped(t *testing.T, d *world.Domain) *world.MXHost {
	t.Helper()
	mx := d.AddPlainMX(t)
	d.Publish(t, "1", world.Text("enforce", mx.Name))
	return mx
}

// checkConfig is a configuration for `stsmapd check` in the world.
func checkConfig(t *testing.T, w *world.World) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "stsmapd.toml")
	text := fmt.Sprintf(
		"control = \"\"\n[dns]\nservers = [%q]\n[fetch]\nca_file = %q\nallow_private_addresses = true\n",
		w.Resolver(), w.CAFile)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}
