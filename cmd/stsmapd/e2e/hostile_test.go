package e2e

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

const (
	// fetchTimeout is the longest that a fetch may take in these tests.
	fetchTimeout = 2 * time.Second
	// hostileLimit is within what an answer must come though its policy host is the worst, on a machine that does
	// nothing else: the DNS and a fetch.
	hostileLimit = fetchTimeout + 3*time.Second
)

// hostilePolicies are files of which nothing may reach a reply, whatever else is in them: %s is a good MX of the
// domain.
var hostilePolicies = []struct{ name, body string }{
	{"attribute in an mx", "version: STSv1\nmode: enforce\nmx: %s servername=evil.test\nmax_age: 604800\n"},
	{"tab in an mx", "version: STSv1\nmode: enforce\nmx: %s\tservername=evil.test\nmax_age: 604800\n"},
	{"colon in an mx", "version: STSv1\nmode: enforce\nmx: %s:.evil.test\nmax_age: 604800\n"},
	{"comma in an mx", "version: STSv1\nmode: enforce\nmx: %s,.evil.test\nmax_age: 604800\n"},
	{"brace in an mx", "version: STSv1\nmode: enforce\nmx: {%s}\nmax_age: 604800\n"},
	{"equals sign in an mx", "version: STSv1\nmode: enforce\nmx: match=%s\nmax_age: 604800\n"},
	{"control character in an mx", "version: STSv1\nmode: enforce\nmx: %s\x01\nmax_age: 604800\n"},
	{"NUL in an mx", "version: STSv1\nmode: enforce\nmx: %s\x00.evil.test\nmax_age: 604800\n"},
	{"bare CR in an mx", "version: STSv1\nmode: enforce\nmx: %s\rmx: evil.test\nmax_age: 604800\n"},
	{"not UTF-8 in an mx", "version: STSv1\nmode: enforce\nmx: \xff%s\nmax_age: 604800\n"},
	{"one bad mx after a good one",
		"version: STSv1\nmode: enforce\nmx: %s\nmx: servername=evil.test\nmax_age: 604800\n"},
	{"everything", "version: STSv1\nmode: enforce\nmx: *\nmx: %s\nmax_age: 604800\n"},
	{"dot first", "version: STSv1\nmode: enforce\nmx: .%s\nmax_age: 604800\n"},
	{"asterisk inside", "version: STSv1\nmode: enforce\nmx: mx*.%s\nmax_age: 604800\n"},
	{"address literal", "version: STSv1\nmode: enforce\nmx: [192.0.2.1]\nmx: %s\nmax_age: 604800\n"},
	{"IPv6 address", "version: STSv1\nmode: enforce\nmx: [2001:db8::1]\nmx: %s\nmax_age: 604800\n"},
	{"empty mx", "version: STSv1\nmode: enforce\nmx:\nmx: %s\nmax_age: 604800\n"},
	{"long label", "version: STSv1\nmode: enforce\nmx: " + strings.Repeat("a", 64) + ".%s\nmax_age: 604800\n"},
	{"attribute in the mode", "version: STSv1\nmode: enforce servername=evil.test\nmx: %s\nmax_age: 604800\n"},
	{"negative max_age", "version: STSv1\nmode: enforce\nmx: %s\nmax_age: -1\n"},
	{"endless max_age", "version: STSv1\nmode: enforce\nmx: %s\nmax_age: 99999999999999999999\n"},
	{"other version", "version: STSv2\nmode: enforce\nmx: %s\nmax_age: 604800\n"},
	{"HTML", "<html><body>mx: %s</body></html>\n"},
	{"binary", "\x7fELF\x02\x01%s"},
}

