package monitor

import (
	"crypto/tls"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
	"github.com/stsmapd/stsmapd/resolver/dnsclient/dnstest"
)

// fate is a domain, and what must become of the mail for it.
type fate struct {
	name  string
	setUp func(*testing.T, *world.World, *world.Domain) *world.MXHost
	// mend changes what kept mail back, before Postfix tries again; nil: nothing is changed.
	mend func(*testing.T, *world.World, *world.Domain, *world.MXHost)
	// reason is why a policy keeps the mail back; "": none does.
	reason string
	exact  string // the reason where Postfix keeps the MX patterns itself (3.10.5 and later); "": the same
	end    string // verified, encrypted, plaintext, waiting, sent_after, bounced
}

// enforced publishes a policy that names the MX host, which is then changed.
func enforced(change func(*testing.T, *world.World, *world.MXHost)) func(*testing.T, *world.World,
	*world.Domain) *world.MXHost {
	return func(t *testing.T, w *world.World, d *world.Domain) *world.MXHost {
		mx := good(t, d)
		change(t, w, mx)
		return mx
	}
}

func plain(t *testing.T, _ *world.World, d *world.Domain) *world.MXHost { return stripped(t, d) }

func distrusted(t *testing.T, w *world.World, mx *world.MXHost) {
	mx.SetCertificate(certificate(t)(w.Untrusted.Issue(mx.Name)))
}

// fates are all kinds but those that need the daemon to be away.
var fates = []fate{
	{name: "verified", setUp: enforced(func(*testing.T, *world.World, *world.MXHost) {}), end: "verified"},
	{name: "encrypted", setUp: func(t *testing.T, _ *world.World, d *world.Domain) *world.MXHost {
		return d.AddMX(t)
	}, end: "encrypted"},
	{name: "plaintext", setUp: func(t *testing.T, _ *world.World, d *world.Domain) *world.MXHost {
		return d.AddPlainMX(t)
	}, end: "plaintext"},
	{name: "testing", setUp: func(t *testing.T, _ *world.World, d *world.Domain) *world.MXHost {
		mx := d.AddPlainMX(t)
		d.Publish(t, "1", world.Text("testing", mx.Name))
		return mx
	}, end: "plaintext"},
	{name: "nostarttls", setUp: plain, reason: "no-starttls", end: "waiting"},
	{name: "untrusted", setUp: enforced(distrusted), reason: "not-trusted", end: "waiting"},
	{name: "wrongname", setUp: enforced(func(t *testing.T, w *world.World, mx *world.MXHost) {
		mx.SetCertificate(certificate(t)(w.CA.Issue("mail.attacker.test")))
	}), reason: "name-mismatch", end: "waiting"},
	{name: "expired", setUp: enforced(func(t *testing.T, w *world.World, mx *world.MXHost) {
		mx.SetCertificate(certificate(t)(w.CA.IssueExpired(mx.Name)))
	}), reason: "certificate-expired", end: "waiting"},
	{name: "outside", setUp: func(t *testing.T, w *world.World, d *world.Domain) *world.MXHost {
		d.Publish(t, "1", world.Text("enforce", "mx1."+d.Name))
		mx := w.MXHost(t, "mail.attacker-of-"+d.Name, 25)
		d.SetMX(mx.Name)
		return mx
	}, reason: "name-mismatch", exact: "mx-not-in-policy", end: "waiting"},
	{name: "handshake", setUp: enforced(func(_ *testing.T, _ *world.World, mx *world.MXHost) {
		mx.SetCertificate(tls.Certificate{})
	}), reason: "handshake-failed", end: "waiting"},
	{name: "temporary", setUp: func(t *testing.T, w *world.World, d *world.Domain) *world.MXHost {
		w.DNS.On(d.RecordName(), dns.TypeANY, dnstest.ServFail)
		return d.AddMX(t)
	}, reason: "temporary-answer", end: "waiting"},
	{name: "mended", setUp: enforced(distrusted),
		mend: func(t *testing.T, w *world.World, _ *world.Domain, mx *world.MXHost) {
			mx.SetCertificate(certificate(t)(w.CA.Issue(mx.Name)))
		}, reason: "not-trusted", end: "sent_after"},
	{name: "givenup", setUp: plain, mend: func(_ *testing.T, w *world.World, d *world.Domain, _ *world.MXHost) {
		w.DNS.Set(d.Name, dns.TypeMX, d.Name+". 300 IN MX 0 .")
	}, reason: "no-starttls", end: "bounced"},
}

