package fetch

import (
	"context"
	"time"

	"github.com/stsmapd/stsmapd/resolver/fair"
)

// Admission is called once in a fetch, before the policy host is connected to, with the network of the address that is
// tried first. It may wait for its turn; that does not count as time of the fetch. Its error ends the fetch. A fetch
// through a proxy calls none.
type Admission func(ctx context.Context, network fair.Network) error

type admissionKey struct{}

// WithAdmission returns a context whose fetch calls admit.
func WithAdmission(ctx context.Context, admit Admission) context.Context {
	return context.WithValue(ctx, admissionKey{}, admit)
}

// Admit calls the Admission of a fetch's context, if it has one. The limits of the context stand still meanwhile.
func Admit(ctx context.Context, network fair.Network) error {
	admit, ok := ctx.Value(admissionKey{}).(Admission)
	if !ok {
		return nil
	}
	return limitOf(ctx).pause(func() error { return admit(ctx, network) })
}

// Limit is how long a fetch may take. The wait for its Admission does not count. One goroutine may use it.
type Limit struct {
	outer *Limit // nil: none
	timer *time.Timer
	begin time.Time // later than the real begin by what does not count
	total time.Duration
	cause error // of the end of the context
}

type limitKey struct{}

// limitOf is the innermost limit of a context; nil: none.
func limitOf(ctx context.Context) *Limit {
	l, _ := ctx.Value(limitKey{}).(*Limit)
	return l
}

// WithLimit is context.WithTimeoutCause for the context of a fetch, but that the context has no deadline: its limit
// stands still while the fetch waits for its Admission.
func WithLimit(ctx context.Context, total time.Duration, cause error) (context.Context, *Limit, context.CancelFunc) {
	l := &Limit{outer: limitOf(ctx), begin: time.Now(), total: total, cause: cause}
	ctx, cancel := context.WithCancelCause(ctx)
	l.timer = time.AfterFunc(total, func() { cancel(cause) })
	return context.WithValue(ctx, limitKey{}, l), l, func() { l.timer.Stop(); cancel(nil) }
}

// Spent returns how much of the time is over.
func (l *Limit) Spent() time.Duration { return time.Since(l.begin) }

// LimitEnded reports whether a context has ended by a limit of WithLimit. Its cause then says which; its error is
// context.Canceled.
func LimitEnded(ctx context.Context) bool {
	cause := context.Cause(ctx)
	for l := limitOf(ctx); l != nil && cause != nil; l = l.outer {
		if l.cause == cause {
			return true
		}
	}
	return false
}

// left returns how much time this limit and those around it leave.
func (l *Limit) left() time.Duration {
	left := l.total - l.Spent()
	if l.outer != nil {
		left = min(left, l.outer.left())
	}
	return left
}

// pause lets the time of this limit and of those around it stand still while wait runs. A nil Limit is none.
func (l *Limit) pause(wait func() error) error {
	if l == nil {
		return wait()
	}
	if !l.timer.Stop() {
		return nil // it is over
	}
	spent := l.Spent()
	defer func() {
		l.begin = time.Now().Add(-spent)
		l.timer.Reset(l.total - spent)
	}()
	return l.outer.pause(wait)
}
