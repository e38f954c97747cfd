package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stsmapd/stsmapd/cache/store/storetest"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

type entry = resolver.Entry

// fillUp puts into a store whose disk is small until a Put fails, checks that the store still answers, makes room, and
// checks that it takes Puts again and lost nothing.
func fillUp(path string, makeRoom func() error) error {
	ctx := context.Background()
	l := &testkit.Log{}
	b, err := Open(path, l.Logger())
	if err != nil {
		return err
	}
	large := func(i int) entry {
		e := storetest.Entry(i, storetest.Clock())
		e.Policy = storetest.Policy(5000)
		return e
	}
	n := 0
	for ; ; n++ {
		if err = b.Put(ctx, large(n)); err != nil {
			break
		}
		if n == 10_000 {
			return errors.New("the disk is not small")
		}
	}
	fmt.Printf("%d puts, then: %v\n", n, err)
	if err == nil || !strings.Contains(err.Error(), ": put: ") {
		return fmt.Errorf("put on a full disk: %w", err)
	}
	if err := allFail(b, large, 1_000_000); err != nil {
		return err
	}
	check := func(when string) error {
		for i := range n {
			if e, err := b.Get(ctx, storetest.Domain(i)); err != nil || !storetest.Equal(large(i), e) {
				return fmt.Errorf("%s: %d of %d: %+v, %w", when, i, n, e, err)
			}
		}
		return nil
	}
	if err := check("on a full disk"); err != nil {
		return err
	}
	if err := makeRoom(); err != nil {
		return err
	}
	for i := n; i < n+200; i++ {
		if err := b.Put(ctx, large(i)); err != nil {
			return fmt.Errorf("put with room again: %w", err)
		}
	}
	n += 200
	if err := errors.Join(check("with room again"), b.Close()); err != nil {
		return err
	}
	if b, err = Open(path, l.Logger()); err != nil {
		return err
	}
	err = errors.Join(check("after a restart"), b.Close())
	if s := b.Stats(); err == nil && s.Heals > 0 || b.Len() < n || len(l.Lines()) > 0 {
		err = fmt.Errorf("%+v, %d entries, log %q", s, n, l.Lines())
	}
	return err
}

// allFail: every one of many Puts that share a commit learns that it failed.
func allFail(b *Store, large func(int) entry, from int) error {
	var group sync.WaitGroup
	var fine atomic.Int64
	for i := range 100 {
		group.Go(func() {
			if b.Put(context.Background(), large(from+i)) == nil {
				fine.Add(1)
			}
		})
	}
	group.Wait()
	if s := b.Stats(); fine.Load() > 0 && uint64(fine.Load()) != s.Policies {
		fmt.Printf("%d of 100 found room\n", fine.Load())
	}
	for i := range 100 {
		e, err := b.Get(context.Background(), storetest.Domain(from+i))
		if err != nil && !errors.Is(err, resolver.ErrNotCached) || err == nil && !storetest.Equal(large(from+i), e) {
			return fmt.Errorf("after a failed put: %+v, %w", e, err)
		}
	}
	return nil
}

// TestRemovedFile: somebody removes the file, or puts another in its place, while the store is open. The store goes on
// with what is there, and what it says is durable is.
func TestRemovedFile(t *testing.T) {
	for why, meddle := range map[string]func(path string) error{
		"removed":  os.Remove,
		"replaced": func(path string) error { return os.Rename(path+".other", path) },
	} {
		t.Run(why, func(t *testing.T) {
			path := storePath(t)
			other := openStore(t, path+".other", &testkit.Log{})
			if err := other.Put(t.Context(), storetest.Entry(1000, storetest.Clock())); err != nil {
				t.Fatal(err)
			}
			closeStore(t, other)
			l := &testkit.Log{}
			b := openStore(t, path, l)
			fill(t, b, 5, noExtra)
			if err := meddle(path); err != nil {
				t.Fatal(err)
			}
			e := storetest.Entry(77, storetest.Clock())
			if err := b.Put(t.Context(), e); err != nil {
				t.Fatal(err)
			}
			if lines := l.Lines("event=store_replaced"); len(lines) != 1 || len(l.Lines()) != 1 {
				t.Errorf("log: %q", l.Lines())
			}
			closeStore(t, b)
			b = openStore(t, path, &testkit.Log{})
			if got, err := b.Get(t.Context(), e.Domain); err != nil || !storetest.Equal(e, got) {
				t.Errorf("after a restart: %+v %v", got, err)
			}
			if _, err := b.Get(t.Context(), storetest.Domain(1000)); (err == nil) != (why == "replaced") {
				t.Errorf("the other file's entry: %v", err)
			}
		})
	}
}

// TestDiskThatComesBack: the directory is away for a while, and cannot be made again: something else is in its place.
func TestDiskThatComesBack(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state", "policies.db")
	b := openStore(t, path, &testkit.Log{})
	e := storetest.Entry(1, storetest.Clock())
	if err := os.Rename(filepath.Dir(path), filepath.Join(dir, "away")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Dir(path), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err := b.Put(t.Context(), e)
	if err == nil || !strings.Contains(err.Error(), ": put: ") {
		t.Fatalf("Put without a directory: %v", err)
	}
	if _, err := b.Get(t.Context(), e.Domain); err == nil || errors.Is(err, resolver.ErrNotCached) {
		t.Errorf("Get without a directory: %v", err)
	}
	if err := os.Remove(filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "away"), filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Get(t.Context(), e.Domain); !errors.Is(err, resolver.ErrNotCached) {
		t.Errorf("Get with it again: %v", err)
	}
	if err := b.Put(t.Context(), e); err != nil {
		t.Errorf("Put with it again: %v", err)
	}
	if got, err := b.Get(t.Context(), e.Domain); err != nil || !storetest.Equal(e, got) {
		t.Errorf("%+v %v", got, err)
	}
}
