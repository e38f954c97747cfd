package store

import (
	"bytes"
	"context"

	"go.etcd.io/bbolt"

	"github.com/stsmapd/stsmapd/cache/record"
)

// opKind is what is asked of the writer.
type opKind uint8

const (
	opReady  opKind = iota // that there be an open file, another than a broken one
	opPut                  // a record
	opDelete               // a record, whatever it is
	opMend                 // a record that is damaged: put another or none in its place
)

// verdict is what an operation did to the record that it found.
type verdict uint8

const (
	kept  verdict = iota // as it is; for opPut: it is the same
	stale                // as it is: it was fetched later
	added
	replaced
	removed
)

// op is an operation waiting for the writer. verdict is for the submitter once it was answered.
type op struct {
	ctx  context.Context
	kind opKind
	done chan error

	key              string
	value            []byte // opPut, opMend (nil: none)
	fetched, checked int64  // milliseconds since 1970 UTC

	broken *handle // opReady: nothing is done when another is in its place already
	cause  *damage

	verdict verdict
}

// apply carries out an operation on the bucket of records, and counts it.
func (o *op) apply(policies *bbolt.Bucket, n *Stats) (err error) {
	if o.verdict = kept; o.kind == opReady || o.ctx.Err() != nil {
		return nil
	}
	key := []byte(o.key)
	if err := checkAround(policies, key); err != nil {
		return err
	}
	old := policies.Get(key)
	changed := true // the policy, not only what is noted of its use
	switch o.kind {
	case opPut:
		n.Puts++
		if old == nil {
			o.verdict = added
			n.Policies++
		} else if !bytes.Equal(old, o.value) {
			// What was fetched earlier never replaces what was fetched later, except what a clock that ran ahead wrote
			// (resolver.Store).
			fetched, err := record.Fetched(o.key, old)
			at := fetched.UnixMilli()
			if o.verdict = replaced; err == nil && o.fetched < at && at <= o.checked {
				o.verdict = stale
				n.Stale++
			}
			changed = err != nil || o.fetched != at
		}
	case opDelete:
		n.Deletes++
		if old != nil {
			o.verdict = removed
		}
	case opMend:
		if _, err := record.Decode(o.key, old); old != nil && isCorrupt(err) {
			n.CorruptRecords++
			if o.verdict = replaced; o.value == nil {
				o.verdict = removed
			}
		}
	}
	switch o.verdict {
	case kept, stale:
		return nil
	case removed:
		n.Policies--
		n.removed++
		err = policies.Delete(key)
	default:
		err = policies.Put(key, o.value)
	}
	if changed {
		n.changed++
	}
	if err != nil {
		return damaged("writing the record of %s: %v", o.key, err)
	}
	return nil
}

// checkAround checks that what bbolt writes again together with a key are records, in their order: those on the same
// page and on the two beside it. Where a damaged length makes one look like gigabytes, bbolt would ask for as much
// memory to copy it.
func checkAround(policies *bbolt.Bucket, key []byte) error {
	const most = 4 // records on a page that is larger than one
	page := policies.Tx().DB().Info().PageSize
	c := policies.Cursor()
	for _, side := range []int{1, -1} {
		step, last := c.Next, key
		k, v := c.Seek(key)
		if side < 0 {
			step = c.Prev
			k, v = step()
		}
		for n, size := 0, 0; k != nil && (n < 2*most || size < 2*page); n++ {
			order := bytes.Compare(k, last)
			if v == nil || len(k) > maxKey || len(v) > record.MaxSize || order != side &&
				!(order == 0 && n == 0 && side > 0) {
				return damaged("what stands under %q is no record, or out of order", k[:min(len(k), maxKey)])
			}
			size, last = size+len(k)+len(v), k
			k, v = step()
		}
	}
	return nil
}
