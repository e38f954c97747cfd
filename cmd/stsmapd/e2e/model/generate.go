package model

import (
	"fmt"
	"math/rand/v2"
	"time"
)

const (
	day = 24 * time.Hour
	// Domains is how many domains a generated script has; few, so that their events coincide.
	Domains = 3
)

// Domain is the name of a script's domain.
func Domain(n int) string { return fmt.Sprintf("d%d.example", n) }

// Generate makes a script of n events from a seed: the same one each time.
func Generate(seed uint64, n int) Script {
	g := &generator{rand: rand.New(rand.NewPCG(seed, 0x6d6f64656c))}
	return g.script(Script{Bolt: g.one(200)}, n)
}

// GenerateFleet is Generate of a script with other hosts, in which the store may be full. Nobody sets the clock: the
// other hosts have the same.
func GenerateFleet(seed uint64, n int) Script {
	g := &generator{rand: rand.New(rand.NewPCG(seed, 0x666c656574)), fleet: true}
	return g.script(Script{Fleet: true}, n)
}

func (g *generator) script(s Script, n int) Script {
	for d := range Domains {
		if !g.one(4) {
			g.publish(d)
		}
	}
	for len(g.events) < n {
		g.next()
	}
	s.Events = g.events[:n]
	return s
}

type generator struct {
	rand    *rand.Rand
	events  []Event
	version int
	fleet   bool
}

func (g *generator) one(in int) bool { return g.rand.IntN(in) == 0 }

func (g *generator) add(e Event) {
	if _, sets := e.(Clock); !sets || !g.fleet {
		g.events = append(g.events, e)
	}
}

func pick[T any](g *generator, of ...T) T { return of[g.rand.IntN(len(of))] }

// publish adds the events of a correct publisher: first the file, then the id.
func (g *generator) publish(d int) {
	g.file(d)
	g.add(Web{d, WebOK})
	g.announce(d)
}

func (g *generator) file(d int) {
	g.version++
	g.add(File{d, g.version, pick(g, "enforce", "enforce", "enforce", "testing", "none"),
		pick(g, 0, time.Second, time.Minute,
			10*time.Minute, time.Hour, time.Hour, day, day, 7*day, 7*day, 30*day, 365*day)})
}

func (g *generator) announce(d int) {
	g.version++
	g.add(TXT{d, TXTAnnounced, g.version, g.ttl()})
}

func (g *generator) ttl() time.Duration {
	return pick(g, 0, 5*time.Second, time.Minute, 5*time.Minute, time.Hour, day)
}

// next adds an event, or some that belong together. Half of all are questions: an event without one proves nothing.
func (g *generator) next() {
	d := g.rand.IntN(Domains)
	if g.fleet && g.one(5) {
		g.others(d)
		return
	}
	switch n := g.rand.IntN(100); {
	case n < 42:
		g.ask(d)
	case n < 68:
		g.ask(d)
		g.add(Step{g.step()})
	case n < 76:
		g.publish(d)
	case n < 79:
		g.file(d)
	case n < 85:
		g.add(TXT{d, pick(g, TXTGone, TXTGone, TXTBroken, TXTTwo, TXTServfail, TXTTimeout), 0, g.ttl()})
	case n < 87:
		g.announce(d)
	case n < 89:
		g.add(DANE{d, pick(g, DANEUnsigned, DANENone, DANEUnusable, DANEOne, DANEHalf, DANEServfail)})
	case n < 93:
		g.add(Web{d, pick(g, WebOK, WebOK, WebRefused, WebTimeout, WebCertificate, WebStatus, WebMediaType, WebTooLarge,
			WebInvalid)})
	default:
		g.disturb(d)
	}
}

// disturb adds an event that happens to stsmapd rather than to a domain.
func (g *generator) disturb(d int) {
	switch n := g.rand.IntN(100); {
	case n < 20:
		g.add(Restart{pick(g, 0, time.Second, time.Hour, 10*day, 100*day)})
	case n < 45:
		g.add(Kill{})
	case n < 65:
		g.add(Disk{pick(g, DiskOK, DiskOK, DiskRefuses, DiskSlow, DiskHangs)})
	case n < 70:
		g.add(Mute{pick(g, MuteOff, MuteOn)})
	case n < 75:
		g.add(Host{pick(g, HostOK, HostOK, HostOK, HostOK, HostLookFiles, HostFetchFiles, HostRoute, HostRoots)})
	case n < 80:
		g.add(Clock{pick(g, time.Second, -time.Second, time.Hour, -time.Hour, 10*day, -10*day, 400*day, -400*day)})
	case n < 85:
		g.add(Evict{d})
	case n < 91:
		g.add(Forget{d})
	default:
		g.add(Refresh{d})
	}
}

// others adds an event of the other hosts, or of what they share with the daemon.
func (g *generator) others(d int) {
	switch n := g.rand.IntN(100); {
	case n < 40:
		g.add(Peer{d, PeerFetches})
	case n < 52:
		g.add(Peer{d, PeerDoubts})
	case n < 64:
		g.add(Peer{d, PeerFails})
	case n < 71:
		g.add(Peer{d, PeerDies})
	case n < 77:
		g.add(Peer{d, PeerForgets})
	case n < 87:
		g.add(Engine{pick(g, EngineOK, EngineOK, EngineAway, EngineEmpty)})
	case n < 94:
		g.add(News{pick(g, NewsHeard, NewsLost)})
	default:
		g.add(Full{pick(g, FullOn, FullOff, FullOff)})
	}
}

func (g *generator) ask(d int) {
	g.add(Ask{d, pick(g, "sts", "sts", "sts+tlsrpt", "sts+strict", "sts+defer", "sts+nosni", "postfix",
		"sts+tlsrpt+strict+defer",
		"sts+dane", "sts+dane", "sts+dane+tlsrpt+strict")})
}

// step returns a duration that is mostly short: an hour costs as much as ten events, since the service wakes up twice a
// minute. Longer times pass while the daemon is down.
func (g *generator) step() time.Duration {
	switch n := g.rand.IntN(1000); {
	case n < 350:
		return time.Duration(g.rand.IntN(2000)) * time.Millisecond
	case n < 700:
		return time.Duration(g.rand.IntN(120)) * time.Second
	case n < 900:
		return time.Duration(g.rand.IntN(30)) * time.Minute
	case n < 980:
		return time.Duration(g.rand.IntN(4*60)) * time.Minute
	case n < 997:
		return time.Duration(g.rand.IntN(30)) * time.Hour
	default:
		return time.Duration(g.rand.IntN(6)) * day
	}
}
