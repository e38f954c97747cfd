package torture

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
)

func networkFaults() []fault {
	return []fault{
		{name: "resolver gone and restarted", run: func(t *testing.T, r *rig) {
			r.outage(t, func() { r.p.StopDNS(t) }, func() { r.p.StartDNS(t) })
		}},
		{name: "resolver silent", run: func(t *testing.T, r *rig) {
			r.outage(t, func() { r.p.Dead.Store(true) }, func() { r.p.Dead.Store(false) })
		}},
		{name: "resolver slow (3 s)", run: func(t *testing.T, r *rig) {
			r.outage(t, func() { r.p.Delay.Store(int64(3 * time.Second)) }, func() { r.p.Delay.Store(0) })
		}},
		{name: "CA bundle replaced, SIGHUP", run: newRoots},
		{name: "CA bundle broken, SIGHUP", run: brokenRoots},
		{name: "TLSRPT collector gone or stuck", run: noCollector},
		{name: "SIGHUP storm, bad configurations", run: reloadStorm},
	}
}

// outage takes something away for a while, and asks all kinds of questions meanwhile.
func (r *rig) outage(t *testing.T, begin, end func()) {
	t.Helper()
	for range rounds(5, 1) {
		stop := r.load(t)
		begin()
		r.injected++
		wait(time.Duration(rounds(6, 2)) * time.Second)
		end()
		over := time.Now()
		r.recovers(t, over)
		stop()
	}
	r.census(t)
}

// ownRoots gives the daemon a CA file of its own, and returns its name and the function that writes it and sends
// SIGHUP.
func (r *rig) ownRoots(t *testing.T) (file string, reload func(bundle []byte)) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "roots.pem")
	write := func(bundle []byte) {
		if err := os.WriteFile(file, bundle, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(r.w.CA.PEM())
	r.d.configure(t, strings.Replace(r.d.Text(), r.w.CAFile, file, 1))
	r.restart(t)
	return file, func(bundle []byte) { write(bundle); r.reload(t, "reloaded") }
}

// reload sends SIGHUP and waits for the daemon's log line about it.
func (r *rig) reload(t *testing.T, event string) {
	t.Helper()
	before := len(r.d.Log.Lines("event=" + event))
	r.d.Signal(t, syscall.SIGHUP)
	r.logged(t, event, before+1)
}

// newRoots moves all policy hosts to another CA. Until the daemon reloads, no policy can be fetched; those that are
// remembered are answered, before and after.
func newRoots(t *testing.T, r *rig) {
	file, reload := r.ownRoots(t)
	stop := r.load(t)
	defer stop()
	for i := range rounds(5, 2) {
		ca, err := world.NewCA(fmt.Sprintf("CA number %d", i))
		if err != nil {
			t.Fatal(err)
		}
		r.p.SetCA(ca)
		if err := os.WriteFile(file, ca.PEM(), 0o644); err != nil { // without SIGHUP it does not count
			t.Fatal(err)
		}
		r.injected++
		if answer, err := r.askRaw(r.fresh()); err != nil || answer != "NOTFOUND " {
			t.Errorf("a new domain of an unknown CA is answered %q %v", answer, err)
		}
		wait(time.Second) // of questions for what is remembered
		end := time.Now()
		reload(ca.PEM())
		r.recovers(t, end)
	}
	stop()
	r.census(t)
}

// brokenRoots replaces the CA bundle by a file without certificates.
func brokenRoots(t *testing.T, r *rig) {
	file, reload := r.ownRoots(t)
	stop := r.load(t)
	defer stop()
	sound := r.w.CA.PEM()
	for range rounds(5, 1) {
		for _, broken := range [][]byte{nil, []byte("no certificate\n"), sound[:len(sound)/2], []byte("\x00\xff\x00")} {
			if err := os.WriteFile(file, broken, 0o644); err != nil {
				t.Fatal(err)
			}
			r.injected++
			refused := func() int {
				return len(r.d.Log.Lines("event=no_roots")) +
					len(r.d.Log.Lines("event=reload_failed"))
			}
			before := refused()
			r.d.Signal(t, syscall.SIGHUP)
			world.Eventually(t, recoveryLimit, "a line about a broken CA bundle",
				func() bool { return refused() > before })
			end := time.Now()
			reload(sound)
			r.recovers(t, end)
		}
	}
	stop()
	r.census(t)
}

// noCollector has policy fetches fail that are to be reported, with no collector, and with one that reads nothing. It
// delays no answer; when it is there again, it gets reports.
func noCollector(t *testing.T, r *rig) {
	path := world.SocketPath(t)
	r.d.configure(t, fmt.Sprintf("tlsrpt_socket = %q\n", path)+r.d.Text())
	r.restart(t)
	stop := r.load(t)
	defer stop()
	fail := func() {
		a := NewAsker(r.oracle, r.d.Address)
		defer a.Close()
		for range 100 {
			domain := r.fresh()
			r.p.Publish(domain, world.Publication{ID: 1, Policy: 1, Mode: "broken"})
			if _, err := a.Ask(domain); err != nil {
				t.Errorf("asking for %s: %v", domain, err)
			}
		}
	}
	for range rounds(5, 1) {
		fail()
		r.injected++
		stuck := world.ListenDatagrams(t, path)
		fail()
		r.injected++
		if err := stuck.Close(); err != nil {
			t.Error(err)
		}
		_ = os.Remove(path) // it may be gone with the socket
	}
	end := time.Now()
	c := world.NewCollector(t, path)
	domain := ""
	world.Eventually(t, recoveryLimit, "a report", func() bool {
		domain = r.fresh()
		r.p.Publish(domain, world.Publication{ID: 1, Policy: 1, Mode: "broken"})
		_, err := r.askRaw(domain)
		return err == nil && world.Poll(time.Second, func() bool { return len(c.SoFar(domain)) > 0 })
	})
	r.recovery = time.Since(end)
	stop()
	r.census(t)
}

// badConfigurations are files that must change nothing.
func badConfigurations(good string) []string {
	return []string{
		good + "\nno_such_key = 1\n",
		"\x00\x01\x02",
		good[:len(good)/2],
		strings.Replace(good, "servers = [", "servers = [\"no address\", ", 1),
		strings.Replace(good, "attempts = 2", "attempts = -2", 1),
		good + "[[override]]\ndomain = \"x\"\n",
		strings.Repeat("[", 1<<16),
	}
}

// reloadStorm sends SIGHUP repeatedly, every second time with an invalid configuration.
func reloadStorm(t *testing.T, r *rig) {
	stop := r.load(t)
	defer stop()
	bad := badConfigurations(r.d.Text())
	refused := func() int { return len(r.d.Log.Lines("event=reload_failed")) }
	begin := time.Now()
	for i := 0; i < rounds(500, 50) || refused() < len(bad) && time.Since(begin) < world.Hang; i++ {
		text := r.d.Text()
		if i%2 == 0 {
			text = bad[i/2%len(bad)]
		}
		r.d.configure(t, text)
		r.d.Signal(t, syscall.SIGHUP)
		r.injected++
		wait(20 * time.Millisecond)
	}
	if refused() < len(bad) {
		t.Errorf("hardly any configuration was refused; log:\n%s", r.d.Log)
	}
	r.d.configure(t, r.d.Text())
	end := time.Now()
	r.reload(t, "reloaded")
	r.recovers(t, end)
	stop()
	r.census(t)
}
