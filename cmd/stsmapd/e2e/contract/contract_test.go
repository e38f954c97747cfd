package contract

import (
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
)

// contract is a Postfix and what it asks for.
type contract struct {
	why, mapName string
	system       world.System
	sni          bool // the MX is asked for by its name
	exact        bool // the MX patterns are kept exactly
}

// contracts are those of the table of map names in packaging/docs/postfix.md, as far as MTA-STS alone goes.
var contracts = []contract{
	{"the machine's Postfix", "sts", world.Own, true, false},
	{"a Postfix before 3.4", "sts+nosni", world.Own, false, false},
	{"a newer Postfix, without what it adds", "sts", world.Sid, true, false},
	{"Postfix 3.10", "sts+tlsrpt", world.Trixie, true, true},
	{"Postfix 3.10 and later", "sts+tlsrpt", world.Sid, true, true},
	{"the same by another daemon's map name", "QUERYwithTLSRPT", world.Sid, true, true},
}

// startPair starts a Postfix and the stsmapd that it asks, which listens for both routes.
func startPair(t *testing.T, w *world.World, config world.PostfixConfig, daemon world.DaemonConfig) (*world.Postfix,
	*world.Daemon) {
	t.Helper()
	config.Inet = netip.AddrPortFrom(w.Host(), 8461)
	p := w.NewPostfix(t, config)
	daemon.Inet, daemon.Unix = config.Inet, filepath.Join(p.Queue, world.SocketName)
	if config.Collector {
		daemon.Collector = p.CollectorSocket()
	}
	d := w.StartDaemon(t, daemon)
	p.Start(t)
	return p, d
}
