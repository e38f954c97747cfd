package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/stsmapd/stsmapd/cache/store"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// monitored is a daemon with its HTTP listener.
type monitored struct {
	*world.Daemon
	metrics netip.AddrPort
}

// startMonitored starts a daemon with the setting `metrics`, and with more settings, on a state directory.
func startMonitored(t *testing.T, w *world.World, stateDir, more string) monitored {
	t.Helper()
	host := w.Host()
	m := monitored{metrics: netip.AddrPortFrom(host, 9461)}
	file := filepath.Join(t.TempDir(), "stsmapd.toml")
	text := fmt.Sprintf("metrics = %q\ncontrol = \"\"\n%s[fetch]\nca_file = %q\nallow_private_addresses = true\n",
		m.metrics, more, w.CAFile)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	inet := netip.AddrPortFrom(host, 8461)
	m.Daemon = w.StartProcess(t, nil, "serve", "--config", file, "--state-dir", stateDir, "--listen",
		"inet:"+inet.String())
	m.Inet = inet
	return m
}

func (m monitored) url(path string) string { return "http://" + m.metrics.String() + path }

// get fetches a page, which must be there.
func (m monitored) get(t *testing.T, path string) string {
	t.Helper()
	r, err := http.Get(m.url(path))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s, %v\n%s", path, r.Status, err, body)
	}
	return string(body)
}

