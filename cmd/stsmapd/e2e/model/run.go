package model

import (
	"context"
	"fmt"
	"log/slog"
	"testing/synctest"
	"time"

	"github.com/stsmapd/stsmapd/cache"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/socketmap"
	"github.com/stsmapd/stsmapd/socketmap/tlspolicy"
)

// Parts is what a daemon is made of. A test replaces some by faulty ones, to show that the model detects the fault.
type Parts struct {
	DNS     resolver.DNS
	Fetcher resolver.Fetcher
	Store   resolver.Store
	Memory  resolver.Memory
	Fleet   resolver.Fleet // nil: there are no other hosts
	Clock   func() time.Time
	Boot    func() time.Duration                     // nil: time passes by the bubble's clock
	Upkeep  func(context.Context, *resolver.Service) // runs until the context ends
	Handler func(socketmap.Handler) socketmap.Handler
}

// Options are how a script is played.
type Options struct {
	// for the real store's files: an empty directory, for this run only
	Dir      string
	Sabotage func(Parts) Parts // nil: the parts are sound
	Log      *slog.Logger      // of the service; nil: none
}

// Result is the outcome of a script.
type Result struct {
	Violation error // a *Violation, or nil
	At        int   // index of the event that caused it
	Questions int   // answered and judged
}

