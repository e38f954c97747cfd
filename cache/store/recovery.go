package store

import (
	"errors"
	"io/fs"
	"syscall"

	"github.com/stsmapd/stsmapd/cache/store/boltfile"
)

// open opens the store's file; broken is what was found damaged in it, nil: nothing.
func (w *writer) open(broken *boltfile.Damage, writes bool) (*boltfile.File, error) {
	f, r, err := boltfile.Open(w.path, broken, readSnapshot(w.snapshot))
	if r != nil {
		w.report(r)
	}
	if !writes && broken == nil && (errors.Is(err, syscall.EROFS) || errors.Is(err, fs.ErrPermission)) {
		// the disk has become read-only, as disks do that fail: what the store holds is still answered
		f, err = boltfile.OpenReadOnly(w.path)
	}
	if err != nil {
		return nil, err
	}
	w.counts.note(func(n *Stats) { n.Policies = f.Policies })
	w.cur.Store(f)
	return f, nil
}

// report counts a recovery and logs its one line.
func (w *writer) report(r *boltfile.Recovery) {
	before := max(w.counts.Load().Policies, r.Before)
	lost := before - min(before, r.Policies)
	if r.Aside == "" && r.Policies == 0 {
		return // a first start
	}
	w.counts.note(func(n *Stats) {
		n.Salvaged, n.Lost, n.changed = n.Salvaged+r.Policies, n.Lost+lost, n.changed+1
		if r.Aside != "" {
			n.Heals++
		}
	})
	log := w.log.With("path", w.path, "cause", r.Cause, "salvaged", r.Policies, "lost", lost)
	if r.Aside == "" {
		log.Warn("the policy store was missing: a new one has the policies of its snapshot, each is looked up before "+
			"it is answered", "event", "store_restored")
		return
	}
	w.renew()
	log.Error("the policy store was damaged: it was set aside, and a new one has every policy that could still be "+
		"read of it, of its snapshot and of memory; each is looked up before it is answered; check the disk, then "+
		"remove the file set aside", "event", "store_corrupt", "set_aside", r.Aside)
}

// moved tells that the file was moved away.
func (w *writer) moved() {
	boltfile.Forget(w.path)
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
