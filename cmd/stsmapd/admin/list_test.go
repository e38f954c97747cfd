package admin

import (
	"context"
	"errors"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
)

func TestList(t *testing.T) {
	d := start(t, entry(t, "b.example", "enforce", time.Hour, 7*day),
		entry(t, "a.example", "testing", 2*time.Hour, 30*day),
		withFailures(entry(t, "c.example", "enforce", 20*time.Hour, day)),
		entry(t, "d.other", "none", 3*time.Hour, 14*day),
		entry(t, "gone.example", "enforce", 9*day, day))
	list := func(l List) string {
		var got []string
		for p, err := range d.client.Policies(t.Context(), l) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, strings.TrimSuffix(p.Domain, ".example"))
		}
		return strings.Join(got, " ")
	}
	for _, c := range []struct {
		why  string
		list List
		want string
	}{
		{"all, as the store has them", List{}, "a b c d.other gone"},
		{"by mode", List{Modes: []mtasts.Mode{mtasts.ModeTesting}}, "a"},
		{"by modes", List{Modes: []mtasts.Mode{mtasts.ModeTesting, mtasts.ModeNone}}, "a d.other"},
		{"failing", List{Failing: true}, "c"},
		{"expiring within a day", List{Expiring: day}, "c"},
		{"expiring within 8 days", List{Expiring: 8 * day, Sort: "domain"}, "b c"},
		{"by name", List{Domain: ".OTHER"}, "d.other"},
		{"by name, nothing", List{Domain: "zzz"}, ""},
		{"sorted by domain, down", List{Sort: "-domain"}, "gone d.other c b a"},
		{"sorted by expiry", List{Sort: "expires"}, "gone c b d.other a"},
		{"sorted by expiry, down", List{Sort: "-expires"}, "a d.other b c gone"},
		{"sorted by fetch", List{Sort: "fetched"}, "gone c d.other a b"},
		{"sorted by use", List{Sort: "-used"}, "b a d.other c gone"},
		{"sorted by mode, then domain", List{Sort: "mode"}, "b c gone a d.other"},
		{"sorted by mode, down", List{Sort: "-mode"}, "d.other a b c gone"},
		{"two", List{Limit: 2}, "a b"},
		{"the two that expire first", List{Sort: "expires", Limit: 2}, "gone c"},
		{"all at once", List{Modes: []mtasts.Mode{mtasts.ModeEnforce}, Expiring: 30 * day, Domain: "example",
			Sort: "-domain", Limit: 1}, "c"},
	} {
		if got := list(c.list); got != c.want {
			t.Errorf("%s: %q, want %q", c.why, got, c.want)
		}
	}
	for p := range d.client.Policies(t.Context(), List{Domain: "c.example"}) {
		if p.FetchFailures == nil || p.FetchFailures.Count != 3 || p.Answer == nil ||
			p.Answer.Data != "secure match=mx.c.example servername=hostname" || p.InMemory {
			t.Errorf("c.example: %+v", p)
		}
	}
}

// damaged is a store in which one entry cannot be read, and whose walk then hangs until it is given up.
type damaged struct {
	resolver.Store
	domain dnsname.Name
	hangs  chan struct{} // closed when the walk hangs; nil: it does not
}

func (d damaged) All(ctx context.Context) iter.Seq2[resolver.Entry, error] {
	return func(yield func(resolver.Entry, error) bool) {
		for e, err := range d.Store.All(ctx) {
			if e.Domain == d.domain {
				e, err = resolver.Entry{Domain: d.domain}, errors.New("damaged record")
			}
			if !yield(e, err) {
				return
			}
		}
		if d.hangs != nil {
			close(d.hangs)
			<-ctx.Done()
			yield(resolver.Entry{}, ctx.Err())
		}
	}
}

func (d damaged) Get(ctx context.Context, domain dnsname.Name) (resolver.Entry, error) {
	if domain == d.domain {
		return resolver.Entry{}, errors.New("damaged record")
	}
	return d.Store.Get(ctx, domain)
}

// TestDamagedEntry: a damaged entry is a line with an error; the others are listed.
func TestDamagedEntry(t *testing.T) {
	bad := name("b.example")
	d := startOn(t, func(s resolver.Store) resolver.Store { return damaged{s, bad, nil} },
		entry(t, "a.example", "enforce", time.Hour, day), entry(t, "b.example", "enforce", time.Hour, day),
		entry(t, "c.example", "enforce", time.Hour, day))
	for _, sort := range []string{"", "domain"} {
		good, ill := 0, 0
		for p, err := range d.client.Policies(t.Context(), List{Sort: sort}) {
			if err == nil {
				good++
				continue
			}
			ill++
			wantCode(t, "sort="+sort, err, 500, "b.example: damaged record")
			if p.Domain != "b.example" {
				t.Errorf("sort=%s: %+v", sort, p)
			}
		}
		if good != 2 || ill != 1 {
			t.Errorf("sort=%s: %d policies and %d errors", sort, good, ill)
		}
	}
	s, err := d.client.Show(t.Context(), bad)
	if err != nil || s.StoreError != "damaged record" || s.Policy != nil {
		t.Errorf("show: %+v, %v", s, err)
	}
	_, err = d.client.Forget(t.Context(), bad)
	wantCode(t, "forget", err, 500, "b.example: damaged record")
}

// TestListIsCut: a list that ends before its end is not taken for a whole one.
func TestListIsCut(t *testing.T) {
	hangs := make(chan struct{})
	d := startOn(t, func(s resolver.Store) resolver.Store { return damaged{s, dnsname.Name{}, hangs} },
		entry(t, "a.example", "enforce", time.Hour, day))
	go func() {
		<-hangs
		d.server.Shutdown(context.Background())
	}()
	var last error
	n := 0
	for _, err := range d.client.Policies(t.Context(), List{}) {
		n++
		last = err
	}
	if last == nil || !strings.Contains(last.Error(), "did not finish") || n > 2 {
		t.Errorf("%d policies, then %v", n, last)
	}
}
