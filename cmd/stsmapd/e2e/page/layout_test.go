package page

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	neturl "net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/history"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

//go:embed testdata/measure.js
var measureJS string

// measured is what measure.js found.
type measured struct {
	Width    int
	Dark     bool
	Words    int
	Checked  int // rules of axe-core that the page passes
	Problems []string
}

// startInstrument returns the URL of a server that passes on the daemon's pages with the scripts that measure them.
func startInstrument(t *testing.T, m world.Monitored, axe string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/measure.js":
			_, _ = io.WriteString(w, measureJS) // Chromium says what is missing
			return
		case "/axe.js":
			http.ServeFile(w, r, axe)
			return
		case "/narrow":
			fmt.Fprintf(w, `<!DOCTYPE html><html lang="en"><title>narrow</title><body style="margin: 0">`+
				`<iframe title="page" src="%s" width="%s" height="2400" style="border: 0"></iframe></body></html>`,
				html.EscapeString(r.URL.Query().Get("path")), html.EscapeString(r.URL.Query().Get("width")))
			return
		}
		answer, err := http.Get(m.URL(r.URL.RequestURI()))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		w.Header().Set("Content-Type", answer.Header.Get("Content-Type"))
		w.WriteHeader(answer.StatusCode)
		_, _ = io.WriteString(w, strings.Replace(string(body), "</body>",
			`<script src="/axe.js"></script><script src="/measure.js"></script></body>`, 1)) // as above
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// axeFile returns the path of axe-core's script, which packaging/tools/deps.sh gets from npm.
func axeFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(testkit.Cache(), "axe-core", "axe.min.js")
	if _, err := os.Stat(path); err != nil {
		testkit.Missing(t, "no axe-core: "+path)
	}
	return path
}

// manyPolicies returns policies as a large installation has them: most are well, and some have what fits nowhere.
func manyPolicies(t *testing.T, n int) []resolver.Entry {
	const day = 24 * time.Hour
	longest := strings.Repeat("a-label-of-sixty-three-characters-which-is-as-long-as-it-may-be.", 3) + "example.test"
	var all []resolver.Entry
	for i := range n {
		domain, mode, reason := fmt.Sprintf("company%06d.example.test", i), "enforce", ""
		age, maxAge := time.Duration(i%100)*time.Hour/5, 14*day
		switch {
		case i == 0:
			domain, reason = "bank.example.test", "fetch https://mta-sts.bank.example.test/.well-known/mta-sts.txt: "+
				"TLS "+
				"handshake with 192.0.2.17:443: x509: certificate has expired or is not yet valid: current time "+
				"2026-11-28T02:00:00Z is after 2026-11-01T00:00:00Z"
			age, maxAge = 4*day, 7*day
		case i == 1:
			domain, reason = longest, "fetch https://mta-sts."+longest+"/.well-known/mta-sts.txt: status 404"
		case i == 2:
			domain = "xn--" + strings.Repeat("a", 20) + "-kva.example.test"
		case i%50 == 3:
			reason = "connection refused"
		case i%10 == 4:
			mode = "testing"
		case i%40 == 5:
			mode, age, maxAge = "none", time.Hour, day
		case i%60 == 6:
			age, maxAge = 3*day, 2*day
		}
		all = append(all, world.FetchedPolicy(t, domain, mode, age, maxAge, reason))
	}
	return all
}

