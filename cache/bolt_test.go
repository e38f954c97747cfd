package cache

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/stsmapd/stsmapd/cache/storetest"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

func TestBoltConformance(t *testing.T) {
	storetest.Run(t,
		func(t *testing.T) resolver.Store {
			l := &logged{}
			t.Cleanup(func() {
				if len(l.lines) > 0 {
					t.Errorf("a healthy store logs %q", l.lines)
				}
			})
			return openBolt(t, storePath(t), l)
		},
		func(t *testing.T, s resolver.Store) resolver.Store {
			path := s.(*Bolt).path
			closeBolt(t, s.(*Bolt))
			return openBolt(t, path, &logged{})
		})
}

func TestPutsShareCommits(t *testing.T) {
	b := openBolt(t, storePath(t), &logged{})
	const n = 200
	ready, start := make(chan struct{}, n), make(chan struct{})
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() {
			ready <- struct{}{}
			<-start
			if err := b.Put(t.Context(), storetest.Entry(i, storetest.Clock())); err != nil {
				t.Error(err)
			}
		})
	}
	for range n {
		<-ready
	}
	close(start)
	group.Wait()
	s := b.Stats()
	t.Logf("%d puts in %d commits", s.Puts, s.Commits)
	if s.Puts != n || s.Commits > n/4 {
		t.Errorf("%d of %d concurrent puts took %d commits", s.Puts, n, s.Commits)
	}
	if b.Len() != n {
		t.Errorf("Len() = %d", b.Len())
	}
}

func TestPutWithoutChangeDoesNotWrite(t *testing.T) {
	b := openBolt(t, storePath(t), &logged{})
	e := storetest.Entry(1, storetest.Clock())
	older := storetest.Entry(1, storetest.Clock().Add(-time.Hour))
	older.Checked = storetest.Clock()
	for _, e := range []resolver.Entry{e, e, older, e} {
		if err := b.Put(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	if s := b.Stats(); s.Commits != 1 || s.Puts != 4 || s.Stale != 1 {
		t.Errorf("%+v", s)
	}
}

func TestLenCountsEntries(t *testing.T) {
	path := storePath(t)
	b := openBolt(t, path, &logged{})
	fill(t, b, 50, noExtra)
	steps := []struct {
		why string
		do  func(*Bolt) error
		len int
	}{
		{"put over an entry", func(b *Bolt) error {
			return b.Put(t.Context(), storetest.Entry(3, storetest.Clock().Add(time.Hour)))
		}, 50},
		{"delete", func(b *Bolt) error { return b.Delete(t.Context(), storetest.Domain(3)) }, 49},
		{"delete what is gone", func(b *Bolt) error { return b.Delete(t.Context(), storetest.Domain(3)) }, 49},
		{"put", func(b *Bolt) error { return b.Put(t.Context(), storetest.Entry(99, storetest.Clock())) }, 50},
	}
	for _, s := range steps {
		if err := s.do(b); err != nil || b.Len() != s.len {
			t.Errorf("%s: %v, Len() = %d, want %d", s.why, err, b.Len(), s.len)
		}
	}
	closeBolt(t, b)
	if b = openBolt(t, path, &logged{}); b.Len() != 50 {
		t.Errorf("Len() = %d after a restart", b.Len())
	}
}

func TestLock(t *testing.T) {
	path := storePath(t)
	b := openBolt(t, path, &logged{})
	watch, began := testkit.StartWatch(t), time.Now()
	_, err := OpenBolt(path, BoltOptions{})
	if locked := (*LockedError)(nil); !errors.As(err, &locked) {
		t.Fatalf("second open: %v", err)
	}
	if want := "another process (stsmapd?) has " + path + " open"; err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
	if took := time.Since(began); took > watch.Limit(5*time.Second) {
		t.Errorf("it took %s", took)
	}
	if err := b.Put(t.Context(), storetest.Entry(1, storetest.Clock())); err != nil {
		t.Errorf("the first one: %v", err)
	}
	closeBolt(t, b)
	openBolt(t, path, &logged{})
}

func TestModesAndDirectories(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b", "policies.db")
	openBolt(t, path, &logged{})
	for name, want := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): os.ModeDir | 0o700} {
		if info, err := os.Stat(name); err != nil || info.Mode() != want {
			t.Errorf("%s: %v %v, want %v", name, info.Mode(), err, want)
		}
	}
	names, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(names) != 1 {
		t.Errorf("beside the store: %v %v", names, err)
	}
}

