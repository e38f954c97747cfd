package trial

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/smtp"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/doctor"
	"github.com/stsmapd/stsmapd/socketmap"
	"github.com/stsmapd/stsmapd/socketmap/tlspolicy"
)

// TestServers: the mail server takes messages with TLS and without, and its certificates have the flaws of the
// messages.
func TestServers(t *testing.T) {
	s, err := startServers()
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.ca)
	var unknown x509.UnknownAuthorityError
	var other x509.HostnameError
	for m, want := range map[message]any{valid: nil, untrusted: &unknown, misnamed: &other, fallback: nil} {
		client := dial(t, s, m)
		err := client.StartTLS(&tls.Config{RootCAs: roots, ServerName: host})
		if want == nil && err != nil || want != nil && !errors.As(err, want) {
			t.Errorf("port of %d: the handshake says %v", m, err)
		}
		if want == nil {
			submit(t, client)
		}
	}
	submit(t, dial(t, s, free))
}

func dial(t *testing.T, s *servers, m message) *smtp.Client {
	t.Helper()
	client, err := smtp.Dial(s.listeners[m].Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func submit(t *testing.T, client *smtp.Client) {
	t.Helper()
	err := errors.Join(client.Mail(""), client.Rcpt("valid@"+mailDomain))
	body, failed := client.Data()
	if err = errors.Join(err, failed); err != nil {
		t.Fatal(err)
	}
	_, err = body.Write([]byte("Subject: x\r\n\r\n.\r\n"))
	if err = errors.Join(err, body.Close(), client.Quit()); err != nil {
		t.Fatal(err)
	}
}

// TestPolicies: the answers are those of stsmapd for a domain with a policy.
func TestPolicies(t *testing.T) {
	s, err := startServers()
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	p, err := startPolicies(tlspolicy.MapNames{}, s)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	client, err := socketmap.Dial(t.Context(), p.address())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for _, c := range []struct{ name, key, want string }{
		{"sts", s.hop(valid), "OK secure match=" + host + " servername=hostname"},
		{"QUERY", s.hop(untrusted), "OK secure match=" + host + " servername=hostname"},
		{"sts+nosni", s.hop(misnamed), "OK secure match=" + host},
		{"sts", s.hop(free), "NOTFOUND "},
		{"sts", s.hop(fallback), "NOTFOUND "},
		{"sts", "127.0.0.1", "NOTFOUND "},
		{"sts+shadow", s.hop(valid), "NOTFOUND "},
	} {
		reply, err := client.Ask(t.Context(), c.name, c.key)
		if got := reply.Status().String() + " " + reply.Data(); err != nil || got != c.want {
			t.Errorf("%s %s: %q, %v; want %q", c.name, c.key, got, err, c.want)
		}
	}
}

// TestJudge has logs of Postfix 3.7.
func TestJudge(t *testing.T) {
	status := func(m message, relay, status string) string {
		return "Nov 28 09:14:17 mta postfix/smtp[22]: 76D669E26F6: to=<" + m.recipient() + ">, relay=" + relay +
			", delay=0.08, delays=0.04/0.04/0/0, dsn=4.7.5, status=" + status + "\n"
	}
	const relay, waits = "127.0.0.1[127.0.0.1]:1", "deferred (Server certificate not verified)"
	const refused = "Nov 28 09:14:17 mta postfix/smtp[22]: certificate verification failed for " +
		"127.0.0.1[127.0.0.1]:2: untrusted issuer /CN=x\n"
	const sent = "sent (250 2.0.0 accepted)"
	kept := status(untrusted, relay, waits) + status(misnamed, relay, waits) + refused
	for _, c := range []struct {
		why, log string
		certain  bool
		want     string // ids
		say      string // a part of the first problem
		silent   string // none of it
	}{
		{why: "all is well", want: "note trial", say: "Postfix did not log how",
			log: kept + status(valid, relay, sent) + status(free, relay, sent)},
		{why: "no policy is kept", want: "error trial-not-enforced", say: "not trusted",
			log: status(valid, relay, sent) + status(untrusted, relay, sent) + status(misnamed, relay, sent) +
				status(free, relay, sent)},
		{why: "by the fallback relay", want: "error trial-not-enforced", say: "by smtp_fallback_relay",
			log: status(valid, relay, sent) + status(untrusted, relay, waits) +
				status(misnamed, "127.0.0.1[127.0.0.1]:5", sent) + status(free, relay, sent)},
		{why: "mail under a policy waits", want: "error trial-policy-waits", say: "certificate not verified",
			silent: "untrusted issuer", log: kept + status(valid, relay, waits) + status(free, relay, sent)},
		{why: "mail without a policy waits", want: "error trial-mail-waits",
			log: kept + status(valid, relay, sent) + status(free, relay, waits)},
		{why: "as the level for it demands", want: "note trial", certain: true,
			log: kept + status(valid, relay, sent) + status(free, relay, waits)},
		{why: "no result in time", want: "error trial-all-waits", say: "no result after 1m", log: kept},
		{why: "the client ends", want: "error trial-all-waits", say: `the SMTP client ends; Postfix's log: "fatal: bad`,
			log: "Nov 28 09:14:17 mta postfix/out/smtp[3]: fatal: bad boolean configuration: a = b\n" +
				"Nov 28 09:14:17 mta postfix/master[1]: warning: /usr/lib/postfix/sbin/smtp: bad command startup -- " +
				"throttling\n"},
		{why: "one waits, and others leak", want: "error trial-policy-waits error trial-not-enforced",
			log: status(untrusted, relay, sent) + status(free, relay, sent)},
	} {
		o := outcome{service: "smtp/unix", certain: c.certain, log: c.log, results: resultsIn(c.log),
			ports: [messages + 1]string{"]:1", "]:2", "]:3", "]:4", "]:5"}}
		findings := o.judge()
		var ids []string
		for _, f := range findings {
			ids = append(ids, string(f.Severity)+" "+f.ID)
		}
		if got := strings.Join(ids, " "); got != c.want {
			t.Errorf("%s: %s, want %s", c.why, got, c.want)
		}
		problem := findings[0].Problem
		if !strings.Contains(problem, c.say) || c.silent != "" && strings.Contains(problem, c.silent) {
			t.Errorf("%s: it says %q", c.why, problem)
		}
	}
}

// TestRemove: the whole process group of the instance ends, and its directories are gone.
func TestRemove(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "trial")
	i := &instance{dir: dir, queue: filepath.Join(dir, "queue")}
	if err := os.MkdirAll(filepath.Join(i.queue, "pid"), 0o755); err != nil {
		t.Fatal(err)
	}
	master := exec.Command("sh", "-c", "sleep 1000 & wait")
	master.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	out, err := master.StdoutPipe() // also of the child: it ends when both have
	if err != nil {
		t.Fatal(err)
	}
	if err := master.Start(); err != nil {
		t.Fatal(err)
	}
	text := strconv.Itoa(master.Process.Pid)
	if err := os.WriteFile(filepath.Join(i.queue, "pid", "master.pid"), []byte("     "+text+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := i.remove(); err != nil {
		t.Fatal(err)
	}
	if n, err := out.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("a process wrote %d bytes, %v", n, err)
	}
	if err := master.Wait(); err == nil {
		t.Error("the instance was not killed")
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directories are left: %v", err)
	}
	if err := i.remove(); err != nil {
		t.Errorf("an instance that is not there: %v", err)
	}
}

// TestFillQueue: what SMTP clients see in the chroot is there, but not what is master(8)'s.
func TestFillQueue(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	for _, name := range []string{"from/etc/ssl", "from/private", "from/active", "from/closed", "to/private"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"etc/hosts", "etc/ssl/x.pem", "private/smtp", "private/rewrite", "private/sts",
		"active/x"} {
		if err := os.WriteFile(filepath.Join(from, name), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Symlink("hosts", filepath.Join(from, "etc/link")),
		os.Chmod(filepath.Join(from, "closed"), 0o700)); err != nil {
		t.Fatal(err)
	}
	i := &instance{queue: to, facts: doctor.Facts{Parameters: map[string]string{"queue_directory": from},
		Services: []doctor.Service{{Name: "smtp/unix"}}}}
	if err := i.fillQueue(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"etc/hosts": true, "etc/ssl/x.pem": true, "etc/link": true,
		"private/sts": true, "closed": true, "private/smtp": false, "private/rewrite": false, "active": false} {
		if _, err := os.Lstat(filepath.Join(to, name)); (err == nil) != want {
			t.Errorf("%s: %v, want it there: %v", name, err, want)
		}
	}
	if info, err := os.Stat(filepath.Join(to, "closed")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the mode of a directory: %v, %v", info, err)
	}
}
