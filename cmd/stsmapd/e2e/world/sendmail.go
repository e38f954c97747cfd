package world

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Sendmail is Debian 13's Sendmail with a queue and a configuration of its own. No daemon runs: each mail is delivered,
// or put into the queue, by the process that takes it.
type Sendmail struct {
	tree   *Tree
	config string // sendmail.cf
	queue  string
}

// sendmailMC is the configuration but for what a test adds. On a busy machine too, mail is delivered at once.
const sendmailMC = `divert(-1)
divert(0)dnl
include(` + "`/usr/share/sendmail/cf/m4/cf.m4'" + `)dnl
OSTYPE(linux)dnl
define(` + "`confDOMAIN_NAME', `sender.test'" + `)dnl
define(` + "`QUEUE_DIR', `%[1]s/queue'" + `)dnl
define(` + "`STATUS_FILE', `%[1]s/statistics'" + `)dnl
define(` + "`confPID_FILE', `%[1]s/pid'" + `)dnl
define(` + "`HELP_FILE', `'" + `)dnl
define(` + "`ALIAS_FILE', `'" + `)dnl
define(` + "`confQUEUE_LA', `1000000'" + `)dnl
define(` + "`confREFUSE_LA', `1000000'" + `)dnl
%[2]s
MAILER(smtp)dnl
`

// NewSendmail makes the configuration of a Sendmail. lines are added to its .mc file.
func (w *World) NewSendmail(t testing.TB, lines string) *Sendmail {
	t.Helper()
	dir := PublicDir(t)
	s := &Sendmail{tree: w.Tree(t, TrixieSendmail, w.Resolver()), config: filepath.Join(dir, "sendmail.cf"),
		queue: filepath.Join(dir, "queue")}
	if err := os.Mkdir(s.queue, 0o700); err != nil {
		t.Fatal(err)
	}
	mc := filepath.Join(dir, "sendmail.mc")
	writeFile(t, mc, fmt.Sprintf(sendmailMC, dir, lines))
	m4 := s.tree.command("m4", mc)
	m4.Path = "/usr/bin/m4"
	made := runCommand(t, m4)
	if made.Code != 0 || made.Stdout == "" {
		t.Fatalf("m4 %s: exit code %d\n%s", mc, made.Code, made.Stderr)
	}
	writeFile(t, s.config, made.Stdout)
	return s
}

// Shell runs a line of shell where this Sendmail is installed, and returns what it prints.
func (s *Sendmail) Shell(t testing.TB, line string) string {
	t.Helper()
	sh := s.tree.command("sh", "-c", line)
	sh.Path, sh.Env = "/bin/sh", []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	return runCommand(t, sh).Stdout
}

// Deliver hands Sendmail a mail, which it tries to deliver at once, and returns what it says of the delivery, with
// "Sent" or "Deferred" in it, with what its queue has of mail to this recipient, such as the reason why it waits.
func (s *Sendmail) Deliver(t testing.TB, to string) string {
	t.Helper()
	cmd := s.tree.command("sendmail", "-C", s.config, "-Am", "-i", "-v", "-odi", "-f", "user@sender.test", to)
	cmd.Stdin = strings.NewReader("From: <user@sender.test>\nTo: <" + to + ">\nSubject: test\n\nA test.\n")
	delivery := runCommand(t, cmd)
	said := delivery.Stdout + delivery.Stderr
	waiting, err := filepath.Glob(filepath.Join(s.queue, "qf*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range waiting {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), to) {
			said += string(text)
		}
	}
	return said
}
