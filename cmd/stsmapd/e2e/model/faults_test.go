package model_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/model"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsclient"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
	"github.com/stsmapd/stsmapd/socketmap"

	"github.com/stsmapd/stsmapd/resolver/fetch"
)

// errMute is what the faults here put in place of an answer of the DNS or of a policy host.
var errMute = errors.New("SERVFAIL")

// The faulty parts. Each is a sound one, but for one thing.

// forgetful is a store that says it has written, and has not.
type forgetful struct{ resolver.Store }

func (forgetful) Put(context.Context, resolver.Entry) error { return nil }

// lazy is a store that writes an entry when the next one comes.
type lazy struct {
	resolver.Store
	mu   sync.Mutex
	late []resolver.Entry
}

func (l *lazy) Put(ctx context.Context, e resolver.Entry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.late = append(l.late, e)
	if len(l.late) < 2 {
		return nil
	}
	first := l.late[0]
	l.late = l.late[1:]
	return l.Store.Put(ctx, first)
}

// stubborn is a store that keeps the first entry of a domain.
type stubborn struct{ resolver.Store }

func (s stubborn) Put(ctx context.Context, e resolver.Entry) error {
	if old, err := s.Get(ctx, e.Domain); err == nil {
		e.Policy, e.ID = old.Policy, old.ID
	}
	return s.Store.Put(ctx, e)
}

// cachingDNS answers TXT lookups out of a cache: for ever, or as long as it says.
type cachingDNS struct {
	resolver.DNS
	keep time.Duration
	mu   sync.Mutex
	seen map[string]cachedTXT
}

type cachedTXT struct {
	answer dnsclient.Answer[string]
	at     time.Time
}

func (c *cachingDNS) TXT(ctx context.Context, name string) (dnsclient.Answer[string], error) {
	c.mu.Lock()
	old, ok := c.seen[name]
	c.mu.Unlock()
	if ok && time.Since(old.at) < c.keep {
		return old.answer, nil
	}
	a, err := c.DNS.TXT(ctx, name)
	if err == nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.seen[name] = cachedTXT{a, time.Now()}
	}
	return a, err
}

// blindDNS asks, and shows the first id for ever.
type blindDNS struct{ cachingDNS }

func (b *blindDNS) TXT(ctx context.Context, name string) (dnsclient.Answer[string], error) {
	a, err := b.DNS.TXT(ctx, name)
	b.mu.Lock()
	defer b.mu.Unlock()
	if old, ok := b.seen[name]; ok && err == nil && a.Denial == dnsclient.Exists {
		return old.answer, nil
	}
	if err == nil && a.Denial == dnsclient.Exists {
		b.seen[name] = cachedTXT{answer: a}
	}
	return a, err
}

// certainDNS takes a failed lookup for "no record".
type certainDNS struct{ resolver.DNS }

func (c certainDNS) TXT(ctx context.Context, name string) (dnsclient.Answer[string], error) {
	a, err := c.DNS.TXT(ctx, name)
	if err != nil && ctx.Err() == nil {
		return dnsclient.Answer[string]{Denial: dnsclient.NXDomain}, nil
	}
	return a, err
}

// hostBlindDNS takes a lookup that failed by a fault of this host for a failure of the domain's DNS.
type hostBlindDNS struct{ resolver.DNS }

func (h hostBlindDNS) TXT(ctx context.Context, name string) (dnsclient.Answer[string], error) {
	a, err := h.DNS.TXT(ctx, name)
	if errors.As(err, new(syscall.Errno)) {
		err = errMute
	}
	return a, err
}

// editor changes what a fetch brings.
type editor struct {
	resolver.Fetcher
	edit func(domain dnsname.Name, p mtasts.Policy, err error) (mtasts.Policy, error)
}

func (e editor) Fetch(ctx context.Context, domain dnsname.Name) (mtasts.Policy, error) {
	p, err := e.Fetcher.Fetch(ctx, domain)
	return e.edit(domain, p, err)
}

// hasty fetches again when a fetch fails.
type hasty struct{ resolver.Fetcher }

