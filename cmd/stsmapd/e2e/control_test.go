package e2e

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
)

// controlled is a stsmapd with a control socket, and the commands that ask it.
type controlled struct {
	t      *testing.T
	w      *world.World
	d      *world.Daemon
	socket string
}

func startControlled(t *testing.T, w *world.World, settings string) *controlled {
	t.Helper()
	dir := world.PublicDir(t)
	c := &controlled{t: t, w: w, socket: filepath.Join(dir, "run", "control.sock")}
	file := filepath.Join(dir, "stsmapd.toml")
	text := fmt.Sprintf("control = \"unix:%s\"\n%s\n[fetch]\nca_file = %q\nallow_private_addresses = true\n", c.socket,
		settings, w.CAFile)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	c.d = w.StartProcess(t, nil, "serve", "--config", file, "--state-dir", t.TempDir(), "--listen",
		"inet:"+net.JoinHostPort(w.Host().String(), "8461"))
	return c
}

// run runs a command, which must end with this code.
func (c *controlled) run(code int, args ...string) world.Result {
	c.t.Helper()
	got := c.w.Command(c.t, nil, append(args, "--control", "unix:"+c.socket)...)
	if got.Code != code {
		c.t.Errorf("stsmapd %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), got.Code, code, got.Stdout,
			got.Stderr)
	}
	return got
}

// says checks that a text says all of these.
func says(t *testing.T, why, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%s: does not say %q:\n%s", why, part, text)
		}
	}
}

// TestControl is an administrator's day: the policies of those to whom mail goes are learnt from Postfix's log, looked
// at, given to Postfix as a table, fetched again after a change, and forgotten.
func TestControl(t *testing.T) {
	w := world.Open(t)
	mailer := w.StartDaemon(t, world.DaemonConfig{})
	p := w.NewPostfix(t, world.PostfixConfig{Inet: mailer.Inet, Map: "postfix"})
	p.Start(t)
	enforced, tested, without, broken := w.Domain("enforced"), w.Domain("tested"), w.Domain("without"),
		w.Domain("broken")
	for _, d := range []*world.Domain{enforced, tested, without, broken} {
		d.AddMX(t)
		if got := p.Delivery(t, p.Send(t, world.ByInet, "warm", "user@"+d.Name)); got.Status != "sent" {
			t.Fatalf("mail for %s: %+v", d.Name, got)
		}
	}
	enforced.Publish(t, "1", world.Text("enforce", "mx1."+enforced.Name, "*."+enforced.Name))
	tested.Publish(t, "1", world.Text("testing", "mx1."+tested.Name))
	broken.Publish(t, "1", "")
	broken.Policy.Handle(http.NotFound)

	c := startControlled(t, w, "")
	c.warmFromLog(p.RemoteLog(t), broken.Name)
	if n := enforced.Policy.Requests(); n != 1 {
		t.Errorf("%d GETs for a policy that was warmed twice", n)
	}
	list := c.run(0, "cache", "list").Stdout
	says(t, "list", list, "\n"+enforced.Name+"  ", "  enforce  in 6d 23h  ", "\n"+tested.Name+"  ")
	if strings.Contains(list, without.Name) || strings.Contains(list, broken.Name) {
		t.Errorf("domains without a policy are listed:\n%s", list)
	}
	secure := fmt.Sprintf("secure match=mx1.%s:.%s servername=hostname", enforced.Name, enforced.Name)
	says(t, "show", c.run(0, "cache", "show", enforced.Name).Stdout, "\n  policy            enforce, live\n",
		secure+"\n", "\n  mode: enforce\n")
	says(t, "show without", c.run(0, "cache", "show", without.Name).Stdout, "the domain has no MTA-STS policy")
	says(t, "status", c.run(0, "status").Stdout, "policies in the store     2\n", "1 enforce, 1 testing")
	c.export(p, map[string]string{enforced.Name: secure, tested.Name: "", without.Name: ""})
	c.refresh(enforced, tested, broken)

	says(t, "forget", c.run(0, "cache", "forget", enforced.Name).Stdout, enforced.Name+": forgotten\n")
	says(t, "show forgotten", c.run(1, "cache", "show", enforced.Name).Stderr,
		enforced.Name+": nothing is known about this domain")
	gets := enforced.Policy.Requests()
	says(t, "warm by hand", c.run(0, "warm", c.file([]byte("user@"+enforced.Name+"\n"))).Stdout, "1 domain\n",
		"testing       1\n")
	if n := enforced.Policy.Requests() - gets; n != 1 {
		t.Errorf("%d GETs for a policy that was forgotten", n)
	}
}

