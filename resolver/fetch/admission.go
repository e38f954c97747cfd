package fetch

import (
	"context"
	"fmt"
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

// Admit calls the Admission of a fetch's context, if it has one.
func Admit(ctx context.Context, network fair.Network) error {
	if admit, ok := ctx.Value(admissionKey{}).(Admission); ok {
		return admit(ctx, network)
	}
	return nil
}

// limit ends a context after a time, which stands still meanwhile where somebody waits for something else.
type limit struct {
	timer *time.Timer
	begin time.Time
	total time.Duration
}

// withLimit is context.WithTimeoutCause with a limit that can be paused.
func withLimit(ctx context.Context, total time.Duration) (context.Context, *limit, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	l := &limit{begin: time.Now(), total: total}
	l.timer = time.AfterFunc(total, func() { cancel(fmt.Errorf("not finished within %v", total)) })
	return ctx, l, func() { l.timer.Stop(); cancel(nil) }
}

// pause lets the time stand still while wait runs.
func (l *limit) pause(wait func() error) error {
	if !l.timer.Stop() {
		return nil // it is over
	}
	spent := time.Since(l.begin)
	err := wait()
	l.timer.Reset(l.total - spent)
	return err
}