// remembered writes policies into a store before a daemon opens it.
func remembered(t *testing.T, stateDir string, entries ...resolver.Entry) {
	t.Helper()
	store, err := store.Open(filepath.Join(stateDir, "policies.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := store.Put(context.Background(), e); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
}

// fetchedPolicy is a policy that was fetched some time ago; with a reason, its fetches have been failing since an hour
// after.
func fetchedPolicy(t *testing.T, domain, mode string, age, maxAge time.Duration, reason string) resolver.Entry {
	t.Helper()
	text := fmt.Sprintf("version: STSv1\nmode: %s\nmx: mx1.%s\nmx: *.mail.%s\nmax_age: %d\n", mode, domain, domain,
		maxAge/time.Second)
	p, err := mtasts.ParsePolicy([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now().UTC().Add(-age).Truncate(time.Second)
	e := resolver.Entry{Domain: dnsname.MustParse(domain), ID: "20260110T120000", Policy: p, Fetched: at, Checked: at,
		Used: at.Add(age / 2)}
	if reason != "" {
		e.Failures = resolver.FetchFailures{
			Count: 9, ID: "20260201", Since: at.Add(time.Hour),
			RetryAt: time.Now().UTC().Add(50 * time.Minute).Truncate(time.Second), Reason: reason}
	}
	return e
}

// browser starts a Chromium for each page. It reaches only the network of this namespace.
type browser struct {
	t       *testing.T
	program string
	profile string
}

func newBrowser(t *testing.T) browser {
	t.Helper()
	return browser{t, world.Program(t, "chromium"), t.TempDir()}
}

// run shows a page and returns what Chromium printed.
func (b browser) run(url string, args ...string) string {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), world.Hang)
	defer cancel()
	fixed := []string{"--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
		"--disable-component-update",
		"--disable-sync", "--no-first-run", "--disable-dev-shm-usage", "--disable-extensions", "--no-proxy-server",
		"--hide-scrollbars",
		"--user-data-dir=" + b.profile}
	cmd := exec.CommandContext(ctx, b.program, append(slices.Concat(fixed, args), url)...)
	cmd.Env = append(os.Environ(), "HOME="+b.profile, "XDG_CONFIG_HOME="+b.profile, "XDG_CACHE_HOME="+b.profile,
		"XDG_RUNTIME_DIR="+b.profile,
		"DBUS_SESSION_BUS_ADDRESS=disabled:")
	var messages strings.Builder
	cmd.Stderr = &messages
	out, err := cmd.Output()
	if err != nil {
		b.t.Fatalf("chromium %s: %v\n%s", url, err, &messages)
	}
	return string(out)
}

// artefacts is where pictures of the pages go, for people to look at. It is no part of the repository.
func artefacts(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../../../build/artefacts")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestStatusPage looks at the status page with a real browser.
func TestStatusPage(t *testing.T) {
	testkit.AllOnly(t, "the status page in a browser")
	t.Parallel()
	w := world.Open(t)
	b := newBrowser(t)
	const day = 24 * time.Hour
	state := t.TempDir()
	entries := []resolver.Entry{
		fetchedPolicy(t, "bank.example.test", "enforce", 4*day, 7*day,
			`fetch https://mta-sts.bank.example.test/.well-known/mta-sts.txt: TLS handshake with 192.0.2.17:443: x509: certificate has expired`),
		fetchedPolicy(t, "a-rather-long-name-of-a-department.of-a-university.example.test", "enforce", 2*day, 30*day,
			"status 404 Not Found"),
		fetchedPolicy(t, "trial.example.test", "testing", 3*time.Hour, day, ""),
		fetchedPolicy(t, "gone.example.test", "none", 3*time.Hour, day, ""),
		fetchedPolicy(t, "over.example.test", "enforce", 3*day, 2*day, ""),
	}
	for i := range 60 {
		entries = append(entries,
			fetchedPolicy(t, fmt.Sprintf("company%02d.example.test", i), "enforce", time.Duration(i)*time.Hour/3,
				14*day, ""))
	}
	remembered(t, state, entries...)
	m := startMonitored(t, w, state,
		"[[override]]\ndomain = \".partner.example.test\"\naction = \"ignore\"\nuntil = 2099-01-31\nreason = \"their "+
			"firewall strips STARTTLS, ticket 4711\"\n")
	m.Ask(t, "sts", "company01.example.test")
	m.Ask(t, "sts", "absent.example.test")

	home := parsePage(t, b.run(m.url("/"), "--dump-dom"))
	if got := home.texts("#failing a"); !slices.Equal(got,
		[]string{"bank.example.test", "a-rather-long-name…sity.example.test"}) {
		t.Errorf("failing: %q", got)
	}
	if home.title != "stsmapd" || len(home.texts("#policies a")) != 51 || len(home.texts("#overrides a")) != 0 {
		t.Errorf("title %q, policies %q", home.title, home.texts("#policies a"))
	}
	found := parsePage(t, b.run(m.url("/policies?q=BANK"), "--dump-dom"))
	if got := found.links; !slices.Contains(got, "/domain/bank.example.test") ||
		slices.Contains(got, "/domain/trial.example.test") {
		t.Errorf("search: links %q", got)
	}
	one := parsePage(t, b.run(m.url("/domain/bank.example.test"), "--dump-dom"))
	for _, text := range []string{
		"certificate has expired", "9 in a row", "mx1.bank.example.test", "version: STSv1", "OK secure match="} {
		if !strings.Contains(one.text, text) {
			t.Errorf("the domain's page does not say %q:\n%s", text, one.text)
		}
	}
	dir := artefacts(t)
	for _, p := range []struct{ name, path string }{{"home", "/"}, {"domain", "/domain/bank.example.test"}} {
		for _, s := range []struct{ name, size string }{{"phone", "390,844"}, {"desktop", "1280,900"}} {
			for i, colours := range []string{"dark", "light"} { // Blink's numbers for them
				file := filepath.Join(dir, fmt.Sprintf("status-%s-%s-%s.png", p.name, s.name, colours))
				b.run(m.url(p.path), "--screenshot="+file, "--window-size="+s.size,
					fmt.Sprintf("--blink-settings=preferredColorScheme=%d", i))
				if info, err := os.Stat(file); err != nil || info.Size() < 5000 {
					t.Errorf("no picture: %v, %+v", err, info)
				}
			}
		}
	}
}

// page is what a browser shows.
type page struct {
	title, text string
	links       []string
	doc         *html.Node
}

func parsePage(t *testing.T, source string) page {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(source))
	if err != nil {
		t.Fatal(err)
	}
	p := page{doc: doc, text: textOf(doc)}
	for n := range doc.Descendants() {
		switch {
		case n.Type == html.ElementNode && n.Data == "title":
			p.title = textOf(n)
		case n.Type == html.ElementNode && n.Data == "a":
			p.links = append(p.links, attribute(n, "href"))
		}
	}
	return p
}

// texts are those of the elements "tag" below the element with an id: "#id tag".
func (p page) texts(path string) (found []string) {
	id, tag, _ := strings.Cut(strings.TrimPrefix(path, "#"), " ")
	for n := range p.doc.Descendants() {
		if n.Type != html.ElementNode || attribute(n, "id") != id {
			continue
		}
		for inner := range n.Descendants() {
			if inner.Type == html.ElementNode && inner.Data == tag {
				found = append(found, textOf(inner))
			}
		}
	}
	return found
}

func textOf(n *html.Node) string {
	var b strings.Builder
	for inner := range n.Descendants() {
		if inner.Type == html.TextNode {
			b.WriteString(inner.Data)
		}
	}
	return strings.TrimSpace(b.String())
}

func attribute(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}