// hostileHosts are policy hosts whose file, a good one, must not count.
var hostileHosts = []struct {
	name  string
	begin func(*testing.T, *world.World, *world.Domain)
}{
	{"redirect within the host", func(_ *testing.T, _ *world.World, d *world.Domain) {
		good := d.EnforcedText()
		d.Policy.Handle(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/policy.txt" {
				w.Header().Set("Content-Type", "text/plain")
				_, _ = io.WriteString(w, good)
				return
			}
			http.Redirect(w, r, "/policy.txt", http.StatusMovedPermanently)
		})
	}},
	{"redirect to another host", func(t *testing.T, w *world.World, d *world.Domain) {
		other := w.PolicyHost(t, "other."+d.Name)
		other.Serve(d.EnforcedText())
		d.Policy.Handle(http.RedirectHandler("https://"+other.Name+"/.well-known/mta-sts.txt",
			http.StatusFound).ServeHTTP)
		t.Cleanup(func() {
			if n := other.Connections(); n != 0 {
				t.Errorf("%d connections to the host that a redirect named", n)
			}
		})
	}},
	{"404 with the file", answer(http.StatusNotFound, "text/plain")},
	{"206 with the file", answer(http.StatusPartialContent, "text/plain")},
	{"500 with the file", answer(http.StatusInternalServerError, "text/plain")},
	{"text/html", answer(http.StatusOK, "text/html")},
	{"no media type", answer(http.StatusOK, "")},
	{"one byte too large", func(_ *testing.T, _ *world.World, d *world.Domain) {
		good := d.EnforcedText()
		d.Policy.Serve(good + "x: " + strings.Repeat("a", 64<<10-len(good)-3) + "\n")
	}},
	{"endless", func(_ *testing.T, _ *world.World, d *world.Domain) {
		d.Policy.Handle(stream(d.EnforcedText(), strings.Repeat("x: y\n", 10_000), 0, d.Policy.Done()))
	}},
	{"dripping", func(_ *testing.T, _ *world.World, d *world.Domain) {
		d.Policy.Handle(stream(d.EnforcedText(), "#", 100*time.Millisecond, d.Policy.Done()))
	}},
	{"no reply", func(_ *testing.T, _ *world.World, d *world.Domain) {
		d.Policy.Handle(func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-r.Context().Done():
			case <-d.Policy.Done():
			}
		})
	}},
	{"reply cut short", func(_ *testing.T, _ *world.World, d *world.Domain) {
		good := d.EnforcedText()
		d.Policy.Handle(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			w.Header().Set("Content-Length", fmt.Sprint(len(good)+1))
			_, _ = io.WriteString(w, good)
			panic(http.ErrAbortHandler)
		})
	}},
	{"silent in the handshake", func(_ *testing.T, _ *world.World, d *world.Domain) { d.Policy.Mute() }},
	{"refused", func(_ *testing.T, _ *world.World, d *world.Domain) { d.Policy.Refuse() }},
	{"certificate for another name", func(t *testing.T, w *world.World, d *world.Domain) {
		d.Policy.SetCertificate(world.Certificate(t)(w.CA.Issue(d.Name, "www."+d.Name, "*.mta-sts."+d.Name)))
	}},
	{"expired certificate", func(t *testing.T, w *world.World, d *world.Domain) {
		d.Policy.SetCertificate(world.Certificate(t)(w.CA.IssueExpired(d.PolicyName())))
	}},
	{"untrusted certificate", func(t *testing.T, w *world.World, d *world.Domain) {
		d.Policy.SetCertificate(world.Certificate(t)(w.Untrusted.Issue(d.PolicyName())))
	}},
}

// hostileRecords are texts at _mta-sts.<domain> of which none is a record (RFC 8461 section 3.1).
var hostileRecords = []struct {
	name  string
	texts []string
}{
	{"two records", []string{"v=STSv1; id=1;", "v=STSv1; id=2;"}},
	{"no id", []string{"v=STSv1;"}},
	{"empty id", []string{"v=STSv1; id=;"}},
	{"long id", []string{"v=STSv1; id=" + strings.Repeat("1", 33) + ";"}},
	{"id with a line break", []string{"v=STSv1; id=1\n2;"}},
	{"id with braces", []string{"v=STSv1; id={1};"}},
	{"id without a value", []string{"v=STSv1; id;"}},
}

