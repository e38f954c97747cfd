package store

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/stsmapd/stsmapd/cache/record"
)

// open opens the store's file, whatever state the last run left it in: not there, sound or damaged. The errors are
// *LockedError, *SchemaError and those of the system.
//
// A second file, the marker, exists only while bbolt opens the first, or reads it when it is damaged. If it is found,
// that ended the process: bbolt is not let onto that file again but for reading, and if the marker has grown, not at
// all.
func (s *Store) open() error {
	if err := makeDir(filepath.Dir(s.path)); err != nil { // it may have been removed while we ran
		return err
	}
	info, err := os.Stat(s.path)
	_, noMarker := os.Stat(s.path + marker)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return s.recover(&damage{"it is missing"})
	case err != nil:
		return err
	case info.Size() == 0: // bbolt would take it for a new one
		return s.recover(&damage{"it is empty"})
	case noMarker == nil:
		return s.recover(&damage{"the last process that opened it was ended by that"})
	}
	s.mark()
	err = s.use(os.O_RDWR)
	s.unmark()
	if d, ok := as[*damage](err); ok {
		return s.recover(d)
	}
	_ = os.Remove(s.path + ".new") // of a recovery that was cut short
	return err
}

const marker = ".opening"

func (s *Store) mark() {
	// without it all goes on
	if f, err := os.OpenFile(s.path+marker, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600); err == nil {
		_, _ = f.Write([]byte{'.'})
		_ = f.Close()
	}
}

func (s *Store) unmark() { _ = os.Remove(s.path + marker) }

// use opens the file, checks the layout and learns how many policies there are.
func (s *Store) use(flag int) error {
	h, err := openHandle(s.path, flag)
	if err != nil {
		return err
	}
	count, ok := uint64(0), false
	if err = s.checkSchema(h); err == nil {
		count, ok, err = h.number(keyCount)
	}
	for from := []byte{0}; err == nil && !ok; { // slow, for when the number was damaged
		var some []pair
		if some, err = h.scan(from); len(some) == 0 {
			break
		}
		count, from = count+uint64(len(some)), append([]byte(some[len(some)-1].key), 0)
	}
	if err != nil {
		return errors.Join(err, h.close())
	}
	s.note(func(n *Stats) { n.Policies = count })
	s.cur.Store(h)
	return nil
}

func (s *Store) checkSchema(h *handle) error {
	found, ok, err := h.number(keySchema)
	switch {
	case err != nil:
		return err
	case !ok:
		return damaged("the number of its layout is gone")
	case found > schema:
		return &SchemaError{s.path, found, schema}
	}
	return nil
}

// heal puts another file in the place of a damaged one that is in use. One that was moved away is only closed, and one
// whose map a guard took away, for the first time in a minute, is opened again: memory may have grown for another
// reason, while the disk was slow.
func (s *Store) heal(h *handle, cause *damage) error {
	s.cur.Store(nil)
	here := isAt(h.file, s.path)
	_ = h.close() // whatever it says, this file is not used again
	if h.cut.Load() && time.Since(s.lastCut) > time.Minute {
		s.lastCut = time.Now()
		return nil
	}
	if here {
		return s.recover(cause)
	}
	s.moved()
	return nil
}

// recover puts a new file in the place of one that is damaged or missing, and fills it. The damaged one is kept under a
// name with the time. A crash in the midst loses nothing: the damaged one has its name until the new one is complete.
func (s *Store) recover(cause *damage) (err error) {
	name, r := s.path+".new", refill{expected: s.stats.Load().Policies}
	grown, _ := os.Stat(s.path + marker)
	s.mark()
	defer s.unmark()
	if grown == nil || grown.Size() < 2 {
		old, err := openHandle(s.path, os.O_RDONLY)
		if locked, ok := as[*LockedError](err); ok {
			return locked
		}
		if err == nil {
			defer old.close()
			if newer, ok := as[*SchemaError](s.checkSchema(old)); ok {
				return newer
			}
			r.old = old
		}
	}
	_ = os.Remove(name) // of a recovery that was cut short
	if r.to, err = openHandle(name, os.O_RDWR|os.O_CREATE|os.O_EXCL); err != nil {
		return err
	}
	aside := ""
	if err = r.fill(s.snapshotPath); err == nil {
		aside, err = s.setAside()
	}
	if err = errors.Join(err, r.to.close()); err == nil {
		err = errors.Join(os.Rename(name, s.path), syncDir(filepath.Dir(s.path)))
	}
	if err != nil {
		_ = os.Remove(name) // it may be what fills the disk
		return err
	}
	s.report(cause, aside, r)
	return s.use(os.O_RDWR)
}

// report counts a recovery and logs its one line.
func (s *Store) report(cause *damage, aside string, r refill) {
	if aside == "" && r.count == 0 {
		return // a first start
	}
	lost := r.expected - min(r.expected, r.count)
	s.note(func(n *Stats) {
		n.Policies, n.Salvaged, n.Lost, n.changed = r.count, n.Salvaged+r.count, n.Lost+lost, n.changed+1
		if aside != "" {
			n.Heals++
		}
	})
	log := s.log.With("path", s.path, "cause", cause.what, "salvaged", r.count, "lost", lost)
	if aside != "" {
		s.renew()
		log.Error("the policy store was damaged: it was set aside, and a new one has every policy that could still "+
			"be read of it, of its "+
			"snapshot and of memory; each is looked up before it is answered; check the disk, then remove the file "+
			"set aside",
			"event", "store_corrupt", "set_aside", aside)
	} else {
		log.Warn("the policy store was missing: a new one has the policies of its snapshot, each is looked up before "+
			"it is answered",
			"event", "store_restored")
	}
}

