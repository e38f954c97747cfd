package admin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsclient/dnstest"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/testkit"
	"github.com/stsmapd/stsmapd/socketmap"
)

const day = 24 * time.Hour

func name(domain string) dnsname.Name { return dnsname.MustParse(domain) }

// wantCode checks that an error is the daemon's, with this code, and names these texts.
func wantCode(t *testing.T, why string, err error, code int, texts ...string) {
	t.Helper()
	var said *Error
	if !errors.As(err, &said) || said.Code != code {
		t.Errorf("%s: %v, want an error of code %d", why, err, code)
		return
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %q does not say %q", why, err, text)
		}
	}
}

// TestLifeOfAPolicy learns, shows, refreshes and forgets a policy through the socket.
func TestLifeOfAPolicy(t *testing.T) {
	d := start(t)
	ctx := t.Context()
	d.publish("example.org", "1", file("enforce", "mx.example.org", 7*day))
	_, err := d.client.Show(ctx, name("example.org"))
	wantCode(t, "show before", err, 404, "example.org")

	warmed, err := d.client.Warm(ctx, name("example.org"))
	if err != nil || warmed.Outcome != "enforce" || warmed.Domain != "example.org" || warmed.Reason != "" {
		t.Errorf("warm: %+v, %v", warmed, err)
	}
	shown, err := d.client.Show(ctx, name("example.org"))
	if err != nil || shown.Policy == nil || shown.Negative != nil {
		t.Fatalf("show: %+v, %v", shown, err)
	}
	p := shown.Policy
	if !p.Live || !p.InMemory || p.Mode != "enforce" || p.ID != "1" || p.MaxAge != int64(7*day/time.Second) ||
		len(p.MX) != 1 ||
		p.MX[0] != "mx.example.org" || p.Expires.Sub(p.Fetched) != 7*day || p.Text == "" || p.NextRefresh.IsZero() ||
		p.Used.IsZero() {
		t.Errorf("show: %+v", p)
	}
	answers := map[string]string{}
	for _, a := range shown.Answers {
		answers[a.Map] = strings.TrimSpace(a.Outcome + " " + a.Status + " " + a.Data)
	}
	secure := "enforce OK secure match=mx.example.org servername=hostname"
	if answers["sts"] != secure || answers["sts+nosni"] != "enforce OK secure match=mx.example.org" ||
		answers["sts+dane"] != "" ||
		!strings.HasPrefix(answers["sts+tlsrpt"], secure+" policy_type=sts policy_domain=example.org") ||
		len(answers) != 7 {
		t.Errorf("answers: %q", answers)
	}

	d.publish("example.org", "1", file("testing", "*.example.org", 7*day))
	refreshed, err := d.client.Refresh(ctx, name("example.org"))
	if err != nil || refreshed.Outcome != "testing" || refreshed.Error != "" ||
		refreshed.Policy.MX[0] != "*.example.org" {
		t.Errorf("refresh: %+v, %v", refreshed, err)
	}
	d.publish("example.org", "2", "nonsense")
	refreshed, err = d.client.Refresh(ctx, name("example.org"))
	if err != nil || refreshed.Outcome != "testing" || !strings.Contains(refreshed.Error, "no colon") ||
		refreshed.Policy == nil ||
		refreshed.Policy.FetchFailures == nil || refreshed.Policy.FetchFailures.Count != 1 {
		t.Errorf("refresh that fails: %+v, %v", refreshed, err)
	}

	if f, err := d.client.Forget(ctx, name("example.org")); err != nil || !f.Forgotten {
		t.Error(f, err)
	}
	_, err = d.client.Forget(ctx, name("example.org"))
	wantCode(t, "forget again", err, 404, "example.org")
	_, err = d.client.Show(ctx, name("example.org"))
	wantCode(t, "show after", err, 404, "example.org")
}

