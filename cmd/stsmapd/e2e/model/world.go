package model

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsclient"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/fault"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
	"github.com/stsmapd/stsmapd/resolver/testkit"

	"github.com/stsmapd/stsmapd/resolver/fetch"
)

// How long the network takes, and how long a lookup and a fetch wait for an answer that does not come.
const (
	lookupTakes = 30 * time.Millisecond
	lookupWaits = 9 * time.Second
	fetchTakes  = 300 * time.Millisecond
	fetchWaits  = 30 * time.Second
	diskIsSlow  = 2 * time.Second
	never       = 1000 * day
	unknownTXT  = "v=spf1 -all"
	brokenTXT   = "v=STSv1; id=not an id"
	txtPrefix   = "_mta-sts."
)

// world is the DNS, the web and the disk, and the model that watches them. Its lock guards the model too.
type world struct {
	mu    sync.Mutex
	model *Model
	ahead time.Duration // of the wall clock over the bubble's clock

	txt   [Domains]TXT
	file  [Domains]File
	web   [Domains]WebState
	dane  [Domains]DANEState
	mute  MuteState
	host  HostState
	disk  DiskState
	full  FullState
	freed time.Time // when the store's bound was raised
	store disk

	engine engine
}

func newWorld(store disk) *world {
	w := &world{store: store, mute: MuteOff, disk: DiskOK, host: HostOK, full: FullOff}
	for d := range w.txt {
		w.txt[d] = TXT{Domain: d, State: TXTGone, TTL: time.Hour}
		w.web[d], w.dane[d] = WebRefused, DANEUnsigned
	}
	w.model = newModel(time.Now, func() time.Time { return time.Now().UTC().Round(0).Add(w.ahead) })
	w.tellDANE()
	return w
}

// wall is the wall clock.
func (w *world) wall() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.model.wall()
}

// locked runs f under the lock.
func (w *world) locked(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

// port is the world as one daemon sees it. What a dead daemon does is ignored.
type port struct {
	w   *world
	gen int
}

var (
	_ resolver.DNS     = port{}
	_ resolver.Fetcher = port{}
	_ resolver.Store   = port{}
)

var (
	errServfail = errors.New("SERVFAIL")
	errDead     = errors.New("the daemon is dead")
)

// number returns a domain's number. A name that is no domain of the script is a violation, and false.
func (w *world) number(name string) (int, bool) {
	n, ok := numberOf(name)
	if !ok {
		w.locked(func() { w.model.violate("name", "the service asks for %q", name) })
	}
	return n, ok
}

func numberOf(name string) (int, bool) {
	n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(name, "d"), ".example"))
	return n, err == nil && n >= 0 && n < Domains && name == Domain(n)
}

// TXT implements resolver.DNS.
func (p port) TXT(ctx context.Context, name string) (answer dnsclient.Answer[string], err error) {
	n, ok := p.w.number(strings.TrimPrefix(name, txtPrefix))
	if !ok || !strings.HasPrefix(name, txtPrefix) {
		return answer, fmt.Errorf("unexpected lookup of %s", name)
	}
	takes := lookupTakes
	p.w.locked(func() {
		p.w.model.lookBegins(n, p.gen)
		if p.w.txt[n].State == TXTTimeout {
			takes = lookupWaits
		}
	})
	if err := testkit.Pause(ctx, takes); err != nil {
		p.w.locked(func() { p.w.model.lookCancelled(n, p.gen) })
		return answer, err
	}
	p.w.locked(func() {
		if err = p.w.host.lookError(); err != nil {
			p.w.model.lookFailedHere(n, p.gen, fault.Of(err))
			return
		}
		var seen TXTState
		if answer, seen = p.w.txtAnswer(p.w.txt[n]); seen == TXTServfail {
			err = errServfail
		}
		p.w.model.looked(n, p.gen, seen, idText(p.w.txt[n].ID), answer.TTL)
	})
	return answer, err
}

func idText(id int) string { return strconv.Itoa(id) }

