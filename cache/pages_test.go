package cache

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/stsmapd/stsmapd/cache/storetest"
	"github.com/stsmapd/stsmapd/resolver"
)

// TestChurn: after many changes of all sizes our reading of the file and bbolt's agree, and bbolt finds its file sound. It is what
// tells us when a new bbolt lays out its pages in a way that we take for damage.
func TestChurn(t *testing.T) {
	l := &logged{}
	b := openBolt(t, storePath(t), l)
	random := rand.New(rand.NewPCG(1, 2))
	want := map[string]entry{}
	for step := range 1500 {
		i := random.IntN(400)
		e := storetest.Entry(i, storetest.Clock().Add(time.Duration(step)*time.Second))
		key := e.Domain.String()
		if random.IntN(3) == 0 {
			if err := b.Delete(t.Context(), e.Domain); err != nil {
				t.Fatal(err)
			}
			delete(want, key)
			continue
		}
		if random.IntN(20) == 0 {
			e.Policy = storetest.Policy(random.IntN(64000))
		} else {
			e.Policy = storetest.Policy(random.IntN(400))
		}
		if err := b.Put(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		want[key] = e
		if step%100 == 0 {
			agree(t, b, want)
		}
	}
	agree(t, b, want)
	if len(l.lines) > 0 {
		t.Errorf("log: %q", l.lines)
	}
	if m, err := readMeta(b.cur.Load().file); err != nil || vet(b.cur.Load().file, m) != nil {
		t.Errorf("we find: %v %v", err, vet(b.cur.Load().file, m))
	}
	if err := b.cur.Load().db.View(func(tx *bbolt.Tx) error {
		var errs []error
		for err := range tx.Check() {
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	}); err != nil {
		t.Errorf("bbolt finds: %v", err)
	}
}

func agree(t *testing.T, b *Bolt, want map[string]entry) {
	t.Helper()
	if b.Len() != len(want) {
		t.Errorf("Len() = %d, want %d", b.Len(), len(want))
	}
	ours := map[string][]byte{}
	if err := b.cur.Load().policies(func(policies tree) error {
		return policies.scan(nil, func(e element) bool { ours[string(e.key)] = e.value; return true })
	}); err != nil {
		t.Fatal(err)
	}
	if err := b.cur.Load().db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte(bucketPolicies)).ForEach(func(k, v []byte) error {
			if !bytes.Equal(ours[string(k)], v) {
				t.Errorf("%s: bbolt and we read different records", k)
			}
			delete(ours, string(k))
			return nil
		})
	}); err != nil {
		t.Fatal(err)
	}
	if len(ours) > 0 {
		t.Errorf("we read %d records that bbolt does not", len(ours))
	}
	for i := range 400 {
		domain := storetest.Domain(i)
		e, err := b.Get(t.Context(), domain)
		put, there := want[domain.String()]
		if there && (err != nil || !storetest.Equal(put, e)) || !there && !errors.Is(err, resolver.ErrNotCached) {
			t.Errorf("Get(%s): %+v %v", domain, e, err)
		}
	}
}

// FuzzFile gives arbitrary bytes as the file's pages to all that reads them: nothing may panic, and no error but damage comes.
func FuzzFile(f *testing.F) {
	for _, n := range []int{0, 3, 60} {
		image, m := smallFile(f, n)
		f.Add(image[2*m.pageSize:], uint16(m.root), uint16(m.freelist))
	}
	f.Fuzz(func(t *testing.T, content []byte, root, freelist uint16) {
		m := meta{pageSize: 1 << 10, root: pgid(root), freelist: pgid(freelist), limit: pgid(len(content)>>10 + 2)}
		file := bytes.NewReader(append(make([]byte, 2<<10), content...))
		p := newPages(file, m)
		free, err := freePages(file, m)
		expectDamage(t, err)
		visits := 0
		w := wreck{pages: p, seen: map[pgid]bool{}, visit: func(string, element) { visits++ }, whole: func() bool { return false }}
		w.search(m.root, free)
		if most := len(content); visits > most { // an element takes 16 bytes, and each byte is looked at a few times at most
			t.Errorf("%d visits to %d bytes", visits, most)
		}
		expectDamage(t, vet(file, m))
		tr, err := p.openTree(m.root)
		if expectDamage(t, err); err != nil {
			return
		}
		_, _, err = tr.find([]byte("key"))
		expectDamage(t, err)
		policies, ok, err := tr.bucket(bucketPolicies)
		if expectDamage(t, err); ok {
			tr = policies
		}
		var last []byte
		expectDamage(t, tr.scan(nil, func(e element) bool {
			if bytes.Compare(last, e.key) >= 0 {
				t.Errorf("%q comes after %q", e.key, last)
			}
			last = e.key
			return true
		}))
	})
}

func expectDamage(t *testing.T, err error) {
	t.Helper()
	if d := (*damage)(nil); err != nil && !errors.As(err, &d) {
		t.Errorf("%v", err)
	}
}

// smallFile is a file of bbolt's with small pages and n keys in the bucket of policies.
func smallFile(t testing.TB, n int) ([]byte, meta) {
	path := filepath.Join(t.TempDir(), "small.db")
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{PageSize: 1 << 10, FreelistType: bbolt.FreelistMapType})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 * n {
		err := db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte(bucketPolicies))
			if err != nil {
				return err
			}
			return b.Put([]byte(storetest.Domain(i%n).String()), make([]byte, i%n))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	image, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	m := metaOf(image)
	return image[:int(m.limit)*m.pageSize], m
}
