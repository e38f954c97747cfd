// Package history remembers what the daemon did lately, for the status page and the commands: counts of the last day
// and fortnight, and recent events. They are kept over a restart in one small file, which is written at most once a
// minute, and at the end; a crash loses what came after the last writing. Nothing here is needed to answer questions.
package history

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// maxFile is the most that is read of a file, in bytes. Save writes about a tenth of it at most.
const maxFile = 8 << 20

// Recorder collects counts and events. It is safe for concurrent use. New returns one.
type Recorder struct {
	mu      sync.Mutex
	kept    kept
	last    map[string]uint64 // the counters at the last sample
	sampled time.Time
	changed bool           // since the last Save
	kinds   map[string]int // number of kept events by kind

	saving sync.Mutex
	path   string // "": nothing is kept over a restart
}

// kept is what the file holds.
type kept struct {
	Version   int     `json:"version"`
	Day       track   `json:"day"`
	Fortnight track   `json:"fortnight"`
	Events    []Event `json:"events"` // the oldest first
}

const version = 1

// New returns a Recorder that remembers nothing yet.
func New() *Recorder {
	return &Recorder{kept: kept{Version: version, Day: track{}, Fortnight: track{}}, kinds: map[string]int{}}
}

// Open adds what an earlier process saved in a file, and has Save write there. An error says that the file cannot be
// read, or is not one of Save's: then nothing of it is used, and the next Save replaces it.
func (r *Recorder) Open(path string, now time.Time) error {
	r.saving.Lock()
	defer r.saving.Unlock()
	r.path = path
	old, err := read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("history: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kept.Day.merge(old.Day)
	r.kept.Fortnight.merge(old.Fortnight)
	r.prune(now)
	since := r.kept.Events
	r.kept.Events, r.kinds = nil, map[string]int{}
	for _, e := range append(old.Events, since...) {
		if !e.At.After(now.Add(time.Minute)) {
			r.add(e)
		}
	}
	return nil
}

func read(path string) (k kept, err error) {
	f, err := os.Open(path)
	if err != nil {
		return k, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return k, err
	}
	if err := json.Unmarshal(text, &k); err != nil {
		return kept{}, fmt.Errorf("%s: %w", path, err)
	}
	if k.Version != version {
		return kept{}, fmt.Errorf("%s: version %d is not known", path, k.Version)
	}
	return k, nil
}

// Save writes the file if something has changed. It takes as long as the disk needs.
func (r *Recorder) Save() error {
	r.saving.Lock()
	defer r.saving.Unlock()
	r.mu.Lock()
	if !r.changed || r.path == "" {
		r.mu.Unlock()
		return nil
	}
	text, err := json.Marshal(r.kept)
	r.changed = false
	r.mu.Unlock()
	if err == nil {
		err = replace(r.path, text)
	}
	if err != nil {
		r.mu.Lock()
		r.changed = true
		r.mu.Unlock()
		return fmt.Errorf("history: %w", err)
	}
	return nil
}

// replace writes a file that is either the old or the new one after a crash.
func replace(path string, text []byte) error {
	next := path + ".new"
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(next, filepath.Clean(path))
	}
	if err != nil {
		_ = os.Remove(next) // the error is that of the writing
	}
	return err
}
