package store

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"syscall"
	"time"
)

// recovery has the store's file opened, set aside when it is damaged, and filled again. Only the writer's goroutine
// calls it.
type recovery struct {
	path, snapshot string
	log            *slog.Logger
	now            func() time.Time
	counts         *counts

	// cur is the open file, which anybody may read; nil while it is being recovered, and after a failure until the next
	// operation. It can only be read after a failure on a disk that has become read-only.
	cur atomic.Pointer[handle]

	lastCut time.Time     // when a handle was left because a guard took its map away
	renewed chan struct{} // see Store.Renewed
}

// ready returns the open file, and one that can be written where that is asked for. It opens the store again after a
// failure, and when somebody moved the file away: what is written to a file without a name would be gone with the
// process.
func (r *recovery) ready(writes bool) (*handle, error) {
	if h := r.cur.Load(); h != nil {
		here := isAt(h.file, r.path)
		if here && !(writes && h.readOnly) {
			return h, nil
		}
		if r.cur.Store(nil); !here {
			r.moved()
		}
		_ = h.close()
	}
	err := r.open()
	if !writes && (errors.Is(err, syscall.EROFS) || errors.Is(err, fs.ErrPermission)) {
		// the disk has become read-only, as disks do that fail: what the store holds is still answered
		err = r.use(os.O_RDONLY)
	}
	return r.cur.Load(), err
}

// open opens the store's file, whatever state the last run left it in: not there, sound or damaged. The errors are
// *LockedError, *SchemaError and those of the system.
//
// A second file, the marker, exists only while bbolt opens the first, or reads it when it is damaged. If it is found,
// that ended the process: bbolt is not let onto that file again but for reading, and if the marker has grown, not at
// all.
func (r *recovery) open() error {
	if err := makeDir(filepath.Dir(r.path)); err != nil { // it may have been removed while we ran
		return err
	}
	info, err := os.Stat(r.path)
	_, noMarker := os.Stat(r.path + marker)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return r.recover(&damage{"it is missing"})
	case err != nil:
		return err
	case info.Size() == 0: // bbolt would take it for a new one
		return r.recover(&damage{"it is empty"})
	case noMarker == nil:
		return r.recover(&damage{"the last process that opened it was ended by that"})
	}
	r.mark()
	err = r.use(os.O_RDWR)
	r.unmark()
	if d, ok := as[*damage](err); ok {
		return r.recover(d)
	}
	_ = os.Remove(r.path + ".new") // of a recovery that was cut short
	return err
}

const marker = ".opening"

func (r *recovery) mark() {
	// without it all goes on
	if f, err := os.OpenFile(r.path+marker, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600); err == nil {
		_, _ = f.Write([]byte{'.'})
		_ = f.Close()
	}
}

func (r *recovery) unmark() { _ = os.Remove(r.path + marker) }

// use opens the file and learns how many policies there are.
func (r *recovery) use(flag int) error {
	h, err := openHandle(r.path, flag)
	if err != nil {
		return err
	}
	if flag == os.O_RDWR {
		h.remember(r.path)
	}
	count, err := h.layout()
	if err != nil {
		return errors.Join(err, h.close())
	}
	h.beside.write(h.last.Load())
	r.counts.note(func(n *Stats) { n.Policies = count })
	r.cur.Store(h)
	return nil
}

// heal puts another file in the place of a damaged one that is in use. One that was moved away is only closed, and one
// whose map a guard took away, for the first time in a minute, is opened again: memory may have grown for another
// reason, while the disk was slow.
func (r *recovery) heal(h *handle, cause *damage) error {
	r.cur.Store(nil)
	here := isAt(h.file, r.path)
	_ = h.close()              // whatever it says, this file is not used again
	defer debug.FreeOSMemory() // a damaged length may have made bbolt ask for gigabytes
	if h.cut.Load() && time.Since(r.lastCut) > time.Minute {
		r.lastCut = time.Now()
		return nil
	}
	if here {
		return r.recover(cause)
	}
	r.moved()
	return nil
}

