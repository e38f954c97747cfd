package store

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

	"github.com/stsmapd/stsmapd/cache/record"
	"github.com/stsmapd/stsmapd/cache/store/boltfile"
	"github.com/stsmapd/stsmapd/cache/store/storetest"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

func TestConformance(t *testing.T) {
	storetest.Run(t,
		func(t *testing.T) resolver.Store {
			l := &testkit.Log{}
			t.Cleanup(func() {
				if len(l.Lines()) > 0 {
					t.Errorf("a healthy store logs %q", l.Lines())
				}
			})
			return openStore(t, storePath(t), l)
		},
		func(t *testing.T, s resolver.Store) resolver.Store {
			path := s.(*Store).path
			closeStore(t, s.(*Store))
			return openStore(t, path, &testkit.Log{})
		})
}

func TestPutsShareCommits(t *testing.T) {
	b := openStore(t, storePath(t), &testkit.Log{})
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
	b := openStore(t, storePath(t), &testkit.Log{})
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
	b := openStore(t, path, &testkit.Log{})
	fill(t, b, 50, noExtra)
	steps := []struct {
		why string
		do  func(*Store) error
		len int
	}{
		{"put over an entry", func(b *Store) error {
			return b.Put(t.Context(), storetest.Entry(3, storetest.Clock().Add(time.Hour)))
		}, 50},
		{"delete", func(b *Store) error { return b.Delete(t.Context(), storetest.Domain(3)) }, 49},
		{"delete what is gone", func(b *Store) error { return b.Delete(t.Context(), storetest.Domain(3)) }, 49},
		{"put", func(b *Store) error { return b.Put(t.Context(), storetest.Entry(99, storetest.Clock())) }, 50},
	}
	for _, s := range steps {
		if err := s.do(b); err != nil || b.Len() != s.len {
			t.Errorf("%s: %v, Len() = %d, want %d", s.why, err, b.Len(), s.len)
		}
	}
	closeStore(t, b)
	if b = openStore(t, path, &testkit.Log{}); b.Len() != 50 {
		t.Errorf("Len() = %d after a restart", b.Len())
	}
}

func TestLock(t *testing.T) {
	path := storePath(t)
	b := openStore(t, path, &testkit.Log{})
	watch, began := testkit.StartWatch(t), time.Now()
	_, err := Open(path, nil)
	if _, refused := boltfile.As[*boltfile.Refusal](err); !refused {
		t.Fatalf("second open: %v", err)
	}
	if want := fmt.Sprintf("another process (store.test, process %d) has %s open", os.Getpid(),
		path); err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
	if took := time.Since(began); took > watch.Limit(5*time.Second) {
		t.Errorf("it took %s", took)
	}
	if err := b.Put(t.Context(), storetest.Entry(1, storetest.Clock())); err != nil {
		t.Errorf("the first one: %v", err)
	}
	closeStore(t, b)
	openStore(t, path, &testkit.Log{})
}

func TestModesAndDirectories(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b", "policies.db")
	openStore(t, path, &testkit.Log{})
	for name, want := range map[string]os.FileMode{
		path: 0o600, path + lastCommitName: 0o600, filepath.Dir(path): os.ModeDir | 0o700} {
		if info, err := os.Stat(name); err != nil || info.Mode() != want {
			t.Errorf("%s: %v %v, want %v", name, info.Mode(), err, want)
		}
	}
	names, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(names) != 2 {
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
		_, err := Open(path, nil)
		if err == nil || !strings.Contains(err.Error(), path+": open: ") {
			t.Errorf("%s: %v", why, err)
		}
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	path := storePath(t)
	b := openStore(t, path, &testkit.Log{})
	fill(t, b, 3, noExtra)
	closeStore(t, b)
	edit(t, path, func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte(bucketMeta)).Put([]byte(keySchema), record.EncodeNumber(keySchema, schema+1))
	})
	_, err := Open(path, nil)
	_, refused := boltfile.As[*boltfile.Refusal](err)
	if !refused || !strings.Contains(err.Error(), "(layout 2, this one knows 1)") {
		t.Fatalf("open: %v", err)
	}
	if names, _ := filepath.Glob(path + "*"); len(names) != 2 {
		t.Errorf("files: %q", names)
	}
}

func TestClosed(t *testing.T) {
	b := openStore(t, storePath(t), &testkit.Log{})
	fill(t, b, 300, noExtra)
	for _, err := range b.All(t.Context()) {
		if err != nil && !errors.Is(err, ErrClosed) {
			t.Fatal(err)
		}
		closeStore(t, b) // in the middle of a walk
	}
	closeStore(t, b)
	_, err := b.Get(t.Context(), storetest.Domain(1))
	errs := []error{err, b.Put(t.Context(), storetest.Entry(1, storetest.Clock())),
		b.Delete(t.Context(), storetest.Domain(1))}
	for i, err := range errs {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("operation %d after Close: %v", i, err)
		}
	}
}

// TestCloseAmongPuts: a Put while the store closes tells whether the entry is durable.
func TestCloseAmongPuts(t *testing.T) {
	path := storePath(t)
	b := openStore(t, path, &testkit.Log{})
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
	closeStore(t, b)
	group.Wait()
	b = openStore(t, path, &testkit.Log{})
	for _, e := range durable {
		if got, err := b.Get(t.Context(), e.Domain); err != nil || !storetest.Equal(e, got) {
			t.Errorf("%s: %+v %v", e.Domain, got, err)
		}
	}
}

// TestPutReturnsWithItsContext: a Put does not wait for a disk that hangs.
func TestPutReturnsWithItsContext(t *testing.T) {
	b := openStore(t, storePath(t), &testkit.Log{})
	begun, release, ended := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() { // holds up the writer as a hanging fsync would
		_, err := b.cur.Load().Update([]*boltfile.Change{{Key: "a", Wanted: func([]byte) bool {
			close(begun)
			<-release
			return false
		}}})
		ended <- err
	}()
	<-begun
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
	close(release)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	e := storetest.Entry(7, storetest.Clock())
	if err := b.Put(t.Context(), e); err != nil {
		t.Errorf("Put afterwards: %v", err)
	}
}

func TestEncodeRefuses(t *testing.T) {
	b := openStore(t, storePath(t), &testkit.Log{})
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

func ExampleOpen() {
	dir, err := os.MkdirTemp("", "stsmapd")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	store, err := Open(filepath.Join(dir, "policies.db"), nil)
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

// TestGrowsUnderReaders: the file outgrows bbolt's map again and again, for which bbolt waits for all readers, while
// they come and go.
func TestGrowsUnderReaders(t *testing.T) {
	b := openStore(t, storePath(t), &testkit.Log{})
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 8 {
		readers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := b.Get(t.Context(), storetest.Domain(i%300)); err != nil &&
					!errors.Is(err, resolver.ErrNotCached) {
					t.Error(err)
					return
				}
			}
		})
	}
	fill(t, b, 300, func(i int) int { return 60_000 }) // 20 MB, from 32 KB on by doubling
	close(stop)
	readers.Wait()
}
