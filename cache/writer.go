package cache

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"maps"
	"runtime/debug"
	"slices"
	"syscall"
	"time"
)

// One goroutine writes. It takes whatever operations wait, makes them one commit, and answers each; while it waits for the
// disk, the next ones gather. So an operation that is alone is written at once, and a thousand cost hardly more than one.

// Bounds on one commit.
const (
	maxBatch      = 1000
	maxBatchBytes = 8 << 20
)

// opKind is what is asked of the writer.
type opKind uint8

const (
	opPut    opKind = iota + 1
	opDelete        // of a record, whatever it is
	opDrop          // of a record that is damaged
	opHeal          // of the file, because of damage that a reader met
	opReady         // only that there be an open file
)

// verdict is what an operation does to the record that it finds.
type verdict uint8

const (
	keep verdict = iota // as it is; for opPut: it is the same
	stale
	write
	remove
)

// op is an operation waiting for the writer. verdict is for the submitter once it was answered.
type op struct {
	ctx  context.Context
	kind opKind
	done chan error

	key              string
	value            []byte // opPut
	fetched, checked time.Time

	broken *handle // opHeal: nothing is done when another is in its place already
	cause  *damage

	verdict verdict
}

// submit hands an operation to the writer and waits for the answer.
func (b *Bolt) submit(ctx context.Context, o *op) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	o.ctx, o.done = ctx, make(chan error, 1)
	select {
	case b.ops <- o:
	case <-b.closing:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-o.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// write is the writer.
func (b *Bolt) write() {
	debug.SetPanicOnFault(true) // bbolt writes by what it reads from its map
	defer close(b.ended)
	for {
		select {
		case o := <-b.ops:
			b.serve(b.gather(o))
		case <-b.closing:
			if h := b.cur.Swap(nil); h != nil {
				b.closed = h.close()
			}
			return
		}
	}
}

// gather returns the operations that wait, in the order in which they came.
func (b *Bolt) gather(first *op) []*op {
	batch, size := []*op{first}, len(first.value)
	for len(batch) < maxBatch && size < maxBatchBytes {
		select {
		case o := <-b.ops:
			batch = append(batch, o)
			size += len(o.value)
		default:
			return batch
		}
	}
	return batch
}

// serve carries out a batch and answers everybody in it.
func (b *Bolt) serve(batch []*op) {
	batch = slices.DeleteFunc(batch, func(o *op) bool {
		err := o.ctx.Err()
		if err != nil {
			o.done <- err
		}
		return err != nil
	})
	err := b.carryOut(batch)
	for _, o := range batch {
		b.tally(o, err)
		o.done <- err
	}
}

// carryOut makes a batch one commit. A file that is damaged is healed first, or when it turns out to be; then the batch is begun
// again, once.
func (b *Bolt) carryOut(batch []*op) error {
	for _, o := range batch {
		if o.kind == opHeal && b.cur.Load() == o.broken {
			if err := b.replace(o.cause); err != nil {
				return err
			}
		}
	}
	err := b.attempt(batch)
	if d := (*damage)(nil); errors.As(err, &d) {
		if err := b.replace(d); err != nil {
			return err
		}
		err = b.attempt(batch)
	}
	return err
}

// replace heals the open file; one that was moved away is only closed, and what is in its place opened by ready.
func (b *Bolt) replace(cause *damage) error {
	if h := b.cur.Swap(nil); h != nil {
		moved := !isAt(h.file, b.path)
		_ = h.close() // whatever it says, this file is not used again
		if moved {
			return nil
		}
	}
	h, err := b.heal(cause)
	if err == nil {
		b.cur.Store(h)
	}
	return err
}

// ready returns the open file. It opens the store anew after a failure, and when somebody moved the file away: what is written to
// a file without a name would be gone with the process.
func (b *Bolt) ready() (*handle, error) {
	h := b.cur.Load()
	if h != nil && isAt(h.file, b.path) {
		return h, nil
	}
	if h != nil {
		b.log.Warn("the policy store's file was removed or replaced while it was in use; stsmapd goes on with what is there now, "+
			"and puts what it has in memory into it", "event", "store_replaced", "path", b.path)
		b.renew()
		b.cur.Store(nil)
		_ = h.close()
	}
	h, err := b.open()
	if errors.Is(err, syscall.EROFS) || errors.Is(err, fs.ErrPermission) {
		if read, readErr := b.openToRead(); readErr == nil {
			h, err = read, nil
		}
	}
	if err == nil {
		b.cur.Store(h)
	}
	return h, err
}

// writable opens the file anew for writing, in the place of a handle that can only read. Where that cannot be either, ready
// finds a way to read again.
func (b *Bolt) writable(h *handle) error {
	b.cur.Store(nil)
	_ = h.close()
	h, err := b.open()
	if err == nil {
		b.cur.Store(h)
	}
	return err
}

// attempt makes a batch one commit, if it changes anything.
func (b *Bolt) attempt(batch []*op) error {
	h, err := b.ready()
	if err != nil {
		return err
	}
	changes, count, err := plan(h, batch, b.count.Load())
	if err != nil || len(changes) == 0 {
		return err
	}
	if h.readOnly {
		if err := b.writable(h); err != nil {
			return err
		}
		return b.attempt(batch)
	}
	err = h.apply(changes, count)
	if err == nil {
		b.stats.commits.Add(1)
		b.count.Store(count)
		return nil
	}
	b.stats.commitErrors.Add(1)
	if d := (*damage)(nil); !errors.As(err, &d) {
		// What bbolt keeps in memory may be ahead of the file now, or its map gone: begin anew from the file.
		b.cur.Store(nil)
		_ = h.close()
	}
	return err
}

// plan decides what each operation does, in order, and returns what comes of it: one change for each key, and the new count.
func plan(h *handle, batch []*op, count uint64) ([]change, uint64, error) {
	ahead := map[string][]byte{} // records as the operations so far leave them; nil: removed
	err := h.policies(func(policies tree) error {
		for _, o := range batch {
			if o.key == "" {
				continue
			}
			record, known := ahead[o.key]
			if !known {
				e, _, err := policies.find([]byte(o.key))
				if err != nil {
					return err
				}
				record = e.value
			}
			switch o.verdict = o.decide(record); {
			case o.verdict == write && record == nil:
				count++
			case o.verdict == remove:
				count--
			}
			if o.verdict == write || o.verdict == remove {
				ahead[o.key] = o.value
			}
		}
		return nil
	})
	changes := make([]change, 0, len(ahead))
	for _, key := range slices.Sorted(maps.Keys(ahead)) {
		changes = append(changes, change{key, ahead[key]})
	}
	return changes, count, err
}

// decide says what an operation does to a record; nil: there is none.
func (o *op) decide(record []byte) verdict {
	switch {
	case o.kind == opPut:
		return o.decidePut(record)
	case record == nil:
		return keep
	case o.kind == opDrop:
		_, err := decode(o.key, record)
		if c := (*CorruptError)(nil); !errors.As(err, &c) {
			return keep
		}
	}
	return remove
}

// decidePut is the rule of resolver.Store: what was fetched earlier never replaces what was fetched later, except what a clock that
// ran ahead wrote.
func (o *op) decidePut(record []byte) verdict {
	if bytes.Equal(record, o.value) {
		return keep
	}
	fetched, err := recordFetched(o.key, record)
	if err == nil && o.fetched.Before(fetched) && !fetched.After(o.checked) {
		return stale
	}
	return write
}

// tally counts an operation that was carried out.
func (b *Bolt) tally(o *op, err error) {
	c := &b.stats
	switch {
	case err != nil && (o.kind == opPut || o.kind == opDelete):
		c.writeErrors.Add(1)
	case err != nil:
	case o.kind == opPut:
		c.puts.Add(1)
		if o.verdict == stale {
			c.stale.Add(1)
		}
	case o.kind == opDelete:
		c.deletes.Add(1)
	case o.kind == opDrop && o.verdict == remove:
		c.corrupt.Add(1)
	}
}
