package cache

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	berrors "go.etcd.io/bbolt/errors"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// Bolt is a resolver.Store in one file, for one process. Of its errors that are not the context's: *IOError when the disk fails,
// ErrClosed after Close. It heals a damaged file by itself, also while it runs.
type Bolt struct {
	path  string
	log   *slog.Logger
	now   func() time.Time
	stats counters
	count atomic.Uint64 // of policies, as last committed

	// cur is the open file. Only the writer changes it; nil while it is being healed, and after a failure until the next
	// operation. It can only be read after a failure on a disk that has become read-only.
	cur atomic.Pointer[handle]

	renewed chan struct{} // see Renewed
	ops     chan *op
	closing chan struct{} // closed to end the writer
	ended   chan struct{} // closed when the writer has ended
	once    sync.Once
	closed  error // of closing the file; set before ended is closed
}

var _ resolver.Store = (*Bolt)(nil)

// BoltOptions are what a Bolt needs from outside. The zero value logs nothing.
type BoltOptions struct {
	Logger *slog.Logger
	Now    func() time.Time // for the name of a file set aside; time.Now when nil
}

// OpenBolt opens the store at path, or begins one, with its directory. It takes a second at most when another process has it
// open, and else a few milliseconds, however many policies there are; healing a damaged file takes some seconds for a
// million. The errors are *LockedError, *SchemaError and *IOError. Close it after use.
func OpenBolt(path string, opt BoltOptions) (*Bolt, error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	b := &Bolt{path: path, log: opt.Logger, now: opt.Now, renewed: make(chan struct{}, 1), ops: make(chan *op), closing: make(chan struct{}), ended: make(chan struct{})}
	if b.log == nil {
		b.log = slog.New(slog.DiscardHandler)
	}
	if b.now == nil {
		b.now = time.Now
	}
	h, err := b.begin()
	locked, newer := (*LockedError)(nil), (*SchemaError)(nil)
	switch {
	case errors.As(err, &locked):
		return nil, locked
	case errors.As(err, &newer):
		return nil, newer
	case err != nil:
		return nil, b.fault("open", err)
	}
	b.cur.Store(h)
	go b.write()
	return b, nil
}

func (b *Bolt) begin() (h *handle, err error) {
	if b.path, err = filepath.Abs(b.path); err != nil {
		return nil, err
	}
	return b.open()
}

// Close waits for the commit in progress, answers ErrClosed to whoever still waits, and closes the file. More calls do nothing.
func (b *Bolt) Close() error {
	b.once.Do(func() { close(b.closing) })
	<-b.ended
	if b.closed != nil {
		return b.fault("close", b.closed)
	}
	return nil
}

// Renewed tells that the store has begun anew and may lack what it had: its file was damaged, removed or replaced. Who still has
// it in memory should put it again.
func (b *Bolt) Renewed() <-chan struct{} { return b.renewed }

// renew makes Renewed tell.
func (b *Bolt) renew() {
	select {
	case b.renewed <- struct{}{}:
	default: // it has yet to be heard
	}
}

// Len is how many policies there are, expired ones included.
func (b *Bolt) Len() int { return int(b.count.Load()) }

// Get implements resolver.Store. A record that turns out to be damaged is dropped, with a warning, and is ErrNotCached; one of a
// newer stsmapd is left alone, and is ErrNotCached too.
func (b *Bolt) Get(ctx context.Context, domain dnsname.Name) (resolver.Entry, error) {
	key := domain.String()
	var record []byte
	err := b.read(ctx, func(h *handle) (err error) {
		record, err = h.record([]byte(key))
		return err
	})
	if err != nil {
		return resolver.Entry{}, b.fault("get", err)
	}
	if record == nil {
		return resolver.Entry{}, resolver.ErrNotCached
	}
	e, err := decode(key, record)
	if err == nil {
		return e, nil
	}
	if b.drop(ctx, key, err) {
		b.log.Warn("a policy's record in the store was damaged: it was dropped, and the policy is looked up anew; "+
			"if this happens again, check the disk", "event", "store_record_dropped", "domain", key, "path", b.path, "error", err)
	}
	return resolver.Entry{}, fmt.Errorf("%w: %w", resolver.ErrNotCached, err)
}

