package resolver_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
)

func mustOverrides(t *testing.T, list ...resolver.Override) *resolver.Overrides {
	t.Helper()
	set, err := resolver.NewOverrides(list)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func over(domain string, action resolver.Action) resolver.Override {
	name, below := strings.CutPrefix(domain, ".")
	o := resolver.Override{Domain: dnsname.MustParse(name), Below: below, Action: action}
	if action == resolver.ActionEnforce {
		o.MX = []mtasts.Pattern{{Host: dnsname.MustParse("mail.partner.test")}}
	}
	return o
}

func TestOverrideFor(t *testing.T) {
	now := time.Now()
	ended := over("ended.test", resolver.ActionIgnore)
	ended.Until = now
	set := mustOverrides(t, over("a.test", resolver.ActionIgnore), over(".b.test", resolver.ActionStrict),
		over("x.b.test", resolver.ActionEnforce), over(".y.b.test", resolver.ActionIgnore), ended)
	for _, c := range []struct{ why, domain, want string }{
		{"exact", "a.test", "a.test"},
		{"an exact one does not reach below", "x.a.test", ""},
		{"one for what is below does not reach the name itself", "b.test", ""},
		{"below", "q.b.test", ".b.test"},
		{"far below", "r.q.b.test", ".b.test"},
		{"exact before below", "x.b.test", "x.b.test"},
		{"the nearest above", "q.y.b.test", ".y.b.test"},
		{"no label boundary, no match", "xb.test", ""},
		{"its time is over", "ended.test", ""},
	} {
		got := ""
		if o := set.For(dnsname.MustParse(c.domain), now); o != nil {
			got = o.String()
		}
		if got != c.want {
			t.Errorf("%s: %s is overridden by %q, want %q", c.why, c.domain, got, c.want)
		}
	}
	if got := set.Expired(now); len(got) != 1 || got[0].String() != "ended.test" {
		t.Errorf("expired overrides: %v", got)
	}
}

func TestNewOverridesRefuses(t *testing.T) {
	bare := over("a.test", resolver.ActionEnforce)
	bare.MX = nil
	idle := over("a.test", resolver.ActionIgnore)
	idle.MX = []mtasts.Pattern{{Host: dnsname.MustParse("mx.test")}}
	for _, c := range []struct {
		why  string
		list []resolver.Override
	}{
		{"twice", []resolver.Override{over("a.test", resolver.ActionIgnore), over("a.test", resolver.ActionStrict)}},
		{"enforce without mx", []resolver.Override{bare}},
		{"mx without enforce", []resolver.Override{idle}},
	} {
		if _, err := resolver.NewOverrides(c.list); err == nil || !strings.Contains(err.Error(), "a.test") {
			t.Errorf("%s: %v, want an error that names the domain", c.why, err)
		}
	}
}

// TestOverrides: an overridden policy is discovered and kept all the same, so that the override's end takes effect at
// once.
func TestOverrides(t *testing.T) {
	for _, c := range []struct {
		why       string
		action    resolver.Action
		published string
		during    resolver.Outcome
		after     resolver.Outcome
	}{
		{"ignore an enforced policy", resolver.ActionIgnore, "enforce", resolver.Ignored, resolver.Enforce},
		{"be strict about a testing one", resolver.ActionStrict, "testing", resolver.Enforce, resolver.Testing},
		{"strict leaves mode none alone", resolver.ActionStrict, "none", resolver.None, resolver.None},
		{"enforce over none", resolver.ActionEnforce, "none", resolver.Enforce, resolver.None},
		{"enforce over an enforced one", resolver.ActionEnforce, "enforce", resolver.Enforce, resolver.Enforce},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.delay = time.Second
			w.publish("partner.test", "1", body(c.published, 7*day, "mx.example.test"))
			s := w.start()
			defer s.Close()
			settings := resolver.Settings{DNS: w, Fetcher: w}
			settings.Overrides = mustOverrides(t, over("partner.test", c.action))
			s.Reconfigure(settings)
			v := wantOutcome(t, c.why, s, "partner.test", c.during)
			if c.action == resolver.ActionEnforce &&
				(v.Policy == nil || v.Policy.Entry().Policy.MX()[0].String() != "mail.partner.test") {
				t.Errorf("%s: the override's own MX patterns must count", c.why)
			}
			pass(3 * time.Second)
			w.want(c.why+": discovered all the same", 1, 1)
			w.set(func() { w.mute = true })
			settings.Overrides = nil
			s.Reconfigure(settings)
			atOnce(t, c.why, func() { wantOutcome(t, c.why+", ended", s, "partner.test", c.after) })
		})
	}
}

func TestOverrideEndsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.publish("partner.test", "1", body("enforce", 7*day, "mx.example.test"))
		s := w.start()
		defer s.Close()
		o := over("partner.test", resolver.ActionIgnore)
		o.Until = time.Now().Add(day)
		s.Reconfigure(resolver.Settings{DNS: w, Fetcher: w, Overrides: mustOverrides(t, o)})
		for range 23 {
			wantOutcome(t, "before its end", s, "partner.test", resolver.Ignored)
			pass(time.Hour)
		}
		pass(time.Hour)
		wantOutcome(t, "after its end", s, "partner.test", resolver.Enforce)
	})
}