// warmFromLog warms from Postfix's log, plain and packed: of four domains one enforces, one tests, one has no policy,
// and the policy of the broken one cannot be fetched.
func (c *controlled) warmFromLog(log, broken string) {
	c.t.Helper()
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	if _, err := z.Write([]byte(log)); err != nil {
		c.t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		c.t.Fatal(err)
	}
	for _, file := range []string{c.file([]byte(log)), c.file(zipped.Bytes())} {
		var sum struct {
			Domains  int
			Enforce  int
			Testing  int
			NoPolicy int `json:"no_policy"`
			Failed   []struct{ Domain, Outcome, Reason string }
		}
		got := c.run(1, "warm", "--json", "--maillog", file)
		if err := json.Unmarshal([]byte(got.Stdout), &sum); err != nil {
			c.t.Fatal(err)
		}
		if sum.Domains != 4 || sum.Enforce != 1 || sum.Testing != 1 || sum.NoPolicy != 1 || len(sum.Failed) != 1 ||
			sum.Failed[0].Domain != broken || sum.Failed[0].Outcome != "fetch_failed" ||
			!strings.Contains(sum.Failed[0].Reason, "404") {
			c.t.Errorf("warm from %s: %+v", file, sum)
		}
	}
}

// export gives Postfix the table, which must hold these values; "": no entry.
func (c *controlled) export(p *world.Postfix, values map[string]string) {
	c.t.Helper()
	table := filepath.Join(world.PublicDir(c.t), "mta-sts")
	if err := os.WriteFile(table, []byte(c.run(0, "cache", "export", "--postfix").Stdout), 0o644); err != nil {
		c.t.Fatal(err)
	}
	for domain, value := range values {
		want := world.Result{Code: 1}
		if value != "" {
			want = world.Result{Stdout: value + "\n"}
		}
		if got := p.Postmap(c.t, "texthash:"+table, domain); got != want {
			c.t.Errorf("postmap -q %s texthash: got %+v, want %+v", domain, got, want)
		}
	}
}

// refresh fetches a policy whose file changed under its id, one whose host is broken now, and one whose host was.
func (c *controlled) refresh(changed, breaks, mended *world.Domain) {
	c.t.Helper()
	changed.Policy.Serve(world.Text("testing", "mx9."+changed.Name))
	says(c.t, "refresh", c.run(0, "cache", "refresh", changed.Name).Stdout,
		changed.Name+": fetched: mode testing, id 1, expires in 6d 23h")
	says(c.t, "show refreshed", c.run(0, "cache", "show", changed.Name).Stdout, "testing, live", "mx9."+changed.Name,
		"no policy (testing)")
	breaks.Policy.Handle(http.NotFound)
	says(c.t, "refresh in vain", c.run(1, "cache", "refresh", breaks.Name).Stdout, breaks.Name+": not fetched: ", "404",
		"(mode testing) stays in force")
	says(c.t, "list --failing", c.run(0, "cache", "list", "--failing").Stdout, breaks.Name, "failing since", "404")
	mended.Policy.Serve(world.Text("enforce", "mx1."+mended.Name)) // in the backoff of the failed fetch
	says(c.t, "refresh mended", c.run(0, "cache", "refresh", mended.Name).Stdout, mended.Name+": fetched: mode enforce")
}

// file writes a file for a command.
func (c *controlled) file(text []byte) string {
	c.t.Helper()
	name := filepath.Join(c.t.TempDir(), "file")
	if err := os.WriteFile(name, text, 0o644); err != nil {
		c.t.Fatal(err)
	}
	return name
}

// TestControlGroup tests that only root and the members of control_group may use the control socket.
func TestControlGroup(t *testing.T) {
	t.Parallel()
	w := world.Open(t)
	const member, outsider, group = 65511, 65512, 65513
	c := startControlled(t, w, fmt.Sprintf("control_group = %q", fmt.Sprint(group)))
	binary := binaryFor(t, w, outsider)
	for _, u := range []struct {
		why  string
		uid  uint32
		gid  uint32
		code int
		says string
	}{
		{"a member", member, group, 0, ""},
		{"another user", outsider, outsider, 2,
			"permission denied: be root, or a member of the socket's group (setting control_group)\n"},
		{"root", 0, 0, 0, ""},
	} {
		cmd := exec.Command(binary, "status", "--control", "unix:"+c.socket)
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: u.uid, Gid: u.gid}}
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		err := cmd.Run()
		if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != u.code ||
			!strings.HasSuffix(stderr.String(), u.says) {
			t.Errorf("%s: %v: %s", u.why, err, &stderr)
		}
	}
	info, err := os.Stat(c.socket)
	if err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("the socket: %v, %v", info, err)
	}
}
