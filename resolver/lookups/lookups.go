// Package lookups runs at most one lookup for a key at a time, and gives its result to all who asked for it.
//
// A question that memory cannot answer costs DNS queries and perhaps an HTTPS fetch. A hundred mails to one domain
// must not cost a hundred of them. And only one goroutine at a time may write what is known of a domain, or an older
// finding could replace a newer one. A Group keeps both rules, for any type of key: mail domains, or DANE
// destinations.
//
// Each caller says why it asks: see Reason. The rules for one key are:
//
//   - Where nothing runs, a run begins.
//   - Where a lookup runs for the same reason or a stronger one, the caller joins it.
//   - Otherwise the caller waits in line for the next lookup. All callers who wait share that one lookup, and its
//     reason is the strongest of theirs.
//   - Exclusive puts another writer into the same line. Nobody joins it: callers who ask while it runs get a lookup
//     that begins after it.
//   - The line is served in order. A run that has begun goes on to its end, even when nobody waits for it any more.
//
// Nothing is kept of a key for which nothing runs. What has to be remembered, the run itself puts into a memory.
package lookups

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// Reason is why a lookup is asked for. A greater Reason demands more of the run, and what it finds serves a smaller
// one.
type Reason uint8

// The reasons, the weakest first.
const (
	Question Reason = iota // somebody waits for an answer, and what is stored will do
	IDCheck                // compare the id in the TXT record with the policy's (RFC 8461 section 3.1)
	Refresh                // the policy is due: fetch it, whatever its id (RFC 8461 section 3.3)
	Forced                 // an administrator's order: fetch the policy now, due or not
	reasons
)

// String returns a stable word for logs and metrics.
func (r Reason) String() string {
	if r >= reasons {
		return "invalid"
	}
	return [...]string{"question", "id_check", "refresh", "forced"}[r]
}

// ErrClosed is returned where the Group was closed before the run began: nothing was looked up, nothing was changed.
// Give no answer at all; the next process will be asked.
var ErrClosed = errors.New("shutting down")

// Group runs the lookups of many keys, one at a time for each. Make it with New. It is safe for concurrent use.
type Group[K comparable, R any] struct {
	lookUp   func(context.Context, K, Reason) R
	panicked func(K, *PanicError)
	ctx      context.Context // of all lookups; ends with Close
	cancel   context.CancelCauseFunc

	mu     sync.Mutex
	closed bool
	lines  map[K]*line[R] // of the keys for which something runs
	open   sync.WaitGroup // counts lines
}

// line is what runs for a key, and what waits behind it.
type line[R any] struct {
	running *run[R]
	waiting []*run[R] // in order; at most one of them is a lookup
}

// run is a lookup, or the turn of an Exclusive function.
type run[R any] struct {
	turn chan error // for an Exclusive function: takes nil when its turn comes, or ErrClosed. nil for a lookup

	wanted [reasons]int // callers who wait for a lookup that has not begun, by their reasons
	reason Reason       // once it has begun
	done   chan struct{}
	value  R     // once done
	err    error // once done: nil, *PanicError or ErrClosed
}

func (r *run[R]) isLookup() bool { return r.turn == nil }

// New makes a Group.
//
// lookUp does the lookup of one key, in a goroutine of its own. It must set its own time limit. Its context ends with
// Close, with the cause ErrClosed. It must not wait for anything that the Group does.
//
// panicked is called once for each panic in lookUp or in an Exclusive function, before the callers get the error, to
// log it. It must not panic.
func New[K comparable, R any](lookUp func(context.Context, K, Reason) R, panicked func(K, *PanicError)) *Group[K, R] {
	g := &Group[K, R]{lookUp: lookUp, panicked: panicked, lines: map[K]*line[R]{}}
	g.ctx, g.cancel = context.WithCancelCause(context.Background())
	return g
}

// Result is what a lookup returned, as one of its callers gets it.
type Result[R any] struct {
	Value R
	// Joined tells that the lookup had begun before the caller asked. It may have looked at the clock before the caller
	// did, and so may have kept a policy that had expired when the caller asked. A caller who cannot use such a value
	// asks once more: the next lookup then begins after the first question, Joined or not.
	Joined bool
}

// Ask looks the key up for a reason, or joins a lookup that does, and waits for the result. The error is ErrClosed, a
// *PanicError, or the cause of ctx's end. A caller whose ctx ends leaves alone: the lookup goes on for the others,
// but one that has not begun, and that nobody else wants, does not begin.
func (g *Group[K, R]) Ask(ctx context.Context, key K, reason Reason) (Result[R], error) {
	if ctx.Err() != nil {
		return Result[R]{}, context.Cause(ctx)
	}
	t := g.Start(key, reason)
	select {
	case <-t.Done():
		return t.Result()
	case <-ctx.Done():
		if !t.joined {
			g.leave(key, t.run, reason)
		}
		return Result[R]{}, context.Cause(ctx)
	}
}

// Ticket stands for a lookup that was asked for by Start.
type Ticket[R any] struct {
	run    *run[R]
	joined bool
}

// Done is closed when the result is there.
func (t Ticket[R]) Done() <-chan struct{} { return t.run.done }

// Result waits until Done and returns what Ask would.
func (t Ticket[R]) Result() (Result[R], error) {
	<-t.run.done
	return Result[R]{Value: t.run.value, Joined: t.joined}, t.run.err
}