// told is the output of `stsmapd deliveries --json`, as far as it matters here.
type told struct {
	Domains    int
	Recipients map[string]int
	Levels     []string
	KeptBack   []keptBack `json:"kept_back"`
	Waiting    []waits
	Notes      []struct{ Code string }
}

type keptBack struct {
	Reason    string
	Waiting   int
	SentAfter int `json:"sent_after"`
	Bounced   int
	Removed   int
}

type waits struct {
	Domain, MX, Reason   string
	Messages, Recipients int
	Oldest               time.Time
}

// TestFates has each Postfix deliver mail of all fates, and `stsmapd deliveries` tell them, from its log as a file and
// as a real systemd-journald exports it.
func TestFates(t *testing.T) {
	w := world.Open(t)
	for _, c := range []struct {
		why, mapName string
		system       world.System
		exact        bool // it keeps the MX patterns itself
	}{
		{"the machine's Postfix", "sts+defer", world.Own, false},
		{"Postfix 3.10", "sts+tlsrpt+defer", world.Trixie, true},
		{"Postfix 3.11 and later", "sts+tlsrpt+defer", world.Sid, true},
	} {
		t.Run(c.why, func(t *testing.T) {
			p, d := start(t, w, world.PostfixConfig{Map: c.mapName, Tree: w.Tree(t, c.system, w.Resolver())},
				world.DaemonConfig{})
			want := sendFates(t, w, p, d, c.exact)
			dir := t.TempDir()
			file, journal := filepath.Join(dir, "mail.log"), filepath.Join(dir, "mail.journal")
			log := p.RemoteLog(t)
			for name, text := range map[string]string{file: log, journal: throughJournald(t, log)} {
				if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
				checkFates(t, tell(t, w, name), want, c.system == world.Sid)
			}
		})
	}
}

// tell runs `stsmapd deliveries --json`.
func tell(t *testing.T, w *world.World, file string) told {
	t.Helper()
	r := w.Command(t, nil, "deliveries", "--control", "unix:/nowhere", "--json", "--maillog", file)
	var got told
	if err := json.Unmarshal([]byte(r.Stdout), &got); err != nil || r.Code != 1 {
		t.Fatalf("exit code %d, %v\n%s%s", r.Code, err, r.Stdout, r.Stderr)
	}
	return got
}

// sendFates sends the mail, and returns what must be told of it.
func sendFates(t *testing.T, w *world.World, p *world.Postfix, d *world.Daemon, exact bool) told {
	t.Helper()
	want := told{Recipients: map[string]int{}}
	type sent struct {
		fate
		domain *world.Domain
		mx     *world.MXHost
		id     string
	}
	var all []sent
	for _, f := range fates {
		domain := w.Domain(f.name)
		s := sent{f, domain, f.setUp(t, w, domain), ""}
		s.id = p.Send(t, world.ByInet, "user", "someone@"+domain.Name)
		p.Delivery(t, s.id)
		all = append(all, s)
		want.count(f, domain.Name, s.mx.Name, exact)
	}
	// Two further messages, one of them for two recipients, where mail waits already; and one that is deleted.
	waiting := all[slices.IndexFunc(all, func(s sent) bool { return s.name == "expired" })]
	to := "@" + waiting.domain.Name
	deferred := map[string]int{p.Send(t, world.ByInet, "user", "b"+to): 1,
		p.SendAll(t, world.ByInet, "user", []string{"c" + to, "d" + to}): 2}
	for id := range deferred {
		p.Delivery(t, id)
	}
	want.more(waiting.domain.Name, 2, 3)
	deleted := p.Send(t, world.ByInet, "user", "e"+to)
	p.Delivery(t, deleted)
	p.Delete(t, deleted)
	want.removed("certificate-expired")

	for _, s := range all {
		if s.mend != nil {
			s.mend(t, w, s.domain, s.mx)
		}
	}
	for _, s := range all {
		if s.end == "waiting" {
			deferred[s.id] = 1
		}
	}
	p.Flush(t)
	awaitRetries(t, p, deferred) // while the daemon still runs
	for _, s := range all {
		status := map[string]string{"sent_after": "status=sent", "bounced": "status=bounced"}[s.end]
		if status != "" {
			world.Eventually(t, world.Hang, "mail for "+s.domain.Name+": "+status, func() bool {
				return len(p.LogLines(t, " "+s.id+": to=<", status)) > 0
			})
		}
	}
	// The bounce goes to a sender that does not exist, and so is given up.
	world.Eventually(t, world.Hang, "the end of the bounce", func() bool {
		return len(p.LogLines(t, ": to=<user@inet.sender.test>", "status=bounced")) > 0
	})
	want.Domains++
	want.Recipients["bounced"]++

	d.Signal(t, syscall.SIGTERM)
	d.Wait(t)
	away := w.Domain("away")
	f := fate{name: "away", reason: "map-lookup", end: "waiting"}
	mx := good(t, away)
	p.Delivery(t, p.Send(t, world.ByInet, "user", "someone@"+away.Name))
	want.count(f, away.Name, mx.Name, exact)
	return want
}

