package boltfile

import (
	"errors"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Recovery is what became of a file that was damaged or missing.
type Recovery struct {
	Cause    string
	Aside    string // where the damaged file is; "": there was none
	Policies uint64 // in the new file
	Before   uint64 // in the old one, as far as is known
}

// Open opens a file, whatever state the last process left it in: not there, sound or damaged; broken is what was found
// while it was open. A new file is filled from the old one and the rest, and the recovery is not nil. The errors are
// *Refusal and those of the system.
//
// A second file, the marker, exists only while bbolt opens the first, or reads it when it is damaged. If it is found,
// that ended the process: bbolt is not let onto that file again but for reading, and if the marker has grown, not at
// all.
func Open(path string, broken *Damage, rest iter.Seq2[string, []byte]) (f *File, r *Recovery, err error) {
	if err := makeDir(filepath.Dir(path)); err != nil { // it may have been removed meanwhile
		return nil, nil, err
	}
	info, err := os.Stat(path)
	_, noMarker := os.Stat(path + marker)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		broken = &Damage{"it is missing"}
	case err != nil:
		return nil, nil, err
	case broken != nil:
	case info.Size() == 0: // bbolt would take it for a new one
		broken = &Damage{"it is empty"}
	case noMarker == nil:
		broken = &Damage{"the last process that opened it was ended by that"}
	default:
		mark(path)
		f, err = openKnown(path, os.O_RDWR)
		_ = os.Remove(path + marker)
		broken, _ = As[*Damage](err)
	}
	if broken == nil {
		_ = os.Remove(path + ".new") // of a recovery that was cut short
		return f, nil, err
	}
	if r, err = renew(path, rest); err != nil {
		return nil, nil, err
	}
	r.Cause = broken.What
	f, err = openKnown(path, os.O_RDWR)
	return f, r, err
}

// OpenReadOnly opens a file that cannot be written.
func OpenReadOnly(path string) (*File, error) { return openKnown(path, os.O_RDONLY) }

// openKnown opens a file of a layout that is known, and with its last commit.
func openKnown(path string, flag int) (*File, error) {
	f, err := openFile(path, flag)
	if err != nil {
		return nil, err
	}
	f.last.Store(lastCommit(path))
	if err := f.layout(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

const marker = ".opening"

// mark makes the marker, or lets it grow. Without it all goes on.
func mark(path string) {
	if f, err := os.OpenFile(path+marker, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600); err == nil {
		_, _ = f.Write([]byte{'.'})
		_ = f.Close()
	}
}

// renew puts a new file in the place of one that is damaged or missing. The damaged one is kept under a name with the
// time. A crash in the midst loses nothing: the damaged one has its name until the new one is complete.
func renew(path string, rest iter.Seq2[string, []byte]) (_ *Recovery, err error) {
	r, name := &Recovery{}, path+".new"
	grown, _ := os.Stat(path + marker)
	mark(path)
	defer os.Remove(path + marker)
	var old *File
	if grown == nil || grown.Size() < 2 {
		if old, err = openFile(path, os.O_RDONLY); err == nil {
			defer old.Close()
			err = old.layout()
			r.Before = old.Policies
		}
		if refused, ok := As[*Refusal](err); ok {
			return nil, refused
		}
	}
	if r.Policies, err = create(name, old, rest); err == nil {
		r.Aside, err = setAside(path)
	}
	if err == nil {
		Forget(path)
		err = errors.Join(os.Rename(name, path), SyncDir(filepath.Dir(path)))
	}
	if err != nil {
		_ = os.Remove(name) // it may be what fills the disk
		return nil, err
	}
	return r, nil
}

// keptAside is how many damaged files are kept.
const keptAside = 2

// setAside gives the damaged file, if there is one, a second name, with the time, and removes the oldest of those
// before it.
func setAside(path string) (string, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	before, err := filepath.Glob(path + ".corrupt-*")
	if err != nil {
		return "", err
	}
	slices.Sort(before)
	for _, old := range before[:max(0, len(before)-keptAside+1)] {
		_ = os.Remove(old)
	}
	aside := path + ".corrupt-" + time.Now().UTC().Format("20060102T150405.000000Z")
	if os.Link(path, aside) == nil {
		return aside, nil
	}
	return aside, os.Rename(path, aside) // a file system without hard links
}
