package cache

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/cache/storetest"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// specimen is a sound store's file and what is in it. It has branches, overflow pages and free pages. The last commits only
// touch one entry that is not in puts: a damaged meta takes a store back by one commit, which nobody can notice.
type specimen struct {
	image []byte
	puts  map[dnsname.Name]entry
}

func newSpecimen(t *testing.T) specimen {
	t.Helper()
	path := storePath(t)
	b := openBolt(t, path, &logged{})
	s := specimen{puts: map[dnsname.Name]entry{}}
	for _, e := range fill(t, b, 300, mixedSizes) {
		s.puts[e.Domain] = e
	}
	for i := 0; i < 300; i += 5 {
		if err := b.Delete(t.Context(), storetest.Domain(i)); err != nil {
			t.Fatal(err)
		}
		delete(s.puts, storetest.Domain(i))
	}
	for i := range 4 {
		if err := b.Put(t.Context(), storetest.Entry(999_999, storetest.Clock().Add(time.Duration(i)*time.Hour))); err != nil {
			t.Fatal(err)
		}
	}
	closeBolt(t, b)
	var err error
	if s.image, err = os.ReadFile(path); err != nil {
		t.Fatal(err)
	}
	return s
}

// mixedSizes: most policies are small, some fill several pages.
func mixedSizes(i int) int {
	if i%31 == 0 {
		return i * 200
	}
	return i % 7 * 100
}

func (s specimen) write(t *testing.T, path string, image []byte) {
	t.Helper()
	if err := os.WriteFile(path, image, 0o600); err != nil {
		t.Fatal(err)
	}
}

// outcome is what a damaged store came to.
type outcome struct {
	kept    int
	heals   int
	refused int // records that All met damaged
	dropped int // records that Get met damaged
}

// examine uses a store whose file was damaged, and holds it to what must be true whatever the damage: it answers, and what it
// answers was put; what is missing was reported; it takes Puts that last.
func (s specimen) examine(t *testing.T, path string, b *Bolt, l *logged) outcome {
	t.Helper()
	var o outcome
	for _, err := range b.All(t.Context()) {
		c := (*CorruptError)(nil)
		switch {
		case errors.As(err, &c):
			o.refused++
		case err != nil:
			t.Fatalf("All: %v", err)
		}
	}
	for _, want := range s.puts {
		e, err := b.Get(t.Context(), want.Domain)
		if e.Doubtful() { // and else as it was put
			e.Checked = want.Checked
		}
		switch {
		case err == nil && storetest.Equal(want, e):
			o.kept++
		case err == nil:
			t.Errorf("Get answers what was never put: %+v", e)
		case !errors.Is(err, resolver.ErrNotCached):
			t.Errorf("Get(%s): %v", want.Domain, err)
		}
	}
	fresh := storetest.Entry(5_000_000, storetest.Clock())
	if err := b.Put(t.Context(), fresh); err != nil {
		t.Errorf("Put: %v", err)
	}
	s.again(t, path, b, l, fresh)
	o.heals, o.dropped = len(l.with("event=store_corrupt")), len(l.with("event=store_record_dropped"))
	aside, _ := filepath.Glob(path + ".corrupt-*")
	if stats := b.Stats(); len(aside) != o.heals || int(stats.CorruptRecords) > o.dropped+o.refused {
		t.Errorf("%d files set aside, log %q, %+v", len(aside), l.lines, stats)
	}
	if o.kept < len(s.puts) && o.heals+o.dropped+o.refused == 0 {
		t.Errorf("%d of %d are left, and nobody was told", o.kept, len(s.puts))
	}
	return o
}

// again opens the store once more, and finds what examine put.
func (s specimen) again(t *testing.T, path string, b *Bolt, l *logged, fresh entry) {
	t.Helper()
	closeBolt(t, b)
	b = openBolt(t, path, l)
	if e, err := b.Get(t.Context(), fresh.Domain); err != nil || !storetest.Equal(fresh, e) {
		t.Errorf("put after the damage: %+v %v", e, err)
	}
	n := 0
	for e, err := range b.All(t.Context()) {
		if err != nil {
			t.Errorf("All after the damage: %s %v", e.Domain, err)
		}
		n++
	}
	if n != b.Len() {
		t.Errorf("All yields %d entries, Len() = %d", n, b.Len())
	}
	closeBolt(t, b)
}