// keptAside is how many damaged files are kept.
const keptAside = 2

// setAside gives the damaged file, if there is one, a second name, with the time, that nothing has yet, and removes the
// oldest of those before it.
func (s *Store) setAside() (string, error) {
	if _, err := os.Stat(s.path); errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	before, err := filepath.Glob(s.path + ".corrupt-*")
	if err != nil {
		return "", err
	}
	slices.Sort(before)
	name := s.path + ".corrupt-" + s.now().UTC().Format("20060102T150405Z")
	aside := name
	for i := 2; slices.Contains(before, aside); i++ {
		aside = fmt.Sprintf("%s-%d", name, i)
	}
	for _, old := range before[:max(0, len(before)-keptAside+1)] {
		_ = os.Remove(old)
	}
	if os.Link(s.path, aside) == nil {
		return aside, nil
	}
	return aside, os.Rename(s.path, aside) // a file system without hard links
}

// refill fills a new file, many records to a commit.
type refill struct {
	to, old  *handle // old: the damaged file, to be read; nil: it cannot be
	pending  []pair
	bytes    int
	count    uint64 // of records in the new file
	expected uint64 // that there were, as far as is known
}

// Bounds: on what a refill holds in memory, and on how long a damaged file is read, with how much of it in each second
// more.
const (
	maxPending      = 4096
	maxPendingBytes = 8 << 20
	salvageTime     = time.Second
	salvageRate     = 64 << 20
)

// fill writes the layout and all records. It syncs at the end alone: nobody knows the file before.
func (r *refill) fill(snapshot string) error {
	r.to.db.NoSync = true
	err := r.to.transact(true, func(tx *bbolt.Tx) error {
		meta, err := tx.CreateBucket([]byte(bucketMeta))
		if err != nil {
			return err
		}
		_, err = tx.CreateBucket([]byte(bucketPolicies))
		return errors.Join(err, addRoom(meta), meta.Put([]byte(keySchema), record.EncodeNumber(keySchema, schema)))
	})
	if err == nil && r.old != nil {
		err = r.salvage()
	}
	for key, value := range readSnapshot(snapshot) {
		if err == nil {
			err = r.add(pair{key, value})
		}
	}
	if err == nil {
		err = r.flush()
	}
	if err == nil {
		err = r.to.db.Sync()
	}
	r.to.db.NoSync = false
	return err
}

// salvage adds what bbolt's cursor still gives of the damaged file, which may not be the last version of each record.
// Where it can go no further it goes on at a key further behind, nearer ones first. The error is the new file's.
func (r *refill) salvage() error {
	if n, ok, _ := r.old.number(keyCount); ok {
		r.expected = max(r.expected, n)
	}
	read, end := int64(0), time.Now().Add(salvageTime+time.Duration(r.old.mapped/salvageRate)*time.Second)
	last, near := "", 1 // near: up to where the last two keys differ, which is how near the next one can be
	for from := []byte{0}; len(from) > 0 && time.Now().Before(end) && read <= r.old.mapped; {
		some, damaged := r.old.scan(from)
		for _, p := range some {
			if err := r.add(p); err != nil {
				return err
			}
			for near = 0; near < min(len(last), len(p.key)-1) && last[near] == p.key[near]; near++ {
			}
			last, near = p.key, near+1
			read, from = read+int64(len(p.value)), append([]byte(p.key), 0)
		}
		switch {
		case len(some) > 0:
		case damaged == nil:
			return nil // the end
		default:
			from = beyond(from[:min(near, len(from))])
		}
	}
	return nil
}

// beyond returns a key above another: near ones first, then in longer steps, of the characters that names have; nil:
// there is none.
func beyond(key []byte) []byte {
	n := len(key)
	for n > 0 && key[n-1] >= 'z' {
		n--
	}
	if n == 0 {
		return nil
	}
	next := bytes.Clone(key[:n])
	next[n-1] = max('-', next[n-1]+1)
	return next
}

// add takes a record, if it is sound, with the mark that it may not be the last of its domain.
func (r *refill) add(p pair) (err error) {
	if p.value, err = record.Doubt(p.key, p.value); err != nil {
		return nil
	}
	r.pending = append(r.pending, p)
	if r.bytes += len(p.value); len(r.pending) < maxPending && r.bytes < maxPendingBytes {
		return nil
	}
	return r.flush()
}

// flush writes what is pending. Of two records of one domain the one that was fetched later stays, and else the first.
func (r *refill) flush() error {
	count := r.count
	err := r.to.transact(true, func(tx *bbolt.Tx) error {
		policies := tx.Bucket([]byte(bucketPolicies))
		policies.FillPercent = 0.8 // records come in order
		for _, p := range r.pending {
			before := policies.Get([]byte(p.key))
			if before == nil {
				count++
			} else if !record.Newer(p.key, p.value, before) {
				continue
			}
			if err := policies.Put([]byte(p.key), p.value); err != nil {
				return err
			}
		}
		return tx.Bucket([]byte(bucketMeta)).Put([]byte(keyCount), record.EncodeNumber(keyCount, count))
	})
	r.pending, r.bytes, r.count = r.pending[:0], 0, count
	return err
}
