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

// Parts is what a daemon is made of here. A test puts faulty ones in their place, to see that the model finds them out.
type Parts struct {
	DNS     resolver.DNS
	Fetcher resolver.Fetcher
	Store   resolver.Store
	Memory  resolver.Memory
	Clock   func() time.Time
	Upkeep  func(context.Context, *resolver.Service) // runs until the context ends
	Handler func(socketmap.Handler) socketmap.Handler
}

// Options say how a script is played.
type Options struct {
	Dir      string                                    // for the real store's files; empty, and this run's alone
	SetClock func(*resolver.Service, func() time.Time) // which only tests of package resolver can do
	Sabotage func(Parts) Parts                         // nil: the parts are sound
	Log      *slog.Logger                              // of the service; nil: none
}

// Result is what came of a script.
type Result struct {
	Violation error // a *Violation, or nil
	At        int   // the event that brought it out
	Questions int   // answered and judged
}

// Run plays a script to its end, or to the first violation. It must be called inside a synctest bubble. The error is
// that of the real store's files.
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
	r.start()
	defer func() {
		r.stop()
		_ = store.close()
	}()
	for i, e := range s.Events {
		if err := r.play(e); err != nil {
			return Result{}, fmt.Errorf("event %d, %s: %w", i, e, err)
		}
		if v := r.settle(); v != nil {
			return Result{Violation: v, At: i, Questions: r.w.model.Questions}, nil
		}
	}
	return Result{At: len(s.Events), Questions: r.w.model.Questions}, nil
}

// run is a script being played.
type run struct {
	options Options
	w       *world
	daemon  daemon
}

// daemon is the one that runs.
type daemon struct {
	gen     int
	service *resolver.Service
	handler socketmap.Handler
	cancel  context.CancelFunc
	done    chan struct{} // of its upkeep
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
	if r.options.Sabotage != nil {
		parts = r.options.Sabotage(parts)
	}
	s := resolver.NewService(resolver.Options{
		DANEMemory: cache.NewDANEFindings(),
		Settings:   resolver.Settings{DNS: parts.DNS, Fetcher: parts.Fetcher}, Store: parts.Store, Memory: parts.Memory,
		Logger: r.options.Log,
	})
	r.options.SetClock(s, parts.Clock)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		parts.Upkeep(ctx, s)
	}()
	r.daemon = daemon{gen, s, parts.Handler(tlspolicy.NewHandler(s, r.options.Log)), cancel, done}
}

// stop ends the daemon and waits for it.
func (r *run) stop() {
	r.daemon.cancel()
	r.daemon.service.Close()
	<-r.daemon.done
	synctest.Wait()
}

// settle lets everything happen that needs no time, and returns the first violation.
func (r *run) settle() error {
	synctest.Wait()
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	r.w.model.quiet()
	if v := r.w.model.broken; v != nil {
		return v
	}
	return nil
}

// play does what an event says. It returns when the event is over, but for what takes time.
func (r *run) play(e Event) (err error) {
	switch e := e.(type) {
	case Step:
		time.Sleep(e.For)
	case Restart:
		r.w.locked(func() { r.w.model.closing = true })
		r.stop()
		r.w.locked(func() { r.w.model.ended(orderlyEnd); err = r.w.store.restart(true) })
		time.Sleep(e.Down)
		r.w.locked(func() { r.w.model.started = time.Now() })
		r.start()
	case Kill:
		r.w.locked(func() { r.w.model.ended(killedEnd); err = r.w.store.restart(false) })
		r.stop()
		r.start()
	case Ask:
		r.ask(e)
	case Forget:
		r.forget(e.Domain)
	case Refresh:
		r.refresh(e.Domain)
	default:
		r.w.locked(func() { r.w.change(e) })
	}
	return err
}

// change is an event of the world's. The lock is held.
func (w *world) change(e Event) {
	switch e := e.(type) {
	case TXT:
		w.txt[e.Domain] = e
	case File:
		w.file[e.Domain] = e
	case Web:
		w.web[e.Domain] = e.State
	case Disk:
		w.disk = e.State
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

// ask has Postfix ask. The answer is judged when it comes.
func (r *run) ask(e Ask) {
	var q *question
	r.w.locked(func() { q = r.w.model.ask(e.Domain, e.Map) })
	handler := r.daemon.handler
	go func() {
		reply := handler.ServeSocketmap(context.Background(),
			socketmap.Request{Map: []byte(e.Map), Key: []byte(Domain(e.Domain))})
		r.w.locked(func() { r.w.model.answered(q, reply.String()) })
	}()
}

// forget is an administrator's. It may take as long as a lookup under way.
func (r *run) forget(n int) {
	d := r.daemon
	r.w.locked(func() { r.w.model.domains[n].forgets++ })
	go func() {
		_, err := d.service.Forget(context.Background(), dnsname.MustParse(Domain(n)))
		r.w.locked(func() { r.w.model.forgot(n, d.gen, err) })
	}()
}

// refresh is an administrator's.
func (r *run) refresh(n int) {
	d := r.daemon
	r.w.locked(func() { r.w.model.domains[n].demanded++ })
	go func() {
		_, _ = d.service.Refresh(context.Background(), dnsname.MustParse(Domain(n)))
		r.w.locked(func() { r.w.model.refreshed(n, d.gen) })
	}()
}
