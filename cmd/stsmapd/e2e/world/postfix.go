package world

import (
	"bufio"
	_ "embed"
	"fmt"
	"net"
	"net/netip"
	"net/smtp"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/template"
	"time"
)

//go:embed main.cf.tmpl
var mainCF string

//go:embed master.cf.tmpl
var masterCF string

// Postfix is one of Debian's Postfixes with a queue and a configuration of its own. It has two SMTP clients, chosen by
// the sender's domain ([Route]): one asks stsmapd by TCP; the other runs in a chroot, as is Debian's default, and asks
// by a UNIX socket in it.
type Postfix struct {
	Config         string // the configuration directory, for postmap -c
	Queue          string // the queue directory, which is the chroot
	ResolverConfig string // for Doctor, that of postfix-mta-sts-resolver on this host; "": there is none
	NoCheck        bool   // Doctor leaves out `postfix check`, which takes longer than all else

	smtpd netip.AddrPort
	log   string
	tree  *Tree
	slots chan struct{} // of the World
}

// Route is the socket by which Postfix asks stsmapd about a message.
type Route string

// The routes.
const (
	ByInet Route = "inet" // socketmap:inet:
	ByUnix Route = "unix" // socketmap:unix:, from the chroot
)

// Routes returns all routes. A test of mail tests each.
func Routes() []Route { return []Route{ByInet, ByUnix} }

// PostfixConfig is the configuration of a Postfix, as far as tests choose it.
type PostfixConfig struct {
	Inet netip.AddrPort // where stsmapd listens
	Map  string         // the map name to ask, such as "postfix"
	// the next hop of all mail whose sender is relayed@<route>.sender.test, such as "[mail.example.test]:2525"
	RelayHost string
	Tree      *Tree // which Postfix, and which resolver it asks; nil: the machine's, and the World's
	DANE      bool  // with smtp_tls_security_level = dane, not may
	Collector bool  // with TLSRPT, if it is built with that; see [Postfix.CollectorSocket]
}

// SocketName is the path within a queue directory where the chrooted SMTP client looks for stsmapd.
const SocketName = "stsmapd.sock"

// NewPostfix makes the directories and the configuration of a Postfix. [Postfix.Start] starts it.
func (w *World) NewPostfix(t testing.TB, config PostfixConfig) *Postfix {
	t.Helper()
	dir := PublicDir(t)
	p := &Postfix{
		Config: filepath.Join(dir, "config"),
		Queue:  filepath.Join(dir, "queue"),
		smtpd:  netip.AddrPortFrom(w.Host(), 25),
		log:    filepath.Join(dir, "log", "maillog"),
		tree:   config.Tree,
		slots:  w.postfixes,
	}
	data := filepath.Join(dir, "data")
	for _, d := range []string{p.Config, p.Queue, data, filepath.Dir(p.log), filepath.Join(p.Queue, "etc")} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(data, p.tree.uid(t, "postfix"), -1); err != nil {
		t.Fatal(err)
	}
	// what the C library reads in the chroot
	for _, name := range []string{"resolv.conf", "services", "nsswitch.conf"} {
		text, err := os.ReadFile(p.tree.etc(name))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(p.Queue, "etc", name), string(text))
	}
	values := map[string]any{
		"Dir": dir, "Config": p.Config, "Queue": p.Queue, "Data": data, "Log": p.log, "LogDir": filepath.Dir(p.log),
		"SMTPD": p.smtpd, "Inet": config.Inet, "Map": config.Map, "Socket": SocketName, "RelayHost": config.RelayHost,
		"CAFile": w.CAFile, "DANE": config.DANE, "SignedZone": signedZone, "Collector": "",
	}
	if config.Collector {
		values["Collector"] = collectorName
	}
	for name, text := range map[string]string{"main.cf": mainCF, "master.cf": masterCF} {
		var out strings.Builder
		if err := template.Must(template.New(name).Parse(text)).Execute(&out, values); err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(p.Config, name), out.String())
	}
	return p
}

// Start starts Postfix. It stops with the test, and its log is shown if the test failed. At most as many run as the
// machine has processors; Start waits until one of them stops. A test that calls Start should not be parallel: while it
// waits it counts for -parallel, and the subtests of those that run may need that.
func (p *Postfix) Start(t testing.TB) {
	t.Helper()
	p.slots <- struct{}{}
	t.Cleanup(func() { <-p.slots })
	if r := runCommand(t, p.tree.command("postfix", "-c", p.Config, "start")); r.Code != 0 {
		t.Fatalf("postfix start: exit code %d\n%s%s\n%s", r.Code, r.Stdout, r.Stderr, p.Log(t))
	}
	t.Cleanup(func() {
		if r := runCommand(t, p.tree.command("postfix", "-c", p.Config, "stop")); r.Code != 0 {
			t.Errorf("postfix stop: exit code %d\n%s", r.Code, r.Stderr)
		}
		if t.Failed() {
			t.Logf("Postfix's log:\n%s", p.Log(t))
		}
	})
}

