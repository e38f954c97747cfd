package store

import (
	"bytes"
	"os"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/cache/store/storetest"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// TestLastCommitGone damages each byte of bbolt's metas, which takes a store back by one commit: at opening, and while
// it is open. The policy that the last commit replaced does not come back, unless it is marked as one that may be old.
func TestLastCommitGone(t *testing.T) {
	path := storePath(t)
	b := openStore(t, path, &testkit.Log{})
	fill(t, b, 20, noExtra)
	const changed = 7
	later := storetest.Clock().Add(time.Hour)
	change := func(b *Store) {
		if err := b.Put(t.Context(), storetest.Entry(changed, later)); err != nil {
			t.Fatal(err)
		}
	}
	image := func() []byte {
		bytes, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return bytes
	}
	before := image()
	change(b)
	closeStore(t, b)
	after, page := image(), os.Getpagesize()
	for meta := range metas {
		for at := pageHeader; at < pageHeader+metaFields+8; at++ {
			damaged := bytes.Clone(after)
			damaged[meta*page+at] ^= 0x5a
			for _, running := range []bool{false, true} {
				path := storePath(t)
				if write(t, path, damaged); running {
					write(t, path, before)
				}
				b := openStore(t, path, &testkit.Log{})
				if running {
					change(b)
					write(t, path, damaged)
				}
				e, err := b.Get(t.Context(), storetest.Domain(changed))
				if err == nil && !e.Fetched.Equal(later) && !e.Doubtful() {
					t.Errorf("byte %d of meta %d, running %v: the old policy is back", at, meta, running)
				}
				closeStore(t, b)
			}
		}
	}
}
