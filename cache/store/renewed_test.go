package store

import (
	"os"
	"testing"

	"github.com/stsmapd/stsmapd/cache/store/storetest"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// TestRenewed: a store that was recreated says it, once for all times that nobody listened.
func TestRenewed(t *testing.T) {
	for why, spoil := range map[string]func(path string) error{
		"the file was removed":   os.Remove,
		"the file was truncated": func(path string) error { return os.Truncate(path, 100) },
		"the directory is gone":  func(path string) error { return os.RemoveAll(path[:len(path)-len("/policies.db")]) },
	} {
		t.Run(why, func(t *testing.T) {
			path := storePath(t)
			b := openStore(t, path, &testkit.Log{})
			fill(t, b, 10, noExtra)
			if renewed(b) {
				t.Error("a store that is well says that it was recreated")
			}
			for i := range 2 {
				if err := spoil(path); err != nil {
					t.Fatal(err)
				}
				if err := b.Put(t.Context(), storetest.Entry(100+i, storetest.Clock())); err != nil {
					t.Fatal(err)
				}
			}
			if !renewed(b) || renewed(b) {
				t.Error("want one word that the store was recreated")
			}
		})
	}
}

func renewed(b *Store) bool {
	select {
	case <-b.Renewed():
		return true
	default:
		return false
	}
}