// Version returns Postfix's version, such as "3.7.11".
func (p *Postfix) Version(t testing.TB) string {
	t.Helper()
	return strings.TrimSpace(runCommand(t, p.tree.command("postconf", "-c", p.Config, "-h", "mail_version")).Stdout)
}

// Postmap runs `postmap -q` with this key on a map such as "socketmap:inet:…".
func (p *Postfix) Postmap(t testing.TB, mapSpec, key string) Result {
	t.Helper()
	return runCommand(t, p.tree.command("postmap", "-c", p.Config, "-q", key, mapSpec))
}

// PostmapAll runs `postmap -q -` with these keys on a map and returns the values of those that it finds.
func (p *Postfix) PostmapAll(t testing.TB, mapSpec string, keys []string) (map[string]string, Result) {
	t.Helper()
	cmd := p.tree.command("postmap", "-c", p.Config, "-q", "-", mapSpec)
	cmd.Stdin = strings.NewReader(strings.Join(keys, "\n") + "\n")
	result := runCommand(t, cmd)
	values := make(map[string]string, len(keys))
	for line := range strings.Lines(result.Stdout) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		values[key] = value
	}
	return values, result
}

// Log returns Postfix's log so far.
func (p *Postfix) Log(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile(p.log)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return string(text)
}

// RemoteLog returns the log so far, with the addresses of remote hosts for those of the world's hosts: all of those are
// of this host, and a delivery to this host is none that stsmapd's commands count.
func (p *Postfix) RemoteLog(t testing.TB) string {
	t.Helper()
	return strings.ReplaceAll(p.Log(t), "[127.1.", "[198.18.")
}

// LogLines returns those lines of the log that contain all of these texts.
func (p *Postfix) LogLines(t testing.TB, texts ...string) []string {
	t.Helper()
	return linesWith(p.Log(t), texts)
}

// Send hands Postfix a mail from user@<route>.sender.test and returns its queue id.
func (p *Postfix) Send(t testing.TB, route Route, user, to string) string {
	t.Helper()
	id, err := submit(p.smtpd, user+"@"+string(route)+".sender.test", "", to)
	if err != nil {
		t.Fatalf("handing Postfix a mail for %s: %v", to, err)
	}
	return id
}

// SendAll hands Postfix one mail from user@<route>.sender.test for many recipients, at most 1000, and returns its queue
// id.
func (p *Postfix) SendAll(t testing.TB, route Route, user string, to []string) string {
	t.Helper()
	id, err := submit(p.smtpd, user+"@"+string(route)+".sender.test", "", to...)
	if err != nil {
		t.Fatalf("handing Postfix a mail for %d recipients: %v", len(to), err)
	}
	return id
}

// submit hands an SMTP server a mail and returns its queue id.
func submit(server netip.AddrPort, from, header string, to ...string) (string, error) {
	conn, err := net.DialTimeout("tcp", server.String(), Hang)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(Hang)); err != nil {
		return "", err
	}
	client, err := smtp.NewClient(conn, server.Addr().String())
	if err != nil {
		return "", err
	}
	if err := client.Mail(from); err != nil {
		return "", err
	}
	for _, to := range to {
		if err := client.Rcpt(to); err != nil {
			return "", err
		}
	}
	// net/smtp does not return the reply, which has the queue id.
	id, err := client.Text.Cmd("DATA")
	if err != nil {
		return "", err
	}
	client.Text.StartResponse(id)
	_, _, err = client.Text.ReadResponse(354)
	client.Text.EndResponse(id)
	if err != nil {
		return "", err
	}
	body := client.Text.DotWriter()
	message := bufio.NewWriter(body)
	fmt.Fprintf(message, "From: <%s>\r\nTo: <%s>\r\n%sSubject: test\r\n\r\nA test.\r\n", from, to[0], header)
	if err := message.Flush(); err != nil {
		return "", err
	}
	if err := body.Close(); err != nil {
		return "", err
	}
	_, text, err := client.Text.ReadResponse(250)
	if err != nil {
		return "", err
	}
	_, queueID, found := strings.Cut(text, "queued as ")
	if !found {
		return "", fmt.Errorf("no queue id in %q", text)
	}
	return queueID, client.Quit()
}

