package admin

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/history"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
)

func TestHome(t *testing.T) {
	until := time.Now().Add(30 * day)
	f := startWeb(t, []resolver.Override{
		{Domain: dnsname.MustParse("partner.test"), Below: true, Action: resolver.ActionIgnore, Until: until,
			Reason: "ticket 4711"}},
		dailyEntry(t, "good.test", "enforce", time.Hour, 30*day),
		dailyEntry(t, "trial.test", "testing", time.Hour, 30*day),
		withFailure(dailyEntry(t, "later.test", "enforce", 2*day, 20*day), "connection refused"),
		withFailure(dailyEntry(t, "sooner.test", "enforce", 2*day, 4*day), "certificate has expired"))
	f.reload.Err = errors.New("line 3: no")
	body := f.page("/")
	failing, rest, _ := strings.Cut(body, `<section id="policies"`)
	for _, text := range []string{
		"certificate has expired", "connection refused", "failing since", "1 policy expires soon",
		"was not reloaded", "line 3: no", "<h1>degraded</h1>"} {
		if !strings.Contains(failing, text) {
			t.Errorf("before the list of policies there is no %q:\n%s", text, failing)
		}
	}
	if s, l := strings.Index(failing, "/domain/sooner.test"),
		strings.Index(failing, "/domain/later.test"); s < 0 || l < s {
		t.Error("the policy that expires first is not the first of the failing ones")
	}
	for _, text := range []string{"/domain/good.test", "/domain/trial.test", ".partner.test", "ticket 4711"} {
		if !strings.Contains(rest, text) {
			t.Errorf("there is no %q:\n%s", text, rest)
		}
	}
	if strings.Contains(body, "<script") {
		t.Error("there is a script")
	}
}

func TestDomainPages(t *testing.T) {
	f := startWeb(t, []resolver.Override{
		{Domain: dnsname.MustParse("strict.test"), Action: resolver.ActionStrict, Reason: "trial"}},
		dailyEntry(t, "good.test", "enforce", time.Hour, 30*day),
		dailyEntry(t, "strict.test", "testing", time.Hour, 30*day),
		withFailure(dailyEntry(t, "ill.test", "enforce", 2*day, 4*day), "status 404"),
		dailyEntry(t, "over.test", "enforce", 3*day, 2*day),
		dailyEntry(t, "elsewhere.test", "enforce", time.Hour, 30*day),
		dailyEntry(t, "partly.test", "enforce", time.Hour, 30*day),
		dailyEntry(t, "gone.test", "enforce", time.Hour, 30*day),
		dailyEntry(t, "null.test", "enforce", time.Hour, 30*day), dailyEntry(t, "mute.test", "enforce", time.Hour,
			30*day))
	f.monitor.History.Add(history.Event{Kind: "mx_mismatch", Domain: "elsewhere.test", Text: "no MX host matches",
		Level: "WARN"})
	f.monitor.History.Add(history.Event{Kind: "policy_learnt", Domain: "good.test", Text: "policy learnt",
		Level: "INFO"})
	f.query("sts", "x.new.test")
	f.query("sts", "x.mute.test")
	f.query("sts", "absent.test")
	f.query("sts", "good.test")
	for _, c := range []struct {
		why, path string
		code      int
		has       []string
	}{
		{"a policy", "/domain/good.test", 200,
			[]string{"mx.good.test", "20260101", "30d", "OK secure match=mx.good.test servername=hostname",
				"policy_type=sts", "version: STSv1", "on disk and in memory", "not known without a lookup"}},
		{"mail that passes", "/domain/good.test", 200, []string{"Mail is delivered only by TLS", "in the policy",
			"policy learnt"}},
		{"no MX host in the policy", "/domain/elsewhere.test", 200,
			[]string{"Mail is deferred: the policy names no MX host of the domain (mail.provider.test)",
				"not in the policy", "an override can let the mail pass", "mx_mismatch", "no MX host matches"}},
		{"one of two in the policy", "/domain/partly.test", 200,
			[]string{"delivered only by TLS", "never delivered to mail.provider.test: not in the policy"}},
		{"no such domain", "/domain/gone.test", 200,
			[]string{"Mail is returned: the domain does not exist in the DNS"}},
		{"null MX", "/domain/null.test", 200, []string{"Mail is returned: the domain takes no mail"}},
		{"MX records that cannot be looked up", "/domain/mute.test", 200, []string{"MX records could not be looked " +
			"up"}},
		{"mode testing", "/domain/strict.test", 200, []string{"strict", "trial"}},
		{"spelt otherwise", "/domain/GOOD.test.", 200, []string{"mx.good.test"}},
		{"failing", "/domain/ill.test", 200, []string{"status 404", "4 in a row"}},
		{"expired", "/domain/over.test", 200, []string{"expired"}},
		{"an override", "/domain/strict.test", 200, []string{"strict", "trial", "OK secure match=mx.strict.test"}},
		{"fetch failed", "/domain/x.new.test", 200,
			[]string{"cannot be fetched", "404 &lt;b&gt;Not Found", "NOTFOUND"}},
		{"DNS failed", "/domain/x.mute.test", 200, []string{"does not say", "TEMP MTA-STS"}},
		{"no policy", "/domain/absent.test", 200, []string{"no MTA-STS policy", "NOTFOUND"}},
		{"nothing known", "/domain/unseen.test", 404, []string{"Nothing is known"}},
		{"no name", "/domain/not_a_domain", 400, []string{"Invalid domain"}},
		{"no page", "/admin", 404, []string{"No such page"}},
		{"a long name", "/domain/" + strings.Repeat("a", 5000), 400, []string{"Invalid domain"}},
	} {
		code, body, _ := f.get(c.path)
		if code != c.code {
			t.Errorf("%s: code %d, want %d", c.why, code, c.code)
		}
		for _, text := range c.has {
			if !strings.Contains(body, text) && !strings.Contains(pageText(body), text) {
				t.Errorf("%s: there is no %q in\n%s", c.why, text, body)
			}
		}
	}
}