// Start is Ask without waiting: the lookup takes place, whether or not anybody reads the result. A Group sets no
// bound on how many lookups run at once: who starts some in the background bounds them until their Done.
func (g *Group[K, R]) Start(key K, reason Reason) Ticket[R] {
	g.mu.Lock()
	defer g.mu.Unlock()
	l := g.lines[key]
	if l != nil && !g.closed && l.running.isLookup() && reason <= l.running.reason {
		return Ticket[R]{run: l.running, joined: true}
	}
	next := l.nextLookup()
	if next != nil {
		next.wanted[reason]++
		return Ticket[R]{run: next}
	}
	next = &run[R]{done: make(chan struct{})}
	next.wanted[reason]++
	g.enter(key, next)
	return Ticket[R]{run: next}
}

// Exclusive calls f in the caller's goroutine when its turn comes: after all that runs and waits for the key now, and
// never beside anything else for it. The error is nil when f returned; a *PanicError when it panicked; ErrClosed, or
// the cause of ctx's end, when f was not called. ctx bounds the wait alone. f must not wait for anything that the
// Group does.
func (g *Group[K, R]) Exclusive(ctx context.Context, key K, f func()) (err error) {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	r := &run[R]{turn: make(chan error, 1)}
	g.mu.Lock()
	g.enter(key, r)
	g.mu.Unlock()
	select {
	case err = <-r.turn:
		if err != nil {
			return err
		}
	case <-ctx.Done():
		if !g.withdraw(key, r) && <-r.turn == nil {
			g.end(key) // the turn came at the same moment
		}
		return context.Cause(ctx)
	}
	defer g.end(key)
	g.guard(key, &err, f)
	return err
}

// Close lets no run begin any more, and waits for those that have begun. Callers who wait for one that has not begun
// get ErrClosed; those who wait for a running one get its result, and its context ends. When Close returns, nothing
// runs for any key, and nothing will: who writes then is alone. It may be called more than once.
func (g *Group[K, R]) Close() {
	g.mu.Lock()
	g.closed = true
	for _, l := range g.lines {
		for _, r := range l.waiting {
			r.refuse()
		}
		l.waiting = nil
	}
	g.mu.Unlock()
	g.cancel(ErrClosed)
	g.open.Wait()
}

// nextLookup returns the lookup that waits in the line; nil when there is none, or no line.
func (l *line[R]) nextLookup() *run[R] {
	if l == nil {
		return nil
	}
	if i := slices.IndexFunc(l.waiting, (*run[R]).isLookup); i >= 0 {
		return l.waiting[i]
	}
	return nil
}

// enter puts a run at the end of the key's line, or begins it where there is no line. Call it with mu held.
func (g *Group[K, R]) enter(key K, r *run[R]) {
	l := g.lines[key]
	switch {
	case g.closed:
		r.refuse()
	case l != nil:
		l.waiting = append(l.waiting, r)
	default:
		l = &line[R]{}
		g.lines[key] = l
		g.open.Add(1)
		g.begin(key, l, r)
	}
}

// refuse tells those who wait for the run that it will never begin.
func (r *run[R]) refuse() {
	if !r.isLookup() {
		r.turn <- ErrClosed
		return
	}
	r.err = ErrClosed
	close(r.done)
}

// begin lets a run begin. Call it with mu held.
func (g *Group[K, R]) begin(key K, l *line[R], r *run[R]) {
	l.running = r
	if !r.isLookup() {
		r.turn <- nil
		return
	}
	for reason, callers := range r.wanted {
		if callers > 0 {
			r.reason = Reason(reason)
		}
	}
	go func() {
		defer g.end(key)
		g.guard(key, &r.err, func() { r.value = g.lookUp(g.ctx, key, r.reason) })
	}()
}

// end ends what runs for the key and begins what waits next. Callers hear of the end when nobody can join it any more.
func (g *Group[K, R]) end(key K) {
	g.mu.Lock()
	defer g.mu.Unlock()
	l := g.lines[key]
	if l.running.isLookup() {
		close(l.running.done)
	}
	if len(l.waiting) == 0 {
		delete(g.lines, key)
		g.open.Done()
		return
	}
	next := l.waiting[0]
	l.waiting = slices.Delete(l.waiting, 0, 1)
	g.begin(key, l, next)
}

// leave takes back that a caller wants a lookup. One that has not begun does not begin without callers.
func (g *Group[K, R]) leave(key K, r *run[R], reason Reason) {
	g.mu.Lock()
	defer g.mu.Unlock()
	r.wanted[reason]--
	if r.wanted == [reasons]int{} {
		g.remove(key, r)
	}
}

// withdraw takes an Exclusive function's turn out of the line; false: it is not there any more.
func (g *Group[K, R]) withdraw(key K, r *run[R]) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.remove(key, r)
}

// remove takes a run out of those that wait; false: it is not among them. Call it with mu held.
func (g *Group[K, R]) remove(key K, r *run[R]) bool {
	l := g.lines[key]
	if l == nil {
		return false
	}
	i := slices.Index(l.waiting, r)
	if i < 0 {
		return false
	}
	l.waiting = slices.Delete(l.waiting, i, i+1)
	return true
}
