package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
	"github.com/stsmapd/stsmapd/resolver/dnsclient/dnstest"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// bindingOf is the answer for a domain whose policy is found.
func bindingOf(d *world.Domain) string {
	return "OK secure match=mx1." + d.Name + " servername=hostname"
}

// lie is a way in which the DNS server answers the question for a domain's TXT record, and what Postfix must be told.
// The domain has a good policy, and its policy host serves it.
type lie struct {
	name string
	hook func(*world.Domain) dnstest.Hook
	want func(*world.Domain) string
}

func nothing(*world.Domain) string { return "NOTFOUND " }

// records answers with these in place of the domain's record; %s is the record's name.
func records(text string) func(*world.Domain) dnstest.Hook {
	return func(d *world.Domain) dnstest.Hook {
		return dnstest.Records(strings.ReplaceAll(text, "%s", d.RecordName()+"."))
	}
}

// before has the lie come first, and then the truth.
func before(h dnstest.Hook) func(*world.Domain) dnstest.Hook {
	return func(*world.Domain) dnstest.Hook {
		return func(q *dnstest.Query) {
			truth := q.Reply.Copy()
			q.Reply.Answer = dnstest.RRs(q.Name + `. 1 IN TXT "v=STSv1; id=forged;"` + "\n" + q.Name +
				`. 1 IN TXT "v=STSv1; id=again;"`)
			h(q)
			q.Reply = truth
			q.Send()
		}
	}
}

func only(h dnstest.Hook) func(*world.Domain) dnstest.Hook {
	return func(*world.Domain) dnstest.Hook { return h }
}

func lies() []lie {
	many := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format+"\n", i)
		}
		return b.String()
	}
	return []lie{
		{"another id first", before(dnstest.WrongID), bindingOf},
		{"another name first", before(dnstest.WrongName), bindingOf},
		{"another type first", before(dnstest.WrongType), bindingOf},
		{"a question first", before(dnstest.NotAResponse), bindingOf},
		{"records of other names beside",
			records(`%s 1 IN TXT "v=STSv1; id=1;"` + "\n" + `x.%s 1 IN TXT "v=STSv1; id=2;"` + "\n" +
				`example.com. 1 IN TXT "v=STSv1; id=3;"`), bindingOf},
		{"records of other names only", records(`x.%s 1 IN TXT "v=STSv1; id=2;"`), nothing},
		{"another class", records(`%s 1 CH TXT "v=STSv1; id=1;"`), nothing},
		{"a hundred other records",
			records(many(100, `%%s 1 IN TXT "verification=%d"`) + `%s 1 IN TXT "v=STSv1; id=1;"`), bindingOf},
		{"a hundred policies", records(many(100, `%%s 1 IN TXT "v=STSv1; id=%d;"`)), nothing},
		{"a record of 60,000 bytes",
			records(`%s 1 IN TXT "v=STSv1; id=1;` + strings.Repeat(strings.Repeat(" ", 200)+`" "`, 250) + `"`),
			bindingOf},
		{"an alias of itself", records(`%s 1 IN CNAME %s`), nothing},
		{"aliases in a circle", records("%s 1 IN CNAME a.%s\na.%s 1 IN CNAME b.%s\nb.%s 1 IN CNAME a.%s"), nothing},
		{"an alias without end", func(*world.Domain) dnstest.Hook {
			return func(q *dnstest.Query) {
				q.Reply.Answer, q.Reply.Ns, q.Reply.Rcode = dnstest.RRs(q.Name+". 1 IN CNAME x"+q.Name+"."), nil,
					dns.RcodeSuccess
				q.Send()
			}
		}, nothing},
		{"a referral", only(dnstest.Edit(
			func(m *dns.Msg) { m.Answer, m.Ns = nil, dnstest.RRs("example.test. NS ns.example.test.") })), nothing},
		{"NXDOMAIN with records", only(dnstest.Edit(func(m *dns.Msg) { m.Rcode = dns.RcodeNameError })), nothing},
		{"a record cut in half", only(dnstest.Raw(func(b []byte) []byte { return b[:len(b)-30] })), nothing},
		{"a name that points to itself", only(dnstest.Raw(func(b []byte) []byte {
			end := 12 + strings.IndexByte(string(b[12:]), 0) + 5
			copy(b[end:], []byte{0xc0 | byte(end>>8), byte(end)})
			return b
		})), nothing},
		{"truncated for ever", only(dnstest.Edit(func(m *dns.Msg) { m.Truncated = true })), nothing},
		{"nothing over TCP", only(func(q *dnstest.Query) {
			if q.Net == "tcp" {
				q.CloseConn()
				return
			}
			dnstest.Truncate(q)
		}), nothing},
	}
}

// TestHostileDNS tests that the answer is right and in time whatever the DNS says, and that the daemon keeps running
// and does not grow.
func TestHostileDNS(t *testing.T) {
	t.Parallel()
	w := world.Open(t)
	watch := testkit.StartWatch(t)
	daemon := w.StartDaemon(t, world.DaemonConfig{FetchTimeout: fetchTimeout})
	t.Run("lies", func(t *testing.T) {
		for _, l := range lies() {
			t.Run(l.name, func(t *testing.T) {
				t.Parallel()
				d := w.Domain("liar")
				d.Publish(t, "1", d.EnforcedText())
				w.DNS.On(d.RecordName(), dns.TypeTXT, l.hook(d))
				begin := time.Now()
				if got, want := daemon.Ask(t, "postfix", d.Name), l.want(d); got != want {
					t.Errorf("got %q, want %q", got, want)
				}
				const quiet = 9*time.Second + hostileLimit // three attempts of 3 s
				if took, limit := time.Since(begin), watch.Limit(quiet); took > limit {
					t.Errorf("the answer took %v, may take %v", took, limit)
				}
			})
		}
	})
	d := w.Domain("good")
	d.Publish(t, "1", d.EnforcedText())
	if got, want := daemon.Ask(t, "postfix", d.Name), bindingOf(d); got != want {
		t.Errorf("after all this a good domain is answered %q, want %q", got, want)
	}
	wantSmall(t, daemon)
}

// wantSmall fails the test if the daemon has ever been larger than a small daemon is, or holds more than a few files.
func wantSmall(t *testing.T, daemon *world.Daemon) {
	t.Helper()
	const (
		mostMemory = 256 << 10 // KiB; the race detector multiplies what the daemon needs
		mostFiles  = 60
	)
	folder := procFolder(t, daemon)
	status, err := os.ReadFile(folder + "/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	peak, err := strconv.Atoi(strings.Fields(rest + " ?")[0])
	if err != nil || peak > mostMemory {
		t.Errorf("the daemon took up to %d KiB of memory (%v), may take %d", peak, err, mostMemory)
	}
	open := 0
	few := func() bool {
		files, err := os.ReadDir(folder + "/fd")
		open = len(files)
		return err == nil && open <= mostFiles
	}
	if !world.Poll(world.Hang, few) {
		t.Errorf("the daemon holds %d files after all is over, may hold %d", open, mostFiles)
	}
	t.Logf("at most %d KiB of memory, %d files now", peak, open)
}

// procFolder finds the daemon in /proc, which is that of the namespace outside: its number there is another.
func procFolder(t *testing.T, daemon *world.Daemon) string {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range lines {
		text, err := os.ReadFile(line)
		if err == nil && strings.Contains(string(text), "inet:"+daemon.Inet.String()+"\x00") &&
			strings.Contains(string(text), daemon.StateDir+"\x00") {
			return filepath.Dir(line)
		}
	}
	t.Fatal("the daemon is not in /proc")
	return ""
}
