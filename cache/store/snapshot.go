package store

import (
	"context"
	"errors"
	"iter"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stsmapd/stsmapd/cache/record"
)

// How often a snapshot is written, where a policy has changed.
const (
	snapshotEach  = time.Hour
	snapshotFirst = time.Minute      // after the start, where there is none
	snapshotRetry = 10 * time.Minute // after one that failed
	snapshotLook  = time.Minute
)

// snapshots is what a store knows of its snapshots.
type snapshots struct {
	sync.Mutex
	due             time.Time // the next one, not before this
	saved           uint64    // of Stats.changed, what the last one has
	failing         bool
	written, failed atomic.Uint64
}

func firstSnapshot(path string) time.Time {
	if info, err := os.Stat(path); err == nil {
		return info.ModTime().Add(snapshotEach)
	}
	return time.Now().Add(snapshotFirst)
}

// keepSnapshots writes snapshots until the store is closed.
func (s *Store) keepSnapshots() {
	tick := time.NewTicker(snapshotLook)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			s.snapshots.Lock()
			due := s.snapshots.due
			s.snapshots.Unlock()
			if !now.Before(due) {
				s.snapshot(now)
			}
		case <-s.closing:
			return
		}
	}
}

// snapshot writes a snapshot at now, if a policy has changed since the last one.
func (s *Store) snapshot(now time.Time) {
	n := &s.snapshots
	n.Lock()
	defer n.Unlock()
	changed := s.stats.Load().changed
	if changed == n.saved {
		return
	}
	err := s.writeSnapshot(s.snapshotPath + ".new")
	if err == nil {
		n.written.Add(1)
		n.saved, n.due, n.failing = changed, now.Add(snapshotEach), false
		return
	}
	n.failed.Add(1)
	n.due = now.Add(snapshotRetry)
	if !n.failing {
		n.failing = true
		s.log.Warn("cannot write a snapshot of the policy store, the one before is kept: if the store is damaged, "+
			"what was learnt since may have "+
			"to be looked up again; check the disk space", "event", "snapshot_failed", "path", s.snapshotPath, "error",
			err)
	}
}

// writeSnapshot writes a new file, which takes the place of the snapshot if it has every record, undamaged.
func (s *Store) writeSnapshot(name string) (err error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	w := record.NewWriter(f)
	for p, walkErr := range s.records(context.Background()) {
		_, corrupt := record.Fetched(p.key, p.value)
		if err = walkErr; err == nil && isCorrupt(corrupt) {
			err = errors.Join(corrupt, s.mend(context.Background(), p.key, corrupt)) // for the next one
		}
		if err != nil {
			break
		}
		w.Write(p.key, p.value)
	}
	if err == nil {
		err = errors.Join(w.Close(), f.Sync())
	}
	if err = errors.Join(err, f.Close()); err == nil {
		return errors.Join(os.Rename(name, s.snapshotPath), syncDir(filepath.Dir(name)))
	}
	_ = os.Remove(name) // it may be what fills the disk
	return err
}

// readSnapshot yields the sound records of a snapshot; none where there is no snapshot.
func readSnapshot(path string) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		f, err := os.Open(path)
		if err != nil {
			return
		}
		defer f.Close()
		if info, err := f.Stat(); err == nil {
			record.Read(f, info.Size())(yield)
		}
	}
}