// damages are what is done to a file, here to a copy of its bytes.
func damages() []struct {
	why   string
	do    func(image []byte) []byte
	heals int
	kept  float64 // at least this part of the entries
} {
	page := os.Getpagesize()
	cut := func(n func(size int) int) func([]byte) []byte {
		return func(b []byte) []byte { return b[:n(len(b))] }
	}
	zero := func(from, to int) func([]byte) []byte {
		return func(b []byte) []byte { clear(b[from*page : to*page]); return b }
	}
	text := func(s string) func([]byte) []byte { return func([]byte) []byte { return []byte(s) } }
	return []struct {
		why   string
		do    func([]byte) []byte
		heals int
		kept  float64
	}{
		{"sound", cut(func(n int) int { return n }), 0, 1},
		{"empty: a crash before the first write", text(""), 0, 0},
		{"one byte", text("x"), 1, 0},
		{"text", text(strings.Repeat("this is no store\n", 3000)), 1, 0},
		{"zeros: a crash after the size was written, before the data", func(b []byte) []byte { clear(b); return b }, 1, 0},
		{"cut within the first meta", cut(func(int) int { return 50 }), 1, 0},
		{"cut after the first meta", cut(func(int) int { return page }), 1, 0},
		{"cut after both metas", cut(func(int) int { return 2 * page }), 1, 0},
		{"cut in the middle", cut(func(n int) int { return n / 2 }), 1, 0.2},
		{"cut in the middle of a page", cut(func(n int) int { return n/2 + 100 }), 1, 0.2},
		{"first meta zeroed", zero(0, 1), 1, 1},
		{"second meta zeroed", zero(1, 2), 1, 1},
		{"both metas zeroed", zero(0, 2), 1, 1},
		{"list of free pages zeroed", func(b []byte) []byte { p := metaOf(b).freelist; return zero(int(p), int(p)+1)(b) }, 1, 1},
		{"root page zeroed", func(b []byte) []byte { p := metaOf(b).root; return zero(int(p), int(p)+1)(b) }, 1, 1},
		{"a branch that is its own child", cycle, 1, 1},
		{"a leaf that claims the page behind it: bbolt would free that with it", greedy, 1, 0.9},
		{"a branch that says that it has half of its children", halve, 1, 1},
		{"a list of free pages that names a leaf in use: bbolt would write over it", freeUsed, 1, 1},
		{"a list of free pages that has lost one", loseFree, 1, 1},
		{"every page but the metas zeroed", func(b []byte) []byte { return zero(2, len(b)/page)(b) }, 1, 0},
		{"random bytes", func(b []byte) []byte {
			random := rand.NewChaCha8([32]byte{8, 4, 6, 1})
			_, _ = random.Read(b)
			return b
		}, 1, 0},
	}
}

func metaOf(image []byte) meta {
	m, err := readMeta(strings.NewReader(string(image)))
	if err != nil {
		panic(err)
	}
	return m
}

// treeOf returns the bucket of policies of a file.
func treeOf(image []byte) tree {
	m := metaOf(image)
	root, err := newPages(strings.NewReader(string(image)), m).openTree(m.root)
	if err != nil {
		panic(err)
	}
	policies, _, err := root.bucket(bucketPolicies)
	if err != nil {
		panic(err)
	}
	return policies
}

// cycle makes the root of the policies point to itself, everywhere: bbolt would recurse until the process dies.
func cycle(image []byte) []byte {
	root := treeOf(image).root
	id := binary.NativeEndian.Uint64(root.b)
	if root.leaf {
		panic("the specimen is too small to have branches")
	}
	for i := range root.count {
		at := int(id)*os.Getpagesize() + pageHeader + i*pageElement + 8
		binary.NativeEndian.PutUint64(image[at:], id)
	}
	return image
}

// greedy lets the first leaf whose neighbour is in use say that this is a part of it.
func greedy(image []byte) []byte {
	root := treeOf(image).root
	used := map[pgid]bool{}
	for i := range root.count {
		used[root.must(i).child] = true
	}
	for i := range root.count {
		id := root.must(i).child
		overflow := image[int(id)*os.Getpagesize()+12:]
		if n := binary.NativeEndian.Uint32(overflow); used[id+pgid(n)+1] {
			binary.NativeEndian.PutUint32(overflow, n+1)
			return image
		}
	}
	panic("the specimen has no leaves side by side")
}

// halve lets the root of the policies say that it has half of its children: all that it says is sound but for that.
func halve(image []byte) []byte {
	root := treeOf(image).root
	at := int(binary.NativeEndian.Uint64(root.b))*os.Getpagesize() + 10
	binary.NativeEndian.PutUint16(image[at:], uint16(root.count/2))
	return image
}

// freeUsed lets the list of free pages name the first leaf of the policies that fits in its place in the order.
func freeUsed(image []byte) []byte {
	m, root := metaOf(image), treeOf(image).root
	free, err := freePages(strings.NewReader(string(image)), m)
	if err != nil {
		panic(err)
	}
	for i := range root.count {
		id := root.must(i).child
		at, _ := slices.BinarySearch(free, id)
		if at < len(free) { // the one that it takes the place of is greater, and the one before less
			binary.NativeEndian.PutUint64(image[int(m.freelist)*m.pageSize+pageHeader+8*at:], uint64(id))
			return image
		}
	}
	panic("the specimen has no free page behind a leaf")
}

// loseFree takes the last page off the list of free pages.
func loseFree(image []byte) []byte {
	m := metaOf(image)
	at := int(m.freelist)*m.pageSize + 10
	binary.NativeEndian.PutUint16(image[at:], binary.NativeEndian.Uint16(image[at:])-1)
	return image
}