func (h hasty) Fetch(ctx context.Context, domain dnsname.Name) (mtasts.Policy, error) {
	p, err := h.Fetcher.Fetch(ctx, domain)
	if err != nil && ctx.Err() == nil {
		return h.Fetcher.Fetch(ctx, domain)
	}
	return p, err
}

// oddMemory is a memory with other ways to put and get.
type oddMemory struct {
	resolver.Memory
	put      func(*resolver.CachedPolicy)
	get      func(dnsname.Name) (*resolver.CachedPolicy, bool)
	negative func(dnsname.Name) (resolver.Negative, bool)
}

// leaky is a memory whose evictions are removals.
type leaky struct {
	resolver.Memory
	store resolver.Store
}

func (l leaky) ForgetPolicy(n dnsname.Name) {
	l.Memory.ForgetPolicy(n)
	_ = l.store.Delete(context.Background(), n)
}

func (m oddMemory) PutPolicy(h *resolver.CachedPolicy) {
	if m.put == nil {
		m.Memory.PutPolicy(h)
		return
	}
	m.put(h)
}

func (m oddMemory) Policy(n dnsname.Name) (*resolver.CachedPolicy, bool) {
	if m.get == nil {
		return m.Memory.Policy(n)
	}
	return m.get(n)
}

func (m oddMemory) NoPolicy(n dnsname.Name) (resolver.NoPolicy, bool) {
	a, ok := m.Negative(n)
	none, is := a.(resolver.NoPolicy)
	return none, ok && is
}

func (m oddMemory) Negative(n dnsname.Name) (resolver.Negative, bool) {
	if m.negative == nil {
		return m.Memory.Negative(n)
	}
	return m.negative(n)
}

// replies changes the answers to Postfix.
func replies(change func(socketmap.Request, socketmap.Reply) socketmap.Reply) func(model.Parts) model.Parts {
	return func(p model.Parts) model.Parts {
		p.Handler = func(h socketmap.Handler) socketmap.Handler {
			return handlerFunc(func(ctx context.Context, r socketmap.Request) socketmap.Reply {
				return change(r, h.ServeSocketmap(ctx, r))
			})
		}
		return p
	}
}

type handlerFunc func(context.Context, socketmap.Request) socketmap.Reply

func (f handlerFunc) ServeSocketmap(ctx context.Context, r socketmap.Request) socketmap.Reply {
	return f(ctx, r)
}

// sureTLSA takes a failed lookup of TLSA records for a proof that there are none.
type sureTLSA struct{ resolver.DNS }

func (d sureTLSA) TLSA(ctx context.Context, name string) (dnsclient.Answer[dnsclient.TLSA], error) {
	a, err := d.DNS.TLSA(ctx, name)
	if err != nil {
		return dnsclient.Answer[dnsclient.TLSA]{Denial: dnsclient.NXDomain, Authentic: true}, nil
	}
	return a, nil
}

type fault struct {
	why      string
	sabotage func(model.Parts) model.Parts
	rules    []string // one of these must be what is violated
}

func storeFaults() []fault {
	return []fault{
		{"the store forgets", func(p model.Parts) model.Parts { p.Store = forgetful{p.Store}; return p },
			[]string{"answer", "at once"}},
		{"the store writes when the next entry comes: a kill loses one", func(p model.Parts) model.Parts {
			p.Store = &lazy{Store: p.Store}
			return p
		}, []string{"answer", "at once", "idle fetch", "fetch"}},
		{"the store keeps the first policy of a domain",
			func(p model.Parts) model.Parts { p.Store = stubborn{p.Store}; return p },
			[]string{"answer", "at once", "idle fetch", "fetch"}},
		{"each daemon starts with an empty store",
			func(p model.Parts) model.Parts { p.Store = newMapStore(); return p }, []string{"answer", "at once"}},
		{"memory keeps the first policy of a domain", func(p model.Parts) model.Parts {
			m := p.Memory
			p.Memory = oddMemory{Memory: m, put: func(h *resolver.CachedPolicy) {
				if _, ok := m.Policy(h.Entry().Domain); !ok {
					m.PutPolicy(h)
				}
			}}
			return p
		}, []string{"answer", "fetch", "idle fetch", "refresh", "lookups"}},
		{"memory mixes up two domains", func(p model.Parts) model.Parts {
			m := p.Memory
			p.Memory = oddMemory{Memory: m, get: func(n dnsname.Name) (*resolver.CachedPolicy, bool) {
				if n.String() == model.Domain(0) {
					n = dnsname.MustParse(model.Domain(1))
				}
				return m.Policy(n)
			}}
			return p
		}, []string{"answer", "at once", "fetch", "idle fetch"}},
		{"what memory evicts is gone from the store too", func(p model.Parts) model.Parts {
			p.Memory = leaky{p.Memory, p.Store}
			return p
		}, []string{"deleted", "answer"}},
		{"memory forgets why there is no policy", func(p model.Parts) model.Parts {
			p.Memory = oddMemory{Memory: p.Memory,
				negative: func(dnsname.Name) (resolver.Negative, bool) { return nil, false }}
			return p
		}, []string{"at once", "backoff"}},
	}
}