func TestOpenErrors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for why, path := range map[string]string{
		"a directory that is a file": filepath.Join(file, "policies.db"),
		"a file that is a directory": t.TempDir(),
	} {
		_, err := OpenBolt(path, BoltOptions{})
		if io := (*IOError)(nil); !errors.As(err, &io) || io.Op != "open" || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", why, err)
		}
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	path := storePath(t)
	b := openBolt(t, path, &logged{})
	fill(t, b, 3, noExtra)
	closeBolt(t, b)
	edit(t, path, func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte(bucketMeta)).Put([]byte(keySchema), sealNumber(keySchema, schema+1))
	})
	_, err := OpenBolt(path, BoltOptions{})
	newer := (*SchemaError)(nil)
	if !errors.As(err, &newer) || newer.Found != schema+1 || newer.Known != schema {
		t.Fatalf("open: %v", err)
	}
	if names, _ := filepath.Glob(path + "*"); len(names) != 1 {
		t.Errorf("files: %q", names)
	}
}

func TestClosed(t *testing.T) {
	b := openBolt(t, storePath(t), &logged{})
	fill(t, b, 300, noExtra)
	for _, err := range b.All(t.Context()) {
		if err != nil && !errors.Is(err, ErrClosed) {
			t.Fatal(err)
		}
		closeBolt(t, b) // in the middle of a walk
	}
	closeBolt(t, b)
	_, err := b.Get(t.Context(), storetest.Domain(1))
	errs := []error{err, b.Put(t.Context(), storetest.Entry(1, storetest.Clock())), b.Delete(t.Context(), storetest.Domain(1))}
	for i, err := range errs {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("operation %d after Close: %v", i, err)
		}
	}
}

// TestCloseAmongPuts: whoever puts while the store closes learns whether it is durable.
func TestCloseAmongPuts(t *testing.T) {
	path := storePath(t)
	b := openBolt(t, path, &logged{})
	var mu sync.Mutex
	var durable []resolver.Entry
	var group sync.WaitGroup
	enough := make(chan struct{})
	for w := range 8 {
		group.Go(func() {
			for i := w; ; i += 8 {
				e := storetest.Entry(i, storetest.Clock())
				err := b.Put(t.Context(), e)
				if errors.Is(err, ErrClosed) {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if durable = append(durable, e); len(durable) == 100 {
					close(enough)
				}
				mu.Unlock()
			}
		})
	}
	<-enough
	closeBolt(t, b)
	group.Wait()
	b = openBolt(t, path, &logged{})
	for _, e := range durable {
		if got, err := b.Get(t.Context(), e.Domain); err != nil || !storetest.Equal(e, got) {
			t.Errorf("%s: %+v %v", e.Domain, got, err)
		}
	}
}

// TestPutReturnsWithItsContext: a Put does not wait for a disk that hangs.
func TestPutReturnsWithItsContext(t *testing.T) {
	b := openBolt(t, storePath(t), &logged{})
	tx, err := b.cur.Load().db.Begin(true) // holds up the writer as a hanging fsync would
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	const n = 3
	answers := make(chan error, n)
	for i := range n {
		go func() { answers <- b.Put(ctx, storetest.Entry(i, storetest.Clock())) }()
	}
	if e, err := b.Get(t.Context(), storetest.Domain(0)); !errors.Is(err, resolver.ErrNotCached) {
		t.Errorf("a Get meanwhile: %+v %v", e, err)
	}
	cancel()
	for range n {
		if err := <-answers; !errors.Is(err, context.Canceled) {
			t.Errorf("Put: %v", err)
		}
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	e := storetest.Entry(7, storetest.Clock())
	if err := b.Put(t.Context(), e); err != nil {
		t.Errorf("Put afterwards: %v", err)
	}
}

func TestEncodeRefuses(t *testing.T) {
	b := openBolt(t, storePath(t), &logged{})
	good := storetest.Entry(1, storetest.Clock())
	for why, spoil := range map[string]func(*resolver.Entry){
		"no domain": func(e *resolver.Entry) { *e = resolver.Entry{Policy: e.Policy} },
		"no policy": func(e *resolver.Entry) { e.Policy.Text = "" },
		"long id":   func(e *resolver.Entry) { e.ID = strings.Repeat("a", 256) },
	} {
		e := good
		spoil(&e)
		if err := b.Put(t.Context(), e); err == nil {
			t.Errorf("%s: put", why)
		}
	}
	good.Failures.Reason = strings.Repeat("ü", 1000)
	if err := b.Put(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	if e, err := b.Get(t.Context(), good.Domain); err != nil || e.Failures.Reason != strings.Repeat("ü", 512) {
		t.Errorf("a long reason becomes %d bytes, %v", len(e.Failures.Reason), err)
	}
}

func ExampleOpenBolt() {
	dir, err := os.MkdirTemp("", "stsmapd")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	store, err := OpenBolt(filepath.Join(dir, "policies.db"), BoltOptions{})
	if err != nil {
		panic(err)
	}
	defer store.Close()
	fmt.Println(store.Put(context.Background(), storetest.Entry(1, storetest.Clock())))
	e, err := store.Get(context.Background(), storetest.Domain(1))
	fmt.Println(e.Domain, e.Policy.Mode, err)
	// Output:
	// <nil>
	// d000001.example enforce <nil>
}
