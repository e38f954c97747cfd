package store

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"go.etcd.io/bbolt"
	"go.uber.org/goleak"

	"github.com/stsmapd/stsmapd/cache/store/storetest"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// What is in the store's directory and file.
const (
	marker         = ".opening"
	lastCommitName = ".commit"
	keyLastCommit  = "commit"
	bucketMeta     = "meta"
	bucketPolicies = "policies"
	keySchema      = "schema"
	keyCount       = "count"
	schema         = 1
	keptAside      = 2 // files
	guardRoom      = 32 << 20
)

// TestMain lets the test binary be its own child process, which tests kill or confine.
func TestMain(m *testing.M) {
	if task := os.Getenv(childTask); task != "" {
		os.Exit(runChild(task))
	}
	goleak.VerifyTestMain(m)
}

func openStore(t testing.TB, path string, l *testkit.Log) *Store {
	t.Helper()
	b, err := Open(path, l.Logger())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeStore(t, b) })
	return b
}

func closeStore(t testing.TB, b *Store) {
	t.Helper()
	if err := b.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func storePath(t testing.TB) string { return filepath.Join(t.TempDir(), "policies.db") }

// fill puts n entries, entry i with extra bytes of policy, and returns them.
func fill(t testing.TB, b *Store, n int, extra func(i int) int) map[string]resolver.Entry {
	t.Helper()
	put := map[string]resolver.Entry{}
	var group sync.WaitGroup
	for i := range n {
		e := storetest.Entry(i, storetest.Clock())
		e.Policy = storetest.Policy(extra(i))
		put[e.Domain.String()] = e
		group.Go(func() {
			if err := b.Put(t.Context(), e); err != nil {
				t.Errorf("Put: %v", err)
			}
		})
	}
	group.Wait()
	return put
}

func noExtra(int) int { return 0 }

// edit changes a closed store's file behind stsmapd's back.
func edit(t testing.TB, path string, change func(*bbolt.Tx) error) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(change); err != nil {
		t.Error(err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}
