// Package page looks at the status page with a real browser.
package page

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

func TestMain(m *testing.M) { os.Exit(world.Main(m)) }

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
	dir, err := filepath.Abs("../../../../build/artefacts")
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
		world.FetchedPolicy(t, "bank.example.test", "enforce", 4*day, 7*day,
			`fetch https://mta-sts.bank.example.test/.well-known/mta-sts.txt: TLS handshake with 192.0.2.17:443: x509: certificate has expired`),
		world.FetchedPolicy(t, "a-rather-long-name-of-a-department.of-a-university.example.test", "enforce", 2*day,
			30*day,
			"status 404 Not Found"),
		world.FetchedPolicy(t, "trial.example.test", "testing", 3*time.Hour, day, ""),
		world.FetchedPolicy(t, "gone.example.test", "none", 3*time.Hour, day, ""),
		world.FetchedPolicy(t, "over.example.test", "enforce", 3*day, 2*day, ""),
	}
	for i := range 60 {
		entries = append(entries,
			world.FetchedPolicy(t, fmt.Sprintf("company%02d.example.test", i), "enforce", time.Duration(i)*time.Hour/3,
				14*day, ""))
	}
	world.Remember(t, state, entries...)
	m := w.StartMonitored(t, state,
		"[[override]]\ndomain = \".partner.example.test\"\naction = \"ignore\"\nuntil = 2099-01-31\nreason = \"their "+
			"firewall strips STARTTLS, ticket 4711\"\n")
	m.Ask(t, "sts", "company01.example.test")
	m.Ask(t, "sts", "absent.example.test")

	home := parsePage(t, b.run(m.URL("/"), "--dump-dom"))
	if got := home.texts("#failing a"); !slices.Equal(got,
		[]string{"bank.example.test", "a-rather-long-na…ty.example.test"}) {
		t.Errorf("failing: %q", got)
	}
	if home.title != "stsmapd" || len(home.texts("#policies a")) != 51 || len(home.texts("#overrides a")) != 0 {
		t.Errorf("title %q, policies %q", home.title, home.texts("#policies a"))
	}
	found := parsePage(t, b.run(m.URL("/policies?q=BANK"), "--dump-dom"))
	if got := found.links; !slices.Contains(got, "/domain/bank.example.test") ||
		slices.Contains(got, "/domain/trial.example.test") {
		t.Errorf("search: links %q", got)
	}
	one := parsePage(t, b.run(m.URL("/domain/bank.example.test"), "--dump-dom"))
	for _, text := range []string{
		"certificate has expired", "9 in a row", "mx1.bank.example.test", "version: STSv1", "OK secure match="} {
		if !strings.Contains(one.text, text) {
			t.Errorf("the domain's page does not say %q:\n%s", text, one.text)
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

// byID returns the text of the element with an id, "" if there is none.
func (p page) byID(id string) string {
	for n := range p.doc.Descendants() {
		if n.Type == html.ElementNode && attribute(n, "id") == id {
			return textOf(n)
		}
	}
	return ""
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