// pastDays makes a history of two weeks, and events.
func pastDays(t *testing.T, stateDir string, policies []resolver.Entry) {
	t.Helper()
	r := history.New()
	now := time.Now().UTC()
	if err := r.Open(filepath.Join(stateDir, "history.json"), now); err != nil {
		t.Fatal(err)
	}
	counters := history.Counts{}
	for hour := range 14 * 24 {
		busy := uint64(10 + hour%24*hour%7*20)
		for name, n := range map[string]uint64{"answer:enforce": busy, "answer:testing": busy / 10,
			"answer:no_policy": busy * 2, "answer:lookup_failed": busy / 50, "answer:fetch_failed": busy / 40,
			"lookup:announced": busy / 4, "lookup:no_record": busy, "lookup:dns_timeout": busy / 30,
			"fetch:ok": busy / 5, "fetch:certificate": busy / 60, "fetch:unreachable": busy / 90} {
			counters[name] += n
		}
		r.Sample(now.Add(time.Duration(hour-14*24+1)*time.Hour), counters)
	}
	for i, e := range policies[:min(40, len(policies))] {
		r.Add(history.Event{At: now.Add(time.Duration(i-100) * time.Minute), Kind: "policy_learnt",
			Domain: e.Domain.String(), Text: "policy learnt: mode enforce, id 20260110T120000, max age 336h0m0s, mx " +
				"[mx1." +
				e.Domain.String() + " *.mail." + e.Domain.String() + "]", Level: "INFO"})
	}
	r.Add(history.Event{At: now, Kind: "reload_failed", Level: "ERROR", Text: "configuration not reloaded: the old " +
		"settings stay in force: /etc/stsmapd/stsmapd.toml:12: timeout is \"3\", must be a duration such as 3s"})
	if err := r.Save(); err != nil {
		t.Fatal(err)
	}
}

// TestLayout lays out the pages at the widths of a phone, a tablet and a desktop, in light and dark: no name or word is
// broken, nothing lies over another thing or outside, and axe-core finds no violation.
func TestLayout(t *testing.T) {
	testkit.AllOnly(t, "the layout of the status page in a browser, and axe-core's rules")
	axe := axeFile(t)
	for _, policies := range []int{0, 200, 100_000} {
		t.Run(fmt.Sprint(policies), func(t *testing.T) {
			w := world.Open(t)
			b := newBrowser(t)
			state, entries := t.TempDir(), manyPolicies(t, policies)
			world.Remember(t, state, entries...)
			paths := map[string]string{"home": "/", "list": "/policies", "unavailable": "/unavailable",
				"events": "/events"}
			more := ""
			if policies > 0 {
				pastDays(t, state, entries)
				paths["domain"] = "/domain/bank.example.test"
				paths["longest"] = "/domain/" + entries[1].Domain.String()
				more = "[[override]]\ndomain = \".partner.example.test\"\naction = \"ignore\"\nuntil = 2099-01-31\n" +
					"reason = \"their firewall strips STARTTLS, ticket 4711\"\n"
			}
			m := w.StartMonitored(t, state, more)
			layOut(t, b, m, startInstrument(t, m, axe), fmt.Sprintf("status-%d", policies), paths)
		})
	}
}

// narrowest is the width of Chromium's narrowest window. A narrower page is in a frame.
const narrowest = 500

// layOut measures pages in every width and colour, and leaves pictures of them.
func layOut(t *testing.T, b browser, m world.Monitored, instrument, prefix string, paths map[string]string) {
	t.Helper()
	dir := artefacts(t)
	for name, path := range paths {
		for _, width := range []int{390, 820, 1280} {
			for i, colours := range []string{"dark", "light"} { // Blink's numbers for them
				where := fmt.Sprintf("%s-%s-%d-%s", prefix, name, width, colours)
				url := instrument + path
				if width < narrowest {
					url = instrument + "/narrow?" + neturl.Values{"path": {path}, "width": {fmt.Sprint(width)}}.Encode()
				}
				args := []string{fmt.Sprintf("--window-size=%d,%d", max(width, narrowest), 2400),
					fmt.Sprintf("--blink-settings=preferredColorScheme=%d", i)}
				dom := parsePage(t, b.run(url, append(args, "--dump-dom", "--virtual-time-budget=60000")...))
				var found measured
				if err := json.Unmarshal([]byte(dom.byID("result")), &found); err != nil {
					t.Fatalf("%s: nothing was measured: %v\n%s", where, err, dom.text)
				}
				if found.Width != width || found.Dark != (colours == "dark") || found.Words < 10 || found.Checked < 10 {
					t.Errorf("%s: the page was not measured as it should be: %+v", where, found)
				}
				for _, problem := range found.Problems {
					t.Errorf("%s: %s", where, problem)
				}
				if name != "home" && name != "domain" {
					continue
				}
				file := filepath.Join(dir, where+".png")
				if width >= narrowest {
					url = m.URL(path)
				}
				b.run(url, append(args, "--screenshot="+file)...)
				if info, err := os.Stat(file); err != nil || info.Size() < 3000 {
					t.Errorf("no picture: %v, %+v", err, info)
				}
			}
		}
	}
}
