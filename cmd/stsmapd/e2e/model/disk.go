package model

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/stsmapd/stsmapd/cache/store"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// disk is what survives the daemon. One daemon at a time uses it.
type disk interface {
	resolver.Store
	// restart does to it what a stop (orderly) or a kill does.
	restart(orderly bool) error
	close() error
}

// mapDisk is a disk in memory; the world's lock guards it.
type mapDisk map[dnsname.Name]resolver.Entry

func (m mapDisk) restart(bool) error { return nil }
func (m mapDisk) close() error       { return nil }

// Get implements resolver.Store.
func (m mapDisk) Get(_ context.Context, domain dnsname.Name) (resolver.Entry, error) {
	e, ok := m[domain]
	if !ok {
		return e, resolver.ErrNotCached
	}
	return e, nil
}

// Put implements resolver.Store.
func (m mapDisk) Put(_ context.Context, e resolver.Entry) error {
	if old, ok := m[e.Domain]; !ok || !old.Fetched.After(e.Fetched) || old.Fetched.After(e.Checked) {
		m[e.Domain] = e
	}
	return nil
}

// Delete implements resolver.Store.
func (m mapDisk) Delete(_ context.Context, domain dnsname.Name) error {
	delete(m, domain)
	return nil
}

// All implements resolver.Store.
func (m mapDisk) All(context.Context) iter.Seq2[resolver.Entry, error] {
	all := make([]resolver.Entry, 0, len(m))
	for _, e := range m {
		all = append(all, e)
	}
	return func(yield func(resolver.Entry, error) bool) {
		for _, e := range all {
			if !yield(e, nil) {
				return
			}
		}
	}
}

// Len implements resolver.Store.
func (m mapDisk) Len() int { return len(m) }

// boltDisk is the real store. A kill leaves the file as it is; the next daemon opens a copy, since the dead one's locks
// are this process's.
type boltDisk struct {
	*store.Store
	dir  string
	life int
	dead []*store.Store
}

func newBoltDisk(dir string) (*boltDisk, error) {
	b := &boltDisk{dir: dir}
	return b, b.open()
}

func (b *boltDisk) path() string { return filepath.Join(b.dir, fmt.Sprint(b.life), "policies.db") }

// snapshotOf is the snapshot of a store's file.
func snapshotOf(path string) string { return strings.TrimSuffix(path, ".db") + ".snapshot" }

func (b *boltDisk) open() (err error) {
	b.Store, err = store.Open(b.path(), nil)
	return err
}

func (b *boltDisk) restart(orderly bool) error {
	if orderly {
		if err := b.Close(); err != nil {
			return err
		}
		return b.open()
	}
	b.dead = append(b.dead, b.Store)
	from := b.path()
	b.life++
	if err := os.MkdirAll(filepath.Dir(b.path()), 0o700); err != nil {
		return err
	}
	if err := copyFile(b.path(), from); err != nil {
		return err
	}
	if err := copyFile(snapshotOf(b.path()), snapshotOf(from)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return b.open()
}

func (b *boltDisk) close() error {
	err := b.Close()
	for _, d := range b.dead {
		err = errors.Join(err, d.Close())
	}
	return err
}

func copyFile(to, from string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = io.Copy(out, in)
	return err
}

// Get implements resolver.Store.
func (p port) Get(ctx context.Context, domain dnsname.Name) (resolver.Entry, error) {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	if p.gen != p.w.model.gen {
		return resolver.Entry{}, errDead
	}
	return p.w.store.Get(ctx, domain)
}

// Put implements resolver.Store: as the disk's state wants it, and unless the daemon is dead.
func (p port) Put(ctx context.Context, e resolver.Entry) error {
	n, _ := p.w.number(e.Domain.String())
	takes := time.Duration(0)
	p.w.locked(func() {
		p.w.model.adopted(n, p.gen, e)
		p.w.model.writeBegins(n, p.gen)
		switch p.w.disk {
		case DiskSlow:
			takes = diskIsSlow
		case DiskHangs:
			takes = never
		}
	})
	err := context.Cause(ctx)
	if takes > 0 && err == nil {
		err = testkit.Pause(ctx, takes)
	}
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	err = errors.Join(err, p.refused())
	if err == nil {
		err = p.w.store.Put(ctx, e)
	}
	p.w.model.writeEnded(n, p.gen, err)
	return err
}

// refused returns why nothing can be written, or nil. The caller holds the lock.
func (p port) refused() error {
	switch {
	case p.gen != p.w.model.gen:
		return errDead
	case p.w.disk == DiskRefuses:
		return errors.New("no space left on device")
	}
	return nil
}

// Delete implements resolver.Store.
func (p port) Delete(ctx context.Context, domain dnsname.Name) error {
	n, _ := p.w.number(domain.String())
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	if err := p.refused(); err != nil {
		return err
	}
	p.w.model.deleted(n, p.gen, p.w.isFull())
	return p.w.store.Delete(ctx, domain)
}

// Len implements resolver.Store.
func (p port) Len() (n int) {
	p.w.locked(func() { n = p.w.store.Len() })
	return n
}

// All implements resolver.Store.
func (p port) All(ctx context.Context) iter.Seq2[resolver.Entry, error] {
	return func(yield func(resolver.Entry, error) bool) {
		var all []resolver.Entry
		var errs []error
		p.w.locked(func() {
			for e, err := range p.w.store.All(ctx) {
				all, errs = append(all, e), append(errs, err)
			}
		})
		for i := range all {
			if !yield(all[i], errs[i]) {
				return
			}
		}
	}
}