// recover puts a new file in the place of one that is damaged or missing, and fills it. The damaged one is kept under a
// name with the time. A crash in the midst loses nothing: the damaged one has its name until the new one is complete.
func (r *recovery) recover(cause *damage) (err error) {
	name, f := r.path+".new", refill{expected: r.counts.Load().Policies}
	grown, _ := os.Stat(r.path + marker)
	r.mark()
	defer r.unmark()
	if grown == nil || grown.Size() < 2 {
		old, err := openHandle(r.path, os.O_RDONLY)
		if locked, ok := as[*LockedError](err); ok {
			return locked
		}
		if err == nil {
			defer old.close()
			n, err := old.layout()
			if newer, ok := as[*SchemaError](err); ok {
				return newer
			}
			f.old, f.expected = old, max(f.expected, n)
		}
	}
	_ = os.Remove(name) // of a recovery that was cut short
	if f.to, err = openHandle(name, os.O_RDWR|os.O_CREATE|os.O_EXCL); err != nil {
		return err
	}
	aside := ""
	if err = f.fill(r.snapshot); err == nil {
		aside, err = r.setAside()
	}
	if err = errors.Join(err, f.to.close()); err == nil {
		forgetLastCommit(r.path)
		err = errors.Join(os.Rename(name, r.path), syncDir(filepath.Dir(r.path)))
	}
	if err != nil {
		_ = os.Remove(name) // it may be what fills the disk
		return err
	}
	r.report(cause, aside, f)
	return r.use(os.O_RDWR)
}

// report counts a recovery and logs its one line.
func (r *recovery) report(cause *damage, aside string, f refill) {
	if aside == "" && f.count == 0 {
		return // a first start
	}
	lost := f.expected - min(f.expected, f.count)
	r.counts.note(func(n *Stats) {
		n.Salvaged, n.Lost, n.changed = n.Salvaged+f.count, n.Lost+lost, n.changed+1
		if aside != "" {
			n.Heals++
		}
	})
	log := r.log.With("path", r.path, "cause", cause.what, "salvaged", f.count, "lost", lost)
	if aside == "" {
		log.Warn("the policy store was missing: a new one has the policies of its snapshot, each is looked up before "+
			"it "+
			"is answered", "event", "store_restored")
		return
	}
	r.renew()
	log.Error(
		"the policy store was damaged: it was set aside, and a new one has every policy that could still be read "+
			"of it, of its snapshot and of memory; each is looked up before it is answered; check the disk, then "+
			"remove "+
			"the "+
			"file set aside", "event", "store_corrupt", "set_aside", aside)
}

// keptAside is how many damaged files are kept.
const keptAside = 2

// setAside gives the damaged file, if there is one, a second name, with the time, that nothing has yet, and removes the
// oldest of those before it.
func (r *recovery) setAside() (string, error) {
	if _, err := os.Stat(r.path); errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	before, err := filepath.Glob(r.path + ".corrupt-*")
	if err != nil {
		return "", err
	}
	slices.Sort(before)
	name := r.path + ".corrupt-" + r.now().UTC().Format("20060102T150405Z")
	aside := name
	for i := 2; slices.Contains(before, aside); i++ {
		aside = fmt.Sprintf("%s-%d", name, i)
	}
	for _, old := range before[:max(0, len(before)-keptAside+1)] {
		_ = os.Remove(old)
	}
	if os.Link(r.path, aside) == nil {
		return aside, nil
	}
	return aside, os.Rename(r.path, aside) // a file system without hard links
}

// moved tells that the file was moved away.
func (r *recovery) moved() {
	forgetLastCommit(r.path)
	r.renew()
	r.log.Warn("the policy store's file was removed or replaced while it was in use; stsmapd goes on with what is "+
		"there "+
		"now, and puts what it has in memory into it", "event", "store_replaced", "path", r.path)
}

// renew makes Store.Renewed tell.
func (r *recovery) renew() {
	select {
	case r.renewed <- struct{}{}:
	default: // it has yet to be heard
	}
}