func TestHostilePolicyHosts(t *testing.T) {
	t.Parallel()
	w := world.Open(t)
	watch := testkit.StartWatch(t)
	daemon := w.StartDaemon(t, world.DaemonConfig{FetchTimeout: fetchTimeout})
	t.Run("cases", func(t *testing.T) {
		for _, c := range hostilePolicies {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				d := w.Domain("policy")
				d.Publish(t, "1", strings.ReplaceAll(c.body, "%s", "mx1."+d.Name))
				expectNothing(t, watch, daemon, d, "event=fetch_failed")
			})
		}
		for _, c := range hostileHosts {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				d := w.Domain("host")
				d.Publish(t, "1", d.EnforcedText())
				c.begin(t, w, d)
				expectNothing(t, watch, daemon, d, "event=fetch_failed")
			})
		}
		for _, c := range hostileRecords {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				d := w.Domain("record")
				d.Publish(t, "1", d.EnforcedText())
				d.SetTXT(c.texts...)
				expectNothing(t, watch, daemon, d, "event=record_broken")
				if n := d.Policy.Connections(); n != 0 {
					t.Errorf("%d connections to the policy host without a record", n)
				}
			})
		}
	})
	d := w.Domain("good")
	d.Publish(t, "1", d.EnforcedText())
	if got, want := daemon.Ask(t, "postfix", d.Name),
		"OK secure match=mx1."+d.Name+" servername=hostname"; got != want {
		t.Errorf("after all this a good domain is answered %q, want %q", got, want)
	}
	wantSmall(t, daemon)
}

// expectNothing asks for the domain: the answer must be NOTFOUND, must come in time, and a line of the log that an
// administrator sees must name the domain and the event.
func expectNothing(t *testing.T, watch *testkit.Watch, daemon *world.Daemon, d *world.Domain, event string) {
	t.Helper()
	begin := time.Now()
	got := daemon.Ask(t, "postfix", d.Name)
	if took, limit := time.Since(begin), watch.Limit(hostileLimit); took > limit {
		t.Errorf("the answer took %v, may take %v", took, limit)
	}
	if got != "NOTFOUND " {
		t.Errorf("got %q, want NOTFOUND", got)
	}
	var seen []string
	world.Eventually(t, world.Hang, "the log has "+event+" of "+d.Name, func() bool { // no answer waits for the log
		seen = slices.DeleteFunc(daemon.Log.Lines(event, "domain="+d.Name+" "),
			func(line string) bool { return strings.Contains(line, "level=DEBUG") })
		return len(seen) > 0
	})
	if len(seen) != 1 {
		t.Errorf("%d lines of the log have %s and the domain %s, want 1", len(seen), event, d.Name)
	}
}

// answer makes the domain's policy host serve a good file with this status and media type.
func answer(status int, mediaType string) func(*testing.T, *world.World, *world.Domain) {
	return func(_ *testing.T, _ *world.World, d *world.Domain) {
		good := d.EnforcedText()
		d.Policy.Handle(func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = nil // no guessing
			if mediaType != "" {
				w.Header().Set("Content-Type", mediaType)
			}
			w.WriteHeader(status)
			_, _ = io.WriteString(w, good)
		})
	}
}

// stream serves a text and then repeats more at this interval.
func stream(text, more string, every time.Duration, done <-chan struct{}) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		pause := time.NewTimer(0)
		defer pause.Stop()
		for piece := text; ; piece = more {
			if _, err := io.WriteString(w, piece); err != nil {
				return
			}
			if err := http.NewResponseController(w).Flush(); err != nil {
				return
			}
			pause.Reset(every)
			select {
			case <-pause.C:
			case <-r.Context().Done():
				return
			case <-done:
				return
			}
		}
	}
}