func networkFaults() []fault {
	caching := func(keep time.Duration) func(model.Parts) model.Parts {
		return func(p model.Parts) model.Parts {
			p.DNS = &cachingDNS{DNS: p.DNS, keep: keep, seen: map[string]cachedTXT{}}
			return p
		}
	}
	edit := func(change func(dnsname.Name, mtasts.Policy, error) (mtasts.Policy, error)) func(model.Parts) model.Parts {
		return func(p model.Parts) model.Parts { p.Fetcher = editor{p.Fetcher, change}; return p }
	}
	maxAge := func(change func(time.Duration) time.Duration) func(model.Parts) model.Parts {
		return edit(func(_ dnsname.Name, p mtasts.Policy, err error) (mtasts.Policy, error) {
			p.MaxAge = change(p.MaxAge)
			return p, err
		})
	}
	first := func() func(model.Parts) model.Parts {
		var mu sync.Mutex
		seen := map[dnsname.Name]mtasts.Policy{}
		return edit(func(n dnsname.Name, p mtasts.Policy, err error) (mtasts.Policy, error) {
			mu.Lock()
			defer mu.Unlock()
			if old, ok := seen[n]; ok && err == nil {
				return old, nil
			}
			if err == nil {
				seen[n] = p
			}
			return p, err
		})
	}
	return []fault{
		{"a new id is not seen", func(p model.Parts) model.Parts {
			p.DNS = &blindDNS{cachingDNS{DNS: p.DNS, seen: map[string]cachedTXT{}}}
			return p
		}, []string{"fetch", "answer"}},
		{"TXT records are remembered for an hour", caching(time.Hour), []string{"look", "fetches"}},
		{"and for 50 s, whatever their TTL", caching(50 * time.Second), []string{"look", "fetches"}},
		{"a failed lookup of TLSA records is taken for a denial",
			func(p model.Parts) model.Parts { p.DNS = sureTLSA{p.DNS}; return p },
			[]string{"answer"}},
		{"a failed lookup is taken for a denial",
			func(p model.Parts) model.Parts { p.DNS = certainDNS{p.DNS}; return p }, []string{"answer"}},
		{"this host's faults in lookups are taken for the DNS's", func(p model.Parts) model.Parts {
			p.DNS = hostBlindDNS{p.DNS}
			return p
		}, []string{"answer", "look"}},
		{"this host's faults in fetches are taken for the policy host's",
			edit(func(n dnsname.Name, p mtasts.Policy, err error) (mtasts.Policy, error) {
				if f := (*fetch.Error)(nil); errors.As(err, &f) && f.Kind == fetch.HostFault {
					return p, &fetch.Error{Domain: n, Kind: fetch.Unreachable, Err: errMute}
				}
				return p, err
			}), []string{"answer", "fetch", "look", "refresh"}},
		{"a new id brings the old policy", func(p model.Parts) model.Parts { return first()(p) }, []string{"answer"}},
		{"policies live twice as long as they say", maxAge(func(d time.Duration) time.Duration { return 2 * d }),
			[]string{"answer", "refresh", "fetch", "idle fetch"}},
		{"policies live half as long", maxAge(func(d time.Duration) time.Duration { return d / 2 }),
			[]string{"answer", "at once", "idle fetch", "fetch"}},
		{"failed fetches are tried again at once",
			func(p model.Parts) model.Parts { p.Fetcher = hasty{p.Fetcher}; return p }, []string{"fetches"}},
		{"an invalid file counts as a policy of mode none",
			edit(func(_ dnsname.Name, p mtasts.Policy, err error) (mtasts.Policy, error) {
				if f := (*fetch.Error)(nil); errors.As(err, &f) && f.Kind == fetch.Invalid {
					return mtasts.ParsePolicy([]byte("version: STSv1\nmode: none\nmax_age: 86400\n"))
				}
				return p, err
			}), []string{"answer", "fetch", "backoff", "idle fetch", "look"}},
	}
}