// txtAnswer returns the DNS's answer, and the state that the model notes.
func (w *world) txtAnswer(t TXT) (dnsclient.Answer[string], TXTState) {
	if w.mute == MuteOn {
		return dnsclient.Answer[string]{}, TXTServfail
	}
	good := "v=STSv1; id=" + idText(t.ID)
	switch t.State {
	case TXTAnnounced:
		return dnsclient.Answer[string]{Records: []string{unknownTXT, good}, TTL: t.TTL}, TXTAnnounced
	case TXTGone:
		return dnsclient.Answer[string]{Denial: dnsclient.NXDomain, TTL: t.TTL}, TXTGone
	case TXTBroken:
		return dnsclient.Answer[string]{Records: []string{brokenTXT}, TTL: t.TTL}, TXTGone
	case TXTTwo:
		return dnsclient.Answer[string]{Records: []string{good, good + "2"}, TTL: t.TTL}, TXTGone
	default:
		return dnsclient.Answer[string]{}, TXTServfail
	}
}

// Fetch implements resolver.Fetcher.
func (p port) Fetch(ctx context.Context, domain dnsname.Name) (mtasts.Policy, error) {
	n, ok := p.w.number(domain.String())
	if !ok {
		return failed(domain, fetch.Unreachable)
	}
	takes := fetchTakes
	p.w.locked(func() {
		p.w.model.fetchBegins(n, p.gen)
		if p.w.web[n] == WebTimeout {
			takes = fetchWaits
		}
	})
	if err := testkit.Pause(ctx, takes); err != nil {
		p.w.locked(func() {
			if fetch.LimitEnded(ctx) { // the service has less time for a policy host that is slow
				p.w.model.fetchFailed(n, p.gen)
				return
			}
			p.w.model.fetchCancelled(n, p.gen)
		})
		return mtasts.Policy{}, &fetch.Error{Domain: domain, Kind: fetch.Unreachable, Err: err}
	}
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	if err := p.w.host.fetchError(); err != nil {
		p.w.model.fetchFailedHere(n, p.gen, fault.Of(err))
		return mtasts.Policy{}, &fetch.Error{Domain: domain, Kind: fetch.HostFault, Err: err}
	}
	kind := failureOf(p.w.web[n])
	policy, err := mtasts.ParsePolicy([]byte(p.w.file[n].Text()))
	if kind == 0 && err == nil {
		p.w.model.fetched(n, p.gen, p.w.file[n])
		return policy, nil
	}
	p.w.model.fetchFailed(n, p.gen)
	return failed(domain, max(kind, fetch.Unreachable))
}

// lookError returns the error of a DNS lookup for want of what the host lacks, or nil.
func (h HostState) lookError() error {
	switch h {
	case HostLookFiles:
		return os.NewSyscallError("socket", syscall.EMFILE)
	case HostRoute:
		return os.NewSyscallError("connect", syscall.ENETDOWN)
	}
	return nil
}

// fetchError returns the error of a fetch for want of what the host lacks, or nil.
func (h HostState) fetchError() error {
	switch h {
	case HostFetchFiles:
		return os.NewSyscallError("socket", syscall.EMFILE)
	case HostRoots:
		return fetch.ErrNoRoots
	}
	return nil
}

func failed(domain dnsname.Name, kind fetch.Kind) (mtasts.Policy, error) {
	return mtasts.Policy{}, &fetch.Error{Domain: domain, Kind: kind, Err: errors.New("the policy host fails")}
}

// failureOf returns how a fetch fails, or 0.
func failureOf(s WebState) fetch.Kind {
	switch s {
	case WebOK:
		return 0
	case WebCertificate:
		return fetch.Certificate
	case WebStatus:
		return fetch.Refused
	case WebMediaType:
		return fetch.MediaType
	case WebTooLarge:
		return fetch.TooLarge
	case WebInvalid:
		return fetch.Invalid
	default:
		return fetch.Unreachable
	}
}

func (p port) unexpected(kind, name string) error {
	p.w.locked(func() { p.w.model.violate("name", "the service asks for %s %s", kind, name) })
	return errServfail
}
