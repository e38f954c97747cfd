package store

import (
	"context"
	"errors"
	"iter"
	"log/slog"
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

// snapshots writes the snapshots of a store.
type snapshots struct {
	path            string
	reader          *reader
	log             *slog.Logger
	written, failed atomic.Uint64

	mu      sync.Mutex
	due     time.Time // the next one, not before this
	saved   uint64    // of Stats.changed, what the last one has
	failing bool
}

func newSnapshots(path string, r *reader, log *slog.Logger) *snapshots {
	s := &snapshots{path: path, reader: r, log: log, due: time.Now().Add(snapshotFirst)}
	if info, err := os.Stat(path); err == nil {
		s.due = info.ModTime().Add(snapshotEach)
	}
	return s
}

// keep writes snapshots until the store is closed.
func (s *snapshots) keep(closing <-chan struct{}) {
	tick := time.NewTicker(snapshotLook)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			s.mu.Lock()
			due := s.due
			s.mu.Unlock()
			if !now.Before(due) {
				s.write(now)
			}
		case <-closing:
			return
		}
	}
}

// write writes a snapshot at now, if a policy has changed since the last one.
func (s *snapshots) write(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	changed := s.reader.counts.Load().changed
	if changed == s.saved {
		return
	}
	err := s.save(s.path + ".new")
	if err == nil {
		s.written.Add(1)
		s.saved, s.due, s.failing = changed, now.Add(snapshotEach), false
		return
	}
	s.failed.Add(1)
	s.due = now.Add(snapshotRetry)
	if !s.failing {
		s.failing = true
		s.log.Warn(
			"cannot write a snapshot of the policy store, the one before is kept: if the store is damaged, what "+
				"was learnt since may have to be looked up again; check the disk space",
			"event", "snapshot_failed", "path", s.path, "error", err)
	}
}

// save writes a new file, which takes the place of the snapshot if it has every record, undamaged.
func (s *snapshots) save(name string) (err error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	w := record.NewWriter(f)
	for p, walkErr := range s.reader.records(context.Background()) {
		_, corrupt := record.Fetched(p.key, p.value)
		if err = walkErr; err == nil && isCorrupt(corrupt) {
			err = errors.Join(corrupt, s.reader.mend(context.Background(), p.key, corrupt)) // for the next one
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
		return errors.Join(os.Rename(name, s.path), syncDir(filepath.Dir(name)))
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