// drop removes a record that decode refused, if it is a damaged one, and reports whether it was this call that did.
func (b *Bolt) drop(ctx context.Context, key string, err error) bool {
	if c := (*CorruptError)(nil); !errors.As(err, &c) {
		return false
	}
	o := &op{kind: opDrop, key: key}
	return b.submit(ctx, o) == nil && o.verdict == remove
}

// Put implements resolver.Store. Puts that wait at the same time share a commit; one that is alone does not wait for others.
// Times are kept to the millisecond, and of Trouble.Reason the first 1,024 bytes.
func (b *Bolt) Put(ctx context.Context, e resolver.Entry) error {
	record, err := encode(e)
	if err != nil {
		return fmt.Errorf("policy store: %w", err)
	}
	o := &op{kind: opPut, key: e.Domain.String(), value: record, fetched: toMilli(e.Fetched), checked: toMilli(e.Checked)}
	return b.fault("put", b.submit(ctx, o))
}

func toMilli(t time.Time) time.Time { return time.UnixMilli(t.UnixMilli()) }

// Delete implements resolver.Store.
func (b *Bolt) Delete(ctx context.Context, domain dnsname.Name) error {
	return b.fault("delete", b.submit(ctx, &op{kind: opDelete, key: domain.String()}))
}

// Bounds on what a walk takes from the file at a time.
const (
	walkRecords = 256
	walkBytes   = 1 << 20
)

// All implements resolver.Store. A damaged record is dropped after its error, a *CorruptError, was yielded; one of a newer
// stsmapd yields ErrVersion and stays.
func (b *Bolt) All(ctx context.Context) iter.Seq2[resolver.Entry, error] {
	return func(yield func(resolver.Entry, error) bool) {
		var last []byte
		for {
			found, err := b.after(ctx, last)
			if err != nil {
				yield(resolver.Entry{}, b.fault("walk", err))
				return
			}
			if len(found) == 0 {
				return
			}
			for _, r := range found {
				if err := ctx.Err(); err != nil {
					yield(resolver.Entry{}, err)
					return
				}
				e, err := decode(string(r.key), r.value)
				if err != nil {
					b.drop(ctx, string(r.key), err)
					e.Domain, _ = dnsname.Parse(string(r.key))
					err = fmt.Errorf("policy store: %s: %w", r.key, err)
				}
				if !yield(e, err) {
					return
				}
			}
			last = found[len(found)-1].key
		}
	}
}

// after returns the next records of a walk, in the order of their keys.
func (b *Bolt) after(ctx context.Context, last []byte) ([]element, error) {
	var found []element
	err := b.read(ctx, func(h *handle) error {
		size := 0
		found = found[:0]
		return h.policies(func(policies tree) error {
			return policies.scan(last, func(e element) bool {
				found = append(found, e)
				size += len(e.value)
				return len(found) < walkRecords && size < walkBytes
			})
		})
	})
	return found, err
}

// maxTries bounds how often an operation is begun again because the file under it was healed.
const maxTries = 4

// read calls look with the open file. A file that turns out to be damaged is healed, and look called again.
func (b *Bolt) read(ctx context.Context, look func(*handle) error) (err error) {
	for range maxTries {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		h := b.cur.Load()
		if h == nil {
			if err := b.submit(ctx, &op{kind: opReady}); err != nil {
				return err
			}
			continue
		}
		err = look(h)
		d := (*damage)(nil)
		switch {
		case errors.As(err, &d):
			if err := b.submit(ctx, &op{kind: opHeal, broken: h, cause: d}); err != nil {
				return err
			}
		case errors.Is(err, berrors.ErrDatabaseNotOpen), errors.Is(err, os.ErrClosed): // another takes its place
		default:
			return err
		}
	}
	return err
}

// fault makes the errors of the system and of bbolt an *IOError; the context's and ErrClosed say enough.
func (b *Bolt) fault(op string, err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrClosed) {
		return err
	}
	return &IOError{Op: op, Path: b.path, Err: err}
}
