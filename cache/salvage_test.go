package cache

import (
	"errors"
	"testing"

	"github.com/stsmapd/stsmapd/cache/storetest"
	"github.com/stsmapd/stsmapd/resolver"
)

// TestSalvageLeavesTheDeleted: records on free pages, which were deleted or replaced, do not come back where the tree or the list of
// free pages is whole.
func TestSalvageLeavesTheDeleted(t *testing.T) {
	s := newSpecimen(t)
	for _, c := range []struct {
		why string
		do  func([]byte) []byte
	}{
		{"the list is gone, the tree whole", func(b []byte) []byte {
			m := metaOf(b)
			clear(b[int(m.freelist)*m.pageSize:][:m.pageSize])
			return b
		}},
		{"the list is wrong, the tree whole", freeUsed},
		{"half of the tree is lost with its branch, the list is sound", halve},
	} {
		t.Run(c.why, func(t *testing.T) {
			path, l := storePath(t), &logged{}
			s.write(t, path, c.do(append([]byte(nil), s.image...)))
			b := openBolt(t, path, l)
			putFresh(t, b) // a wrong list is found before the first commit
			if stats := b.Stats(); stats.Heals != 1 || int(stats.Policies) != len(s.puts)+2 {
				t.Errorf("%+v; %d were put", stats, len(s.puts)+2)
			}
			for i := 0; i < 300; i += 5 {
				if _, err := b.Get(t.Context(), storetest.Domain(i)); !errors.Is(err, resolver.ErrNotCached) {
					t.Errorf("the deleted %s: %v", storetest.Domain(i), err)
				}
			}
		})
	}
}
