package store

import (
	"context"
	"errors"
	"iter"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/stsmapd/stsmapd/cache/record"
	"github.com/stsmapd/stsmapd/cache/store/boltfile"
)

// How often a snapshot is written, where a policy has changed.
const (
	snapshotEach  = time.Hour
	snapshotFirst = time.Minute      // after the start, where there is none
	snapshotRetry = 10 * time.Minute // after one that failed
	snapshotLook  = time.Minute
)

// snapshots writes the snapshots of a store.
type snapshots struct {
	store           *Store
	written, failed atomic.Uint64

	due     time.Time // the next one, not before this
	saved   uint64    // of Stats.changed, what the last one has
	failing bool
}

func newSnapshots(store *Store) *snapshots {
	s := &snapshots{store: store, due: time.Now().Add(snapshotFirst)}
	if info, err := os.Stat(store.snapshot); err == nil {
		s.due = info.ModTime().Add(snapshotEach)
	}
	return s
}

// keep writes snapshots until the store is stopped, and a last one then.
func (s *snapshots) keep(stop <-chan struct{}) {
	tick := time.NewTicker(snapshotLook)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			if !now.Before(s.due) {
				s.write(now)
			}
		case <-stop:
			s.write(time.Time{})
			return
		}
	}
}

// write writes a snapshot at now, if a policy has changed since the last one.
func (s *snapshots) write(now time.Time) {
	changed := s.store.counts.Load().changed
	if changed == s.saved {
		return
	}
	err := s.store.save(s.store.snapshot + ".new")
	if err == nil {
		s.written.Add(1)
		s.saved, s.due, s.failing = changed, now.Add(snapshotEach), false
		return
	}
	s.failed.Add(1)
	s.due = now.Add(snapshotRetry)
	if !s.failing {
		s.failing = true
		s.store.log.Warn("cannot write a snapshot of the policy store, the one before is kept: if the store is "+
			"damaged, what was learnt since may have to be looked up again; check the disk space",
			"event", "snapshot_failed", "path", s.store.snapshot, "error", err)
	}
}

// save writes a new file, which takes the place of the snapshot if it has every record, undamaged.
func (s *Store) save(name string) (err error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	w := record.NewWriter(f)
	for p, walkErr := range s.records(context.Background()) {
		_, corrupt := record.Fetched(p.Key, p.Value)
		if err = walkErr; err == nil && boltfile.IsCorrupt(corrupt) {
			err = errors.Join(corrupt, s.mend(context.Background(), p.Key, corrupt)) // for the next one
		}
		if err != nil {
			break
		}
		w.Write(p.Key, p.Value)
	}
	if err == nil {
		err = errors.Join(w.Close(), f.Sync())
	}
	if err = errors.Join(err, f.Close()); err == nil {
		return errors.Join(os.Rename(name, s.snapshot), boltfile.SyncDir(filepath.Dir(name)))
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