// TestOutcomes: what warm and refresh say of domains without a policy, and show afterwards.
func TestOutcomes(t *testing.T) {
	d := start(t)
	d.publish("unfetched.example", "1", "")
	d.hosts.serve("unfetched.example", "version: STSv2\n")
	d.dns.On("_mta-sts.mute.example", dns.TypeTXT, dnstest.ServFail)
	for _, c := range []struct{ domain, warm, refresh, shown, reason string }{
		{"none.example", "no_policy", "no_policy", "no_policy", ""},
		{"mute.example", "lookup_failed", "lookup_failed", "lookup_failed", "SERVFAIL"},
		{"unfetched.example", "fetch_failed", "fetch_failed", "fetch_failed", "STSv2"},
		{"ignored.example", "ignored", "no_policy", "no_policy", ""},
		{"x.partner.example", "enforce", "no_policy", "no_policy", ""},
	} {
		w, err := d.client.Warm(t.Context(), name(c.domain))
		if err != nil || w.Outcome != c.warm || !strings.Contains(w.Reason, c.reason) {
			t.Errorf("warm %s: %+v, %v", c.domain, w, err)
		}
		r, err := d.client.Refresh(t.Context(), name(c.domain))
		if err != nil || r.Outcome != c.refresh || !strings.Contains(r.Error, c.reason) || r.Policy != nil {
			t.Errorf("refresh %s: %+v, %v", c.domain, r, err)
		}
		s, err := d.client.Show(t.Context(), name(c.domain))
		if err != nil || s.Negative == nil || s.Negative.Outcome != c.shown ||
			!strings.Contains(s.Negative.Reason, c.reason) {
			t.Errorf("show %s: %+v, %v", c.domain, s, err)
			continue
		}
		if s.Answers[0].Outcome != c.warm {
			t.Errorf("show %s: would be answered %+v, want as before: %s", c.domain, s.Answers[0], c.warm)
		}
		if got := s.Override != nil; got != (c.warm != c.refresh) {
			t.Errorf("show %s: override %+v", c.domain, s.Override)
		}
	}
	over, err := d.client.Show(t.Context(), name("y.partner.example"))
	if err != nil || over.Override == nil || over.Override.Domain != ".partner.example" ||
		over.Answers[0].Status != "OK" {
		t.Errorf("a domain of which only an override is known: %+v, %v", over, err)
	}
	var all []string
	for o, err := range d.client.Overrides(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, fmt.Sprintf("%s %s %v", o.Domain, o.Action,
			o.Answer != nil && o.Answer.Data == "secure match=mail.partner.example servername=hostname"))
	}
	if got := strings.Join(all, ", "); got != ".partner.example enforce true, ignored.example ignore false" {
		t.Errorf("overrides: %s", got)
	}
}