func daemonFaults() []fault {
	return []fault{
		{"Postfix is told to judge DANE host by host",
			replies(func(_ socketmap.Request, r socketmap.Reply) socketmap.Reply {
				if r.String() == "OK dane-only" {
					return socketmap.OK("dane")
				}
				return r
			}), []string{"answer"}},
		{"the policy is answered where DANE goes before",
			replies(func(q socketmap.Request, r socketmap.Reply) socketmap.Reply {
				if r.String() == "OK dane-only" {
					return socketmap.OK("secure match=mx." + string(q.Key))
				}
				return r
			}), []string{"answer"}},
		{"the clock stands still", func(p model.Parts) model.Parts {
			stopped := p.Clock()
			p.Clock = func() time.Time { return stopped }
			return p
		}, []string{"answer", "look", "refresh", "fetch"}},
		{"nothing is refreshed before somebody asks", func(p model.Parts) model.Parts {
			p.Upkeep = func(context.Context, *resolver.Service) {}
			return p
		}, []string{"refresh"}},
		{"a daemon on its way out says that there is no policy",
			replies(func(_ socketmap.Request, r socketmap.Reply) socketmap.Reply {
				if r.Status() == socketmap.StatusHangup {
					return socketmap.NotFound()
				}
				return r
			}), []string{"answer"}},
		{"mode testing is never enforced", replies(func(r socketmap.Request, reply socketmap.Reply) socketmap.Reply {
			if string(r.Map) == "sts+strict" {
				return socketmap.NotFound()
			}
			return reply
		}), []string{"answer"}},
		{"policies end when the wall clock jumps forward", func(p model.Parts) model.Parts {
			begin := p.Clock()
			p.Boot = func() time.Duration { return p.Clock().Sub(begin) }
			return p
		}, []string{"answer", "deleted", "at once"}},
		{"one domain gets no answer but NOTFOUND",
			replies(func(r socketmap.Request, reply socketmap.Reply) socketmap.Reply {
				if string(r.Key) == model.Domain(2) && reply.Status() == socketmap.StatusOK {
					return socketmap.NotFound()
				}
				return reply
			}), []string{"answer"}},
	}
}

// TestModelFindsFaults: each of these faults, put into a part of the daemon, is found out by the model within some
// thousand events, and the script that shows it is cut down to some lines. A model that accepts everything proves
// nothing.
func TestModelFindsFaults(t *testing.T) {
	const (
		enough    = 400 // scripts
		fewEvents = 25
	)
	all := slices.Concat(storeFaults(), networkFaults(), daemonFaults())
	alone := len(all)
	for i, f := range append(all, fleetFaults()...) {
		t.Run(f.why, func(t *testing.T) {
			t.Parallel()
			events, generate := 0, model.Generate
			if i >= alone {
				generate = model.GenerateFleet
			}
			for seed := uint64(1); seed <= enough; seed++ {
				s := generate(seed, eventsPerWorld)
				s.Bolt = false
				r := play(t, s, f.sabotage)
				events += r.At
				if r.Violation == nil {
					continue
				}
				if !slices.Contains(f.rules, ruleOf(r)) {
					t.Errorf("found as %v, want one of the rules %q", r.Violation, f.rules)
				}
				short, _ := shrunk(t, s, r, f.sabotage) // what it shows may depend on which goroutine comes first
				if len(short.Events) > fewEvents {
					t.Errorf("shrunk to %d events only:\n%s", len(short.Events), short)
				}
				t.Logf("found after %d events, shown by %d: %v\n%s", events, len(short.Events), r.Violation, short)
				return
			}
			t.Errorf("not found in %d events", events)
		})
	}
}