func writeFile(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// CollectorSocket returns the path of the socket to which Postfix sends its TLSRPT events, if PostfixConfig.Collector
// is set.
func (p *Postfix) CollectorSocket() string { return filepath.Join(p.Queue, collectorName) }

// Doctor runs `stsmapd postfix` as root on this Postfix. Files have the same paths in its tree as outside, so it is
// enough to run the tree's programs.
func (p *Postfix) Doctor(t testing.TB, w *World, args ...string) Result {
	t.Helper()
	args = append([]string{w.Binary, "postfix", "-c", p.Config}, args...)
	if p.ResolverConfig != "" {
		const script = `mount -t tmpfs tmpfs /usr/local/etc &&
			cp "$0" /usr/local/etc/mta-sts-daemon.yml && exec "$@"`
		args = append([]string{"unshare", "--mount", "sh", "-c", script, p.ResolverConfig}, args...)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = quickExit(nil)
	if p.tree != nil || p.NoCheck {
		cmd.Env = append(cmd.Env, "PATH="+p.programs(t)+":"+os.Getenv("PATH"))
	}
	return runCommand(t, cmd)
}

// programs returns a directory with the programs of Postfix that `stsmapd postfix` runs.
func (p *Postfix) programs(t testing.TB) string {
	dir := PublicDir(t)
	for _, name := range []string{"postconf", "postmap", "postfix", "sendmail"} {
		script := fmt.Sprintf("exec /usr/sbin/%s \"$@\"\n", name)
		if p.tree != nil {
			// Postfix's user may change the root only in a user namespace
			enter := fmt.Sprintf("chroot '%s' /usr/sbin/%s \"$@\"", p.tree.root, name)
			script = fmt.Sprintf("[ $(id -u) = 0 ] && exec %s\nexec unshare --map-root-user %s\n", enter, enter)
		}
		if name == "postfix" && p.NoCheck {
			script = "[ \"$3\" = check ] && exit\n" + script
		}
		WriteProgram(t, filepath.Join(dir, name), []byte("#!/bin/sh\n"+script))
	}
	return dir
}

// Postconf runs postconf on this Postfix and returns its output. It fails the test if postconf fails.
func (p *Postfix) Postconf(t testing.TB, args ...string) string {
	t.Helper()
	r := runCommand(t, p.tree.command("postconf", append([]string{"-c", p.Config}, args...)...))
	if r.Code != 0 {
		t.Fatalf("postconf %s: exit code %d\n%s", strings.Join(args, " "), r.Code, r.Stderr)
	}
	return r.Stdout
}

// Master replaces the SMTP clients of master.cf by these lines; the other services stay.
func (p *Postfix) Master(t testing.TB, clients string) {
	t.Helper()
	name := filepath.Join(p.Config, "master.cf")
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	others, _, found := strings.Cut(string(text), "smtp-inet ")
	if !found {
		t.Fatalf("no service smtp-inet in %s", name)
	}
	writeFile(t, name, others+clients)
}

// Reload makes Postfix read its configuration again.
func (p *Postfix) Reload(t testing.TB) {
	t.Helper()
	if r := runCommand(t, p.tree.command("postfix", "-c", p.Config, "reload")); r.Code != 0 {
		t.Fatalf("postfix reload: exit code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
}

// NoComplaint fails the test if Postfix's log has a complaint about stsmapd or its replies. Lines that contain one of
// the texts of but do not count.
func (p *Postfix) NoComplaint(t testing.TB, but ...string) {
	t.Helper()
	// On a busy machine the clock and that of the file systems may differ by milliseconds, of which Postfix warns.
	but = append(but, "warning: file system clock is", "warning: resetting file time stamps")
	for line := range strings.Lines(p.Log(t)) {
		if containsAny(line, "malformed", "invalid attribute", "Invalid", "warning:", "error:", "fatal:", "panic:") &&
			!containsAny(line, but...) {
			t.Errorf("Postfix complains: %s", strings.TrimSpace(line))
		}
	}
}

func containsAny(line string, texts ...string) bool {
	return slices.ContainsFunc(texts, func(text string) bool { return strings.Contains(line, text) })
}

// PublicDir makes a directory that every user may enter, such as Postfix's. Its path is short, because the path of a
// UNIX socket is limited.
func PublicDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) }) // Postfix may still write
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// SendRequireTLS hands Postfix 3.11 or later a mail that asks for REQUIRETLS, and returns its queue id. It asks by the
// header that Postfix has for content filters, for without TLS smtpd(8) takes no such option.
func (p *Postfix) SendRequireTLS(t testing.TB, route Route, user, to string) string {
	t.Helper()
	id, err := submit(p.smtpd, user+"@"+string(route)+".sender.test", "Require-TLS-ESMTP: yes\r\n", to)
	if err != nil {
		t.Fatalf("submitting a mail for %s to Postfix: %v", to, err)
	}
	return id
}

// Flush makes Postfix try to deliver all deferred mail now.
func (p *Postfix) Flush(t testing.TB) {
	t.Helper()
	p.administer(t, "postqueue", "-f")
}

// Delete removes a message from the queue.
func (p *Postfix) Delete(t testing.TB, queueID string) {
	t.Helper()
	p.administer(t, "postsuper", "-d", queueID)
}

// administer runs a command of this Postfix, which must succeed.
func (p *Postfix) administer(t testing.TB, program string, args ...string) {
	t.Helper()
	if r := runCommand(t, p.tree.command(program, append([]string{"-c", p.Config}, args...)...)); r.Code != 0 {
		t.Fatalf("%s %v: exit code %d\n%s", program, args, r.Code, r.Stderr)
	}
}