// awaitRetries waits until Postfix has tried twice to deliver each message to each of its recipients. The numbers are
// those of recipients, by queue id.
func awaitRetries(t *testing.T, p *world.Postfix, messages map[string]int) {
	t.Helper()
	for id, recipients := range messages {
		world.Eventually(t, world.Hang, "the second attempt to deliver "+id, func() bool {
			return len(p.LogLines(t, " "+id+": to=<", "status=deferred")) >= 2*recipients
		})
	}
}

// count adds what must be told of one mail for a domain.
func (s *told) count(f fate, domain, mx string, exact bool) {
	s.Domains++
	if exact && f.exact != "" {
		f.reason = f.exact
	}
	switch f.end {
	case "sent_after":
		s.Recipients["verified"]++
	case "waiting":
		s.Recipients["waiting_for_policy"]++
		s.Waiting = append(s.Waiting, waits{Domain: domain, MX: mx, Reason: f.reason, Messages: 1, Recipients: 1})
		fallthrough
	default:
		s.Recipients[f.end]++
	}
	if f.reason == "" {
		return
	}
	k := s.kept(f.reason)
	switch f.end {
	case "waiting":
		k.Waiting++
	case "sent_after":
		k.SentAfter++
	case "bounced":
		k.Bounced++
	}
}

func (s *told) kept(reason string) *keptBack {
	for i := range s.KeptBack {
		if s.KeptBack[i].Reason == reason {
			return &s.KeptBack[i]
		}
	}
	s.KeptBack = append(s.KeptBack, keptBack{Reason: reason})
	return &s.KeptBack[len(s.KeptBack)-1]
}

// more adds messages for a domain whose mail waits.
func (s *told) more(domain string, messages, recipients int) {
	w := &s.Waiting[slices.IndexFunc(s.Waiting, func(w waits) bool { return w.Domain == domain })]
	w.Messages += messages
	w.Recipients += recipients
	s.kept(w.Reason).Waiting += recipients
	s.Recipients["waiting"] += recipients
	s.Recipients["waiting_for_policy"] += recipients
}

func (s *told) removed(reason string) {
	s.kept(reason).Removed++
	s.Recipients["removed"]++
}

// checkFates compares. levels: this Postfix says the TLS level of each delivery.
func checkFates(t *testing.T, got, want told, levels bool) {
	t.Helper()
	if got.Domains != want.Domains {
		t.Errorf("%d domains, want %d", got.Domains, want.Domains)
	}
	for name, n := range got.Recipients {
		if name != "below" && n != want.Recipients[name] {
			t.Errorf("%s: %d, want %d", name, n, want.Recipients[name])
		}
	}
	for _, k := range got.KeptBack {
		if w := want.kept(k.Reason); *w != k {
			t.Errorf("kept back: %+v, want %+v", k, *w)
		}
	}
	if len(got.KeptBack) != len(want.KeptBack) || len(got.Waiting) != len(want.Waiting) {
		t.Errorf("kept back %+v, want %+v\nwaiting %+v, want %+v", got.KeptBack, want.KeptBack, got.Waiting,
			want.Waiting)
	}
	for _, w := range got.Waiting {
		if age := time.Since(w.Oldest); age < 0 || age > time.Hour {
			t.Errorf("%s: the oldest message arrived at %v", w.Domain, w.Oldest)
		}
		w.Oldest = time.Time{}
		if !slices.Contains(want.Waiting, w) {
			t.Errorf("%+v waits; want %+v", w, want.Waiting)
		}
	}
	if slices.Contains(got.Levels, "secure") != levels {
		t.Errorf("levels %q; this Postfix says them: %v", got.Levels, levels)
	}
	for _, n := range got.Notes {
		if n.Code != "daemon" && n.Code != "below_level" {
			t.Errorf("a note: %s", n.Code)
		}
	}
}