// TestBadRequests: what is wrong is said, and nothing else happens.
func TestBadRequests(t *testing.T) {
	d := start(t)
	long := strings.Repeat("a.", 600) + "example"
	post := func(body string) string {
		return fmt.Sprintf("POST /v1/warm HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s",
			len(body), body)
	}
	line := func(line string) string { return line + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" }
	for _, c := range []struct{ why, request, code, says string }{
		{"no such path", line("GET /v2/status"), "404", "have the same version"},
		{"no such method", line("PATCH /v1/status"), "404", "PATCH"},
		{"no host name", line("GET /v1/policies/under_score.example"), "400", "under_score.example"},
		{"an address", line("GET /v1/policies/192.0.2.1"), "400", "192.0.2.1"},
		{"one label", line("DELETE /v1/policies/localhost"), "400", "only one label"},
		{"too long", line("POST /v1/policies/" + long + "/refresh"), "400", "bytes long"},
		{"control characters", line("GET /v1/policies/a%0d%0ab.example"), "400", "no host name"},
		{"no number", line("GET /v1/policies?limit=many"), "400", `limit`},
		{"a negative one", line("GET /v1/policies?limit=-1"), "400", `limit`},
		{"no mode", line("GET /v1/policies?mode=strict"), "400", "strict"},
		{"no duration", line("GET /v1/policies?expiring=soon"), "400", "soon"},
		{"an empty duration", line("GET /v1/policies?expiring=0s"), "400", "expiring"},
		{"no key", line("GET /v1/policies?sort=colour"), "400", "colour"},
		{"neither true nor false", line("GET /v1/policies?failing=perhaps"), "400", "perhaps"},
		{"no parameter", line("GET /v1/policies?colour=red"), "400", "colour"},
		{"twice", line("GET /v1/policies?limit=1&limit=2"), "400", "more than once"},
		{"no body", post(""), "400", "example.org"},
		{"no JSON", post("example.org"), "400", "example.org"},
		{"an unknown key", post(`{"domain":"example.org","force":true}`), "400", "force"},
		{"two objects", post(`{"domain":"example.org"}{"domain":"example.net"}`), "400", "more than one JSON value"},
		{"no domain", post(`{}`), "400", "it is empty"},
		{"an address with user", post(`{"domain":"me@example.org"}`), "400", "me@example.org"},
		{"a body without end", post(`{"domain":"` + strings.Repeat("x", 1<<20) + `"}`), "400", "too large"},
		{"a head without end", "GET /v1/status HTTP/1.1\r\nX: " + strings.Repeat("x", 1<<20) + "\r\n\r\n", "431", ""},
		{"no HTTP", "15:sts example.com,\r\n\r\n", "400", ""},
	} {
		got := d.raw(c.request)
		head, body, _ := strings.Cut(got, "\r\n\r\n")
		if !strings.HasPrefix(head, "HTTP/1.1 "+c.code+" ") || !strings.Contains(body, c.says) {
			t.Errorf("%s: %q, want status %s and %q", c.why, got, c.code, c.says)
		}
		if c.says != "" && (!strings.Contains(head, "application/json") || !strings.Contains(body, `"error":`)) {
			t.Errorf("%s: %q, want an Error", c.why, got)
		}
	}
	if n := d.dns.Total(); n != 0 {
		t.Errorf("%d DNS questions for requests that are wrong", n)
	}
}

func TestStatus(t *testing.T) {
	d := start(t, entry(t, "a.example", "enforce", time.Hour, 7*day),
		entry(t, "b.example", "testing", time.Hour, 7*day))
	for _, domain := range []string{"a.example", "none.example"} {
		if _, err := d.client.Warm(t.Context(), name(domain)); err != nil {
			t.Fatal(err)
		}
	}
	s, err := d.client.Status(t.Context())
	if err != nil || s.Stored != 2 || s.NoPolicy != 1 ||
		s.Policies == nil || s.Policies.Enforce != 1 || s.Policies.Testing != 1 || s.Health != Healthy ||
		s.Overrides != 2 || s.Version != "test" || s.PID != 1 || len(s.Problems) != 0 || s.Unsaved != 0 {
		t.Errorf("%+v, %v", s, err)
	}
}

// TestCrowd: many at once, more than may look up at a time.
func TestCrowd(t *testing.T) {
	d := start(t)
	var all sync.WaitGroup
	for i := range 3 * maxLookups {
		domain := fmt.Sprintf("d%d.example", i)
		d.publish(domain, "1", file("enforce", "mx."+domain, day))
		all.Go(func() {
			if w, err := d.client.Warm(t.Context(), name(domain)); err != nil || w.Outcome != "enforce" {
				t.Errorf("%s: %+v, %v", domain, w, err)
			}
			if r, err := d.client.Refresh(t.Context(), name(domain)); err != nil || r.Error != "" {
				t.Errorf("%s: %+v, %v", domain, r, err)
			}
		})
	}
	all.Wait()
	n := 0
	for p, err := range d.client.Policies(t.Context(), List{Sort: "domain"}) {
		if err != nil || !p.Live {
			t.Errorf("%+v, %v", p, err)
		}
		n++
	}
	if n != 3*maxLookups {
		t.Errorf("%d policies", n)
	}
}

// TestShutdown ends what waits for a policy host at once, and says why.
func TestShutdown(t *testing.T) {
	d := start(t)
	d.mute("mute.example")
	d.mute("silent.example")
	errs := make(chan error, 2)
	go func() {
		_, err := d.client.Warm(context.Background(), name("mute.example"))
		errs <- err
	}()
	go func() {
		_, err := d.client.Refresh(context.Background(), name("silent.example"))
		errs <- err
	}()
	testkit.Eventually(t, testkit.Hang, "the fetches begin",
		func() bool { return d.service.Admin().Status().Fetches == 2 })
	// What waits for it would wait for ever, and be ended by this limit only.
	ctx, cancel := context.WithTimeout(t.Context(), testkit.Hang)
	defer cancel()
	d.server.Shutdown(ctx)
	if ctx.Err() != nil {
		t.Error("the shutdown waits for the policy hosts")
	}
	for range 2 {
		wantCode(t, "in flight", <-errs, 503, resolver.ErrClosed.Error())
	}
	_, err := d.client.Status(t.Context())
	var unreachable *unreachableError
	if !errors.As(err, &unreachable) {
		t.Errorf("afterwards: %v", err)
	}
}

// TestCallerLeaves: the daemon continues, and the lookup in progress is finished for the next caller.
func TestCallerLeaves(t *testing.T) {
	d := start(t)
	d.mute("mute.example")
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	if _, err := d.client.Refresh(ctx, name("mute.example")); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if _, err := d.client.Status(t.Context()); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	for p, err := range d.client.Policies(ctx, List{}) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("a list for one who has left: %+v, %v", p, err)
		}
	}
}

func TestUnreachable(t *testing.T) {
	dir := t.TempDir()
	stale := filepath.Join(dir, "stale.sock")
	l, err := socketmap.Listen("unix:"+stale, socketmap.ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(stale, stale+"2"); err != nil { // so that Close leaves it
		t.Fatal(err)
	}
	l.Close()
	for _, c := range []struct {
		spec string
		is   error
		says string
	}{
		{"unix:" + dir + "/none.sock", fs.ErrNotExist, "is stsmapd running"},
		{"unix:" + stale + "2", syscall.ECONNREFUSED, "is stsmapd running"},
	} {
		client, err := NewClient(c.spec)
		if err != nil {
			t.Fatal(err)
		}
		_, err = client.Status(t.Context())
		if !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), c.spec) {
			t.Errorf("%s: %v", c.spec, err)
		}
	}
	if text := (&unreachableError{"unix:/x", syscall.EACCES}).Error(); !strings.Contains(text, "control_group") {
		t.Errorf("no permission: %s", text)
	}
	for _, spec := range []string{"inet:127.0.0.1:1", "unix:relative", "/run/x.sock", ""} {
		if _, err := NewClient(spec); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", spec)) {
			t.Errorf("%q: %v", spec, err)
		}
	}
}
