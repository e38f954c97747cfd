package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"syscall"
	"time"
)

// ready returns the open file, and one that can be written where that is asked for. It opens the store again after a
// failure, when it was found damaged, and when somebody moved the file away: what is written to a file without a name
// would be gone with the process.
func (w *writer) ready(writes bool) (*handle, error) {
	var broken *damage
	if h := w.cur.Load(); h != nil {
		broken = h.broken.Load()
		here := isAt(h.file, w.path)
		if here && broken == nil && !(writes && h.flag == os.O_RDONLY) {
			return h, nil
		}
		w.cur.Store(nil)
		_ = h.close() // whatever it says, this file is not used again
		if broken != nil {
			defer debug.FreeOSMemory() // a damaged length may have made bbolt ask for gigabytes
		}
		switch {
		case !here:
			broken = nil
			w.moved()
		case h.cut.Load() && time.Since(w.lastCut) > time.Minute:
			// memory may have grown for another reason, while the disk was slow
			broken, w.lastCut = nil, time.Now()
		}
	}
	err := w.open(broken)
	if !writes && broken == nil && (errors.Is(err, syscall.EROFS) || errors.Is(err, fs.ErrPermission)) {
		// the disk has become read-only, as disks do that fail: what the store holds is still answered
		err = w.use(os.O_RDONLY)
	}
	return w.cur.Load(), err
}

// open opens the store's file, whatever state the last run left it in: not there, sound or damaged; broken is what was
// found while it was open. The errors are *refusal and those of the system.
//
// A second file, the marker, exists only while bbolt opens the first, or reads it when it is damaged. If it is found,
// that ended the process: bbolt is not let onto that file again but for reading, and if the marker has grown, not at
// all.
func (w *writer) open(broken *damage) error {
	if err := makeDir(filepath.Dir(w.path)); err != nil { // it may have been removed while we ran
		return err
	}
	info, err := os.Stat(w.path)
	_, noMarker := os.Stat(w.path + marker)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		broken = &damage{"it is missing"}
	case err != nil:
		return err
	case broken != nil:
	case info.Size() == 0: // bbolt would take it for a new one
		broken = &damage{"it is empty"}
	case noMarker == nil:
		broken = &damage{"the last process that opened it was ended by that"}
	default:
		mark(w.path)
		err = w.use(os.O_RDWR)
		_ = os.Remove(w.path + marker)
		broken, _ = as[*damage](err)
	}
	if broken != nil {
		return w.recover(broken)
	}
	_ = os.Remove(w.path + ".new") // of a recovery that was cut short
	return err
}

const marker = ".opening"

// mark makes the marker, or lets it grow. Without it all goes on.
func mark(path string) {
	if f, err := os.OpenFile(path+marker, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600); err == nil {
		_, _ = f.Write([]byte{'.'})
		_ = f.Close()
	}
}

// use opens the file and learns how many policies there are.
func (w *writer) use(flag int) error {
	h, err := openHandle(w.path, flag)
	if err != nil {
		return err
	}
	count, err := h.layout()
	if err != nil {
		return errors.Join(err, h.close())
	}
	w.counts.note(func(n *Stats) { n.Policies = count })
	w.cur.Store(h)
	return nil
}

// recover puts a new file in the place of one that is damaged or missing, and fills it. The damaged one is kept under a
// name with the time. A crash in the midst loses nothing: the damaged one has its name until the new one is complete.
func (w *writer) recover(cause *damage) error {
	name, before := w.path+".new", w.counts.Load().Policies
	grown, _ := os.Stat(w.path + marker)
	mark(w.path)
	defer os.Remove(w.path + marker)
	var old *handle
	if grown == nil || grown.Size() < 2 {
		var err error
		if old, err = openHandle(w.path, os.O_RDONLY); err == nil {
			defer old.close()
			var n uint64
			n, err = old.layout()
			before = max(before, n)
		}
		if refused, ok := as[*refusal](err); ok {
			return refused
		}
	}
	count, err := create(name, old, w.snapshot)
	aside := ""
	if err == nil {
		aside, err = w.setAside()
	}
	if err == nil {
		forgetLastCommit(w.path)
		err = errors.Join(os.Rename(name, w.path), syncDir(filepath.Dir(w.path)))
	}
	if err != nil {
		_ = os.Remove(name) // it may be what fills the disk
		return err
	}
	w.report(cause, aside, count, before-min(before, count))
	return w.use(os.O_RDWR)
}

// report counts a recovery and logs its one line.
func (w *writer) report(cause *damage, aside string, count, lost uint64) {
	if aside == "" && count == 0 {
		return // a first start
	}
	w.counts.note(func(n *Stats) {
		n.Salvaged, n.Lost, n.changed = n.Salvaged+count, n.Lost+lost, n.changed+1
		if aside != "" {
			n.Heals++
		}
	})
	log := w.log.With("path", w.path, "cause", cause.what, "salvaged", count, "lost", lost)
	if aside == "" {
		log.Warn("the policy store was missing: a new one has the policies of its snapshot, each is looked up before "+
			"it is answered", "event", "store_restored")
		return
	}
	w.renew()
	log.Error("the policy store was damaged: it was set aside, and a new one has every policy that could still be "+
		"read of it, of its snapshot and of memory; each is looked up before it is answered; check the disk, then "+
		"remove the file set aside", "event", "store_corrupt", "set_aside", aside)
}

// keptAside is how many damaged files are kept.
const keptAside = 2

// setAside gives the damaged file, if there is one, a second name, with the time, and removes the oldest of those
// before it.
func (w *writer) setAside() (string, error) {
	if _, err := os.Stat(w.path); errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	before, err := filepath.Glob(w.path + ".corrupt-*")
	if err != nil {
		return "", err
	}
	slices.Sort(before)
	for _, old := range before[:max(0, len(before)-keptAside+1)] {
		_ = os.Remove(old)
	}
	aside := w.path + ".corrupt-" + time.Now().UTC().Format("20060102T150405.000000Z")
	if os.Link(w.path, aside) == nil {
		return aside, nil
	}
	return aside, os.Rename(w.path, aside) // a file system without hard links
}

// moved tells that the file was moved away.
func (w *writer) moved() {
	forgetLastCommit(w.path)
	w.renew()
	w.log.Warn("the policy store's file was removed or replaced while it was in use; stsmapd goes on with what is "+
		"there now, and puts what it has in memory into it", "event", "store_replaced", "path", w.path)
}

// renew makes Store.Renewed tell.
func (w *writer) renew() {
	select {
	case w.renewed <- struct{}{}:
	default: // it has yet to be heard
	}
}