// Run plays a script to its end, or to the first violation. It must be called inside a synctest bubble. It returns an
// error if the real store's files cannot be made.
func Run(s Script, o Options) (Result, error) {
	var store disk = mapDisk{}
	if s.Bolt {
		b, err := newBoltDisk(o.Dir)
		if err != nil {
			return Result{}, err
		}
		store = b
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	r := &run{options: o, w: newWorld(store)}
	r.w.model.fleet = s.Fleet
	r.start()
	defer func() {
		r.stop()
		_ = store.close()
	}()
	for i, e := range s.Events {
		if err := r.play(e); err != nil {
			return Result{}, fmt.Errorf("event %d, %s: %w", i, e, err)
		}
		if v := r.waitIdle(); v != nil {
			return Result{Violation: v, At: i, Questions: r.w.model.Questions}, nil
		}
	}
	return Result{At: len(s.Events), Questions: r.w.model.Questions}, nil
}

// run is a script that is played.
type run struct {
	options Options
	w       *world
	daemon  daemon
}

// daemon is the running daemon.
type daemon struct {
	gen      int
	service  *resolver.Service
	handler  socketmap.Handler
	memory   resolver.Memory
	settings resolver.Settings
	cancel   context.CancelFunc
	done     chan struct{} // of its upkeep
}

// start starts a daemon on the world's disk, with an empty memory.
func (r *run) start() {
	gen := r.w.model.gen
	p := port{r.w, gen}
	parts := Parts{
		DNS: p, Fetcher: p, Store: p, Clock: r.w.wall,
		Memory:  cache.NewMemory(cache.MemoryOptions{MaxNegative: 1000, MaxPolicies: 1000}),
		Upkeep:  func(ctx context.Context, s *resolver.Service) { s.Run(ctx) },
		Handler: func(h socketmap.Handler) socketmap.Handler { return h },
	}
	if r.w.model.fleet {
		parts.Fleet = member{p}
	}
	if r.options.Sabotage != nil {
		parts = r.options.Sabotage(parts)
	}
	set := resolver.Settings{DNS: parts.DNS, Fetcher: parts.Fetcher}
	s := resolver.NewService(resolver.Options{
		DANEMemory: cache.NewDANEFindings(), Now: parts.Clock, Boot: parts.Boot,
		Settings: r.bounded(set), Store: parts.Store, Memory: parts.Memory, Fleet: parts.Fleet,
		Logger: r.options.Log,
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		parts.Upkeep(ctx, s)
	}()
	r.daemon = daemon{gen, s, parts.Handler(tlspolicy.NewHandler(s, r.options.Log)), parts.Memory, set, cancel, done}
}

// fullAt is how many policies the store holds at most while Full is on.
const fullAt = 1

// setFull lowers or raises the store's bound. The caller holds the lock.
func (w *world) setFull(s FullState) {
	if w.full == FullOn && s == FullOff {
		w.freed = time.Now()
	}
	w.full = s
}

// isFull reports whether policies may be evicted from the store. One whose lookup was running when the bound was raised
// may go a moment later. The caller holds the lock.
func (w *world) isFull() bool {
	bound := w.full == FullOn || !w.freed.IsZero() && time.Since(w.freed) < longestWait
	return bound && w.store.Len() > fullAt
}

// bounded returns the settings with the store's bound.
func (r *run) bounded(s resolver.Settings) resolver.Settings {
	if r.w.full == FullOn {
		s.MaxPolicies = fullAt
	}
	return s
}

// stop ends the daemon and waits for it.
func (r *run) stop() {
	r.daemon.cancel()
	r.daemon.service.Close()
	<-r.daemon.done
	synctest.Wait()
}

// waitIdle waits until everything that needs no time has happened, and returns the first violation.
func (r *run) waitIdle() error {
	synctest.Wait()
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	r.w.model.judgeIdle()
	if v := r.w.model.broken; v != nil {
		return v
	}
	return nil
}

// play does what an event says. It does not wait for what takes time.
func (r *run) play(e Event) (err error) {
	switch e := e.(type) {
	case Step:
		time.Sleep(e.For)
	case Restart:
		r.w.locked(func() { r.w.model.closing = true })
		r.stop()
		r.w.locked(func() { r.w.model.ended(orderlyEnd); r.w.endDaemon(); err = r.w.store.restart(true) })
		time.Sleep(e.Down)
		r.w.locked(func() { r.w.model.started = time.Now() })
		r.start()
	case Kill:
		r.w.locked(func() { r.w.model.ended(killedEnd); r.w.endDaemon(); err = r.w.store.restart(false) })
		r.stop()
		r.start()
	case Ask:
		r.ask(e)
	case Forget:
		r.forget(e.Domain)
	case Refresh:
		r.refresh(e.Domain)
	case Evict:
		r.daemon.memory.ForgetPolicy(dnsname.MustParse(Domain(e.Domain)))
		r.w.locked(func() { r.w.model.domains[e.Domain].evicted = true })
	case Full:
		r.w.locked(func() { r.w.setFull(e.State) })
		r.daemon.service.Reconfigure(r.bounded(r.daemon.settings))
	default:
		r.w.locked(func() { r.w.change(e) })
	}
	return err
}

// change does what an event says that changes the world. The caller holds the lock.
func (w *world) change(e Event) {
	switch e := e.(type) {
	case TXT:
		w.txt[e.Domain] = e
	case File:
		w.file[e.Domain] = e
	case Web:
		w.web[e.Domain] = e.State
	case Disk:
		if w.disk = e.State; w.disk != DiskOK {
			w.model.noNews()
		}
	case Peer:
		w.peer(e)
	case Engine:
		w.changeEngine(e.State)
	case News:
		w.changeNews(e.State)
	case Host:
		w.host = e.Lacks
	case Mute:
		w.mute = e.State
		w.tellDANE()
	case DANE:
		w.dane[e.Domain] = e.State
		w.tellDANE()
	case Clock:
		w.model.clockSet(w.model.wall().Add(e.By))
		w.ahead += e.By
	}
}

// ask asks as Postfix does. The answer is judged when it comes.
func (r *run) ask(e Ask) {
	var q *question
	r.w.locked(func() { q = r.w.model.questionBegins(e.Domain, e.Map) })
	handler := r.daemon.handler
	go func() {
		reply := handler.ServeSocketmap(context.Background(),
			socketmap.Request{Map: []byte(e.Map), Key: []byte(Domain(e.Domain))})
		r.w.locked(func() { r.w.model.answered(q, reply.String()) })
	}()
}

// forget forgets a domain as an administrator does. It may take as long as a running lookup.
func (r *run) forget(n int) {
	d := r.daemon
	r.w.locked(func() { r.w.model.domains[n].forgets++ })
	go func() {
		_, err := d.service.Admin().Forget(context.Background(), dnsname.MustParse(Domain(n)))
		r.w.locked(func() { r.w.model.forgot(n, d.gen, err) })
	}()
}

// refresh refreshes a domain as an administrator does.
func (r *run) refresh(n int) {
	d := r.daemon
	r.w.locked(func() { r.w.model.domains[n].refreshes++ })
	go func() {
		_, _ = d.service.Admin().Refresh(context.Background(), dnsname.MustParse(Domain(n)))
		r.w.locked(func() { r.w.model.refreshed(n, d.gen) })
	}()
}
