package monitor

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
)

// monitorPage has screens of the commands in it, which this test makes.
const monitorPage = "../../../../packaging/docs/monitor.md"

var update = flag.Bool("update", false, "write the screens of packaging/docs/monitor.md")

// TestMonitorPage: the screens of the page are what the commands print about mail that a real Postfix has delivered.
func TestMonitorPage(t *testing.T) {
	w := world.Open(t)
	control := "unix:" + filepath.Join(world.PublicDir(t), "control.sock")
	p, _ := start(t, w, world.PostfixConfig{Map: "sts"}, world.DaemonConfig{Control: control})
	deliverForPage(t, w, p)
	log := filepath.Join(t.TempDir(), "mail.log")
	if err := os.WriteFile(log, []byte(earlier(t, p.RemoteLog(t))), 0o644); err != nil {
		t.Fatal(err)
	}
	config := checkConfig(t, w)
	text, err := os.ReadFile(monitorPage)
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	for _, screen := range []struct {
		command string // as the page shows it
		args    []string
		code    int
	}{
		{"stsmapd check --maillog",
			[]string{"check", "--config", config, "--helo", "mta.sender.test", "--maillog", log}, 1},
		{"stsmapd deliveries", []string{"deliveries", "--control", control, "--maillog", log}, 1},
		{"stsmapd deliveries --domain bank.example",
			[]string{"deliveries", "--control", control, "--domain", "bank.example", "--maillog", log}, 0},
	} {
		r := w.Command(t, nil, screen.args...)
		if r.Code != screen.code || r.Stderr != "" {
			t.Errorf("%s: exit code %d\n%s%s", screen.command, r.Code, r.Stdout, r.Stderr)
		}
		page = withScreen(t, page, screen.command, timeless(r.Stdout))
	}
	switch {
	case page == string(text):
	case *update:
		if err := os.WriteFile(monitorPage, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("%s (-update writes it) would be\n%s", monitorPage, page)
	}
}

// deliverForPage has mail delivered to five domains: two that are well, one without a policy, one whose certificate has
// expired, and one that offers no STARTTLS until mail waits.
func deliverForPage(t *testing.T, w *world.World, p *world.Postfix) {
	t.Helper()
	domain := func(name string) *world.Domain { return w.DomainNamed(name + ".example") }
	send := func(to string) string {
		id := p.Send(t, world.ByInet, "user", to)
		p.Delivery(t, id)
		return id
	}
	good(t, domain("bank"))
	good(t, domain("shop"))
	domain("plain").AddPlainMX(t)
	partner := domain("partner")
	mx := good(t, partner)
	mx.SetCertificate(certificate(t)(w.CA.IssueExpired(mx.Name)))
	school := domain("school")
	school.AddPlainMX(t)
	school.Publish(t, "1", world.Text("enforce", "*."+school.Name))
	send("a@bank.example")
	send("b@bank.example")
	send("a@shop.example")
	send("a@plain.example")
	waiting := []string{send("a@partner.example"), send("b@partner.example")}
	later := send("a@school.example")

	school.AddMX(t)
	p.Flush(t)
	world.Eventually(t, world.Hang, "the mail for school.example", func() bool {
		return len(p.LogLines(t, " "+later+": to=<", "status=sent")) > 0
	})
	for _, id := range waiting {
		world.Eventually(t, world.Hang, "a second attempt", func() bool {
			return len(p.LogLines(t, " "+id+": to=<", "status=deferred")) > 1
		})
	}
}

// earlier is a log with all times moved back by a day and two hours and a half, so that how long ago it was does not
// depend on how long the test takes.
func earlier(t *testing.T, log string) string {
	t.Helper()
	const layout = "Jan _2 15:04:05"
	return regexp.MustCompile(`(?m)^\w{3} [ \d]\d \d\d:\d\d:\d\d`).ReplaceAllStringFunc(log, func(at string) string {
		parsed, err := time.Parse("2006 "+layout, fmt.Sprintf("%d %s", time.Now().Year(), at))
		if err != nil {
			t.Fatal(err)
		}
		return parsed.Add(-26*time.Hour - 30*time.Minute).Format(layout)
	})
}

// timeless is a screen with dates and times that are the same in each run.
func timeless(screen string) string {
	for _, r := range []struct{ find, replace string }{
		{`\d{4}-\d\d-\d\d \d\d:\d\d to \d{4}-\d\d-\d\d \d\d:\d\d UTC`, "2026-11-23 09:00 to 2026-11-23 17:30 UTC"},
		{`expired on \d{4}-\d\d-\d\d`, "expired on 2026-11-21"},
		{`until = \d{4}-\d\d-\d\d`, "until = 2026-12-24"},
		{`until \d{4}-\d\d-\d\d`, "until 2026-11-30"},
		{`domains in \d+[sm]`, "domains in 8h"},
	} {
		screen = regexp.MustCompile(r.find).ReplaceAllString(screen, r.replace)
	}
	return screen
}

// withScreen is a page with the block below a command replaced.
func withScreen(t *testing.T, page, command, screen string) string {
	t.Helper()
	begin := "    $ " + command + "\n"
	before, rest, ok := strings.Cut(page, begin)
	if !ok {
		t.Fatalf("%s shows no %q", monitorPage, command)
	}
	for { // the block that is there: lines that are indented or empty
		line, after, _ := strings.Cut(rest, "\n")
		if !strings.HasPrefix(line, "    ") && (line != "" || !strings.HasPrefix(after, "    ")) {
			break
		}
		rest = after
	}
	var block strings.Builder
	for line := range strings.Lines(screen) {
		block.WriteString(strings.TrimRight("    "+line, " \n") + "\n")
	}
	return before + begin + block.String() + rest
}
