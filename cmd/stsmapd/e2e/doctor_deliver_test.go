package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// trialCase is a way to set up Postfix, and what a delivery shows.
type trialCase struct {
	why    string
	set    map[string]string // parameters, as in doctorCase
	args   string            // of the service in master.cf
	master string            // more lines of master.cf
	chroot bool
	say    string // the id of what the trial finds
	log    string // a part of it
}

// trialCases are good configurations, and each kind of mistake with which mail under a policy waits whatever the peer
// does, or goes past the policy. The first of them are the sample.
func trialCases() []trialCase {
	const waits, stops, leaks = "trial-policy-waits", "trial-all-waits", "trial-not-enforced"
	return []trialCase{
		{why: "as README.md has it, chrooted", set: tables("socketmap:unix:/stsmapd.sock:@STS"), chroot: true,
			say: "trial", log: "Verified TLS connection established to 127.0.0.1"},
		{why: "no protocol", set: with("smtp_tls_mandatory_protocols", "TLS1.2"), say: waits, log: "protocol"},
		{why: "a table for all domains before ours", set: tables("static:may, " + ourMap), say: leaks},

		{why: "TCP", set: tables(ourMap), say: "trial"},
		{why: "a relative path", set: tables("socketmap:unix:stsmapd.sock:@STS"), say: "trial"},
		{why: "all other domains behind ours", set: tables(ourMap + ", static:encrypt"), say: "trial"},
		{why: "CApath", set: map[string]string{"smtp_tls_policy_maps": ourMap, "smtp_tls_CAfile": "",
			"smtp_tls_CApath": "/etc/ssl/certs"}, say: "trial"},
		{why: "connections used again", set: with("smtp_tls_connection_reuse", "yes"), say: "trial",
			master: "tlsproxy unix - - y - 0 tlsproxy\n"},
		{why: "a CA file of its own", set: with("smtp_tls_CAfile", "@DIR/gone.pem"), args: "-o smtp_tls_CAfile=@CA",
			say: "trial"},
		{why: "ciphers of ECDSA only", set: with("smtp_tls_mandatory_exclude_ciphers", "aRSA"), say: "trial"},
		{why: "strict by default", set: with("smtp_tls_security_level", "secure"), say: "trial"},

		{why: "protocols of the past", set: with("smtp_tls_mandatory_protocols", "SSLv3"), say: waits},
		{why: "no protocol left", set: with("smtp_tls_mandatory_protocols", "!TLSv1.2, !TLSv1.3"), say: waits},
		{why: "not a grade", set: with("smtp_tls_mandatory_ciphers", "strong"), say: waits},
		{why: "no ciphers left", set: with("smtp_tls_mandatory_exclude_ciphers", "ALL"), say: waits},
		{why: "no such certificate", set: with("smtp_tls_cert_file", "@DIR/gone.pem"), say: waits, log: "gone.pem"},
		{why: "a certificate without key", set: with("smtp_tls_cert_file", "@DIR/untrusted.pem"), say: waits},
		{why: "no CA", set: with("smtp_tls_CAfile", ""), say: waits, log: "untrusted issuer"},
		{why: "no such CA file", set: with("smtp_tls_CAfile", "@DIR/gone.pem"), say: waits, log: "gone.pem"},
		{why: "a CA file without a certificate", set: with("smtp_tls_CAfile", "@DIR/all.re"), say: waits},
		{why: "a CApath outside of the chroot", set: map[string]string{"smtp_tls_policy_maps": ourMap,
			"smtp_tls_CAfile": "", "smtp_tls_CApath": "/etc/ssl/certs"}, chroot: true, say: waits},
		{why: "other trust anchors", set: with("smtp_tls_trust_anchor_file", "@DIR/untrusted.pem"), say: waits},
		{why: "no tlsproxy", set: with("smtp_tls_connection_reuse", "yes"), say: stops, log: "tlsproxy"},
		{why: "STARTTLS is discarded", set: with("smtp_discard_ehlo_keywords", "starttls"), say: waits},
		{why: "STARTTLS is discarded for all addresses",
			set: with("smtp_discard_ehlo_keyword_address_maps", "cidr:@DIR/ehlo.cidr"), say: waits},
		{why: "never EHLO", set: with("smtp_never_send_ehlo", "yes"), say: waits},
		{why: "not a digest", set: with("smtp_tls_fingerprint_digest", "sha257"), say: waits},
		{why: "no stsmapd", set: tables("socketmap:inet:127.0.0.1:1:@STS"), say: stops, log: "127.0.0.1:1"},
		{why: "a socket outside of the chroot", set: tables("socketmap:unix:@DIR/sts.sock:@STS"), chroot: true,
			say: stops},
		{why: "a socket that Postfix may not use", set: tables("socketmap:unix:@DIR/closed/sts.sock:@STS"),
			say: stops, log: "denied"},
		{why: "a dead server before ours", set: tables("socketmap:inet:127.0.0.1:1:x, " + ourMap), say: stops},
		{why: "a table that nobody made", set: tables("hash:@DIR/missing, " + ourMap), say: stops, log: "missing"},
		{why: "a dead server behind ours", set: tables(ourMap + ", socketmap:inet:127.0.0.1:1:x"),
			say: "trial-mail-waits", log: "127.0.0.1:1"},
		{why: "a broken reply filter", set: with("smtp_reply_filter", "regexp:@DIR/gone"), say: stops},
		{why: "TLS from the first byte", set: with("smtp_tls_wrappermode", "yes"), say: stops},
		{why: "a wrong value", set: with("smtp_tls_connection_reuse", "maybe"), say: stops, log: "fatal: bad boolean"},
		{why: "spaces in master.cf", set: tables(ourMap), args: "-o smtp_helo_name = x", say: stops, log: "fatal: "},
		{why: "a pattern for all domains before ours", set: tables("regexp:@DIR/all.re, " + ourMap), say: leaks},
		{why: "master.cf has no map", set: tables(ourMap), args: "-o smtp_tls_policy_maps=", say: leaks},
		{why: "nobody is asked", set: tables(""), say: leaks},
		{why: "only looking", set: tables(ourMap + "+shadow"), say: leaks},
		{why: "a fallback relay", set: with("smtp_fallback_relay", "[fallback.example.test]"), say: leaks,
			log: "by smtp_fallback_relay"},
	}
}