func TestSearchAndPages(t *testing.T) {
	var all []resolver.Entry
	for i := range 120 {
		all = append(all, dailyEntry(t, fmt.Sprintf("d%03d.many.test", i), "enforce", time.Hour, 30*day))
	}
	all = append(all, dailyEntry(t, "xn--bcher-kva.example", "testing", time.Hour, 30*day),
		withFailure(dailyEntry(t, "ill.many.test", "enforce", time.Hour, 30*day), "no"))
	f := startWeb(t, nil, all...)
	link := regexp.MustCompile(`<td class="domain"><a href="/domain/([^"]+)"`)
	next := regexp.MustCompile(`<a href="(/policies\?[^"]+)">next page</a>`)
	walk := func(path string) (names []string, pages int) {
		for path != "" {
			body := f.page(path)
			for _, m := range link.FindAllStringSubmatch(body, -1) {
				names = append(names, m[1])
			}
			pages++
			m := next.FindStringSubmatch(body)
			path = ""
			if m != nil {
				path = html.UnescapeString(m[1])
			}
		}
		return names, pages
	}
	for _, c := range []struct {
		why, path    string
		names, pages int
	}{
		{"all", "/policies", 122, 3},
		{"a part of the name", "/policies?q=MANY", 121, 3},
		{"another", "/policies?q=d11", 10, 1},
		{"mode", "/policies?mode=testing", 1, 1},
		{"failing", "/policies?state=failing&q=many", 1, 1},
		{"in people's script", "/policies?q=" + url.QueryEscape("Bücher.example"), 1, 1},
		{"nothing", "/policies?q=%3Cscript%3E", 0, 1},
	} {
		names, pages := walk(c.path)
		if len(names) != c.names || pages != c.pages || !slices.IsSorted(names) ||
			len(slices.Compact(names)) != c.names {
			t.Errorf("%s: %d names on %d pages, want %d on %d: %v", c.why, len(names), pages, c.names, c.pages, names)
		}
	}
	home := f.page("/")
	if m := next.FindStringSubmatch(home); m == nil || len(link.FindAllString(home, -1)) != pageSize+1 {
		t.Errorf("the first page shows %d policies", len(link.FindAllString(home, -1)))
	}
	for _, q := range []string{strings.Repeat("a", 400), "\xff"} {
		if code, _, _ := f.get("/policies?q=" + url.QueryEscape(q)); code != http.StatusBadRequest {
			t.Errorf("%.10q: code %d", q, code)
		}
	}
}

// TestHostileData: what domains, policy hosts and searchers say stays text.
func TestHostileData(t *testing.T) {
	const evil = `"><script>alert(1)</script><img src=x onerror=alert(2)>'`
	e := dailyEntry(t, "evil.test", "enforce", 2*day, 4*day)
	p, err := mtasts.ParsePolicy(
		[]byte("version: STSv1\nmode: enforce\nmx: mx.evil.test\nmax_age: 345600\nnote: " + evil + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	e.Policy = p
	f := startWeb(t, []resolver.Override{
		{Domain: dnsname.MustParse("also.test"), Action: resolver.ActionIgnore, Reason: evil}}, withFailure(e, evil))
	f.monitor.History.Add(history.Event{Kind: evil, Domain: evil, Text: evil, Level: "WARN"})
	f.monitor.History.Add(history.Event{Kind: "x", Domain: "evil.test", Text: "a.b" + evil, Level: "INFO"})
	for _, path := range []string{
		"/", "/events", "/domain/evil.test", "/domain/also.test", "/policies?state=failing",
		"/policies?q=" + url.QueryEscape(evil),
		"/policies?after=" + url.QueryEscape(evil) + "&mode=" + url.QueryEscape(evil),
		"/domain/" + url.PathEscape(evil), "/" + url.PathEscape(evil)} {
		_, body, _ := f.get(path)
		doc, err := html.Parse(strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for n := range doc.Descendants() {
			if n.Type == html.ElementNode && (n.Data == "script" || n.Data == "img") {
				t.Errorf("%s: there is a <%s>:\n%s", path, n.Data, body)
			}
			for _, a := range n.Attr {
				if strings.HasPrefix(a.Key, "on") || strings.HasPrefix(a.Key, "style") ||
					strings.Contains(a.Val, "javascript:") {
					t.Errorf("%s: there is an attribute %s=%q", path, a.Key, a.Val)
				}
			}
		}
	}
}

// TestHeaders: nothing but GET, and nothing that a browser could be led to do.
func TestHeaders(t *testing.T) {
	f := startWeb(t, nil)
	for _, path := range []string{
		"/", "/metrics", "/healthz", "/readyz", "/style.css", "/nothing", "/domain/a.test", "/policies"} {
		code, _, h := f.get(path)
		csp := h.Get("Content-Security-Policy")
		if !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") ||
			h.Get("X-Content-Type-Options") != "nosniff" ||
			h.Get("Cache-Control") != "no-store" || h.Get("Content-Type") == "" {
			t.Errorf("%s: %d, headers %v", path, code, h)
		}
		for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT"} {
			r := httptest.NewRequest(method, path, strings.NewReader("x"))
			r.Host = "attacker.example"
			if w := f.serveDirect(r); w.Code != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: code %d", method, path, w.Code)
			}
		}
	}
	r, err := http.NewRequest(http.MethodGet, f.url+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Long", strings.Repeat("x", 2*maxHeader))
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a long header: code %d", answer.StatusCode)
	}
}