// TestDoctorDelivers runs `stsmapd postfix --deliver` and compares what this Postfix does with the case.
func TestDoctorDelivers(t *testing.T) {
	for _, its := range postfixes() {
		t.Run(its.name, func(t *testing.T) {
			w := world.Open(t)
			s := newWard(t, w, its.system, w.Resolver())
			all := trialCases()
			for _, c := range all[:testkit.Sample(t, "trials", len(all), 3)] {
				t.Run(c.why, func(t *testing.T) { s.try(t, c) })
			}
		})
	}
}

// try sets up a Postfix as the case says, and lets it deliver.
func (s *ward) try(t *testing.T, c trialCase) {
	t.Helper()
	p := s.setUp(t, doctorCase{name: "trial", chroot: c.chroot, set: c.set, args: c.args, relayArgs: c.args,
		master: c.master})
	before := tellTree(t, filepath.Dir(p.Config))
	got := doctor(t, s.w, p, "--connect=inet:"+s.inet, "--deliver")
	if after := tellTree(t, filepath.Dir(p.Config)); !slices.Equal(before, after) {
		t.Errorf("the trial has changed something: before %q, after %q", before, after)
	}
	found := false
	for _, f := range got.Findings {
		if !strings.HasPrefix(f.ID, "trial") {
			continue
		}
		t.Logf("%s: %s", f.ID, f.Problem)
		found = found || f.ID == c.say && strings.Contains(f.Problem, c.log)
		if f.ID != c.say {
			t.Errorf("%s: the trial says %s, want %s", c.why, f.ID, c.say)
		}
	}
	if !found {
		t.Errorf("%s: no finding %s with %q in %+v", c.why, c.say, c.log, got.Findings)
	}
}

// TestDoctorDeliverInterrupted ends `stsmapd postfix --deliver` by a signal while smtp(8) waits for a table that does
// not answer: the private instance ends too, and nothing is left.
func TestDoctorDeliverInterrupted(t *testing.T) {
	w := world.Open(t)
	p := w.NewPostfix(t, world.PostfixConfig{Map: "sts"})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	end := time.Now().Add(world.Hang)
	if err := l.(*net.TCPListener).SetDeadline(end); err != nil {
		t.Fatal(err)
	}
	p.Master(t, "smtp unix - - n - - smtp\n")
	p.Postconf(t, "-e", "default_transport = smtp",
		"smtp_tls_policy_maps = socketmap:inet:"+l.Addr().String()+":sts")
	dir := filepath.Dir(p.Config)
	cmd := exec.Command(w.Binary, "postfix", "-c", p.Config, "--deliver", "--connect=inet:"+l.Addr().String())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var asker net.Conn // the smtp(8) of the private instance; before it is there, the diagnosis asks
	for asker == nil {
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "stsmapd-trial-*")); len(left) > 0 {
			asker = conn
		} else {
			_ = conn.Close()
		}
	}
	defer asker.Close()
	if err := asker.SetDeadline(end); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	err = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 2 {
		t.Errorf("exit code %d (%v), want 2", code, err)
	}
	if _, err := io.Copy(io.Discard, asker); err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("smtp(8) has not ended: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "stsmapd-trial-*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// tellTree lists the files of a Postfix, and what a trial has left. What `postfix check` makes, which the diagnosis
// runs, is left out: directories of the queue, a log, and Debian 13's copies of files of /etc.
func tellTree(t *testing.T, dir string) []string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(dir, func(name string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name == filepath.Join(dir, "log") || name == filepath.Join(dir, "queue/etc") {
			return filepath.SkipDir
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if !info.IsDir() || strings.Contains(name, "trial") {
			list = append(list, fmt.Sprint(name, " ", info.Mode(), " ", info.Size(), " ", info.ModTime()))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}
