package cache

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/stsmapd/stsmapd/cache/storetest"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

func TestDamagedAtOpening(t *testing.T) {
	s := newSpecimen(t)
	for _, d := range damages() {
		t.Run(d.why, func(t *testing.T) {
			path, l := storePath(t), &logged{}
			image := d.do(append([]byte(nil), s.image...))
			s.write(t, path, image)
			b, err := OpenBolt(path, BoltOptions{Logger: l.logger(), Now: storetest.Clock})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { closeBolt(t, b) })
			if d.why == "empty: a crash before the first write" {
				s.again(t, path, b, l, putFresh(t, b))
				return
			}
			o := s.examine(t, path, b, l)
			if o.heals != d.heals || float64(o.kept) < d.kept*float64(len(s.puts)) {
				t.Errorf("%+v of %d, want %d heals; log %q", o, len(s.puts), d.heals, l.lines)
			}
			if d.heals == 0 {
				return
			}
			aside := path + ".corrupt-20260314T150926Z"
			if kept, err := os.ReadFile(aside); err != nil || string(kept) != string(image) {
				t.Errorf("the file set aside is not the damaged one: %v", err)
			}
			line := l.with("event=store_corrupt")[0]
			for _, part := range []string{"level=ERROR", "path=" + path, "set_aside=" + aside, "cause=", "salvaged=", "lost="} {
				if !strings.Contains(line, part) {
					t.Errorf("%q lacks %q", line, part)
				}
			}
		})
	}
}

func putFresh(t *testing.T, b *Bolt) entry {
	t.Helper()
	e := storetest.Entry(5_000_000, storetest.Clock())
	if err := b.Put(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	return e
}

// TestDamagedWhileOpen does the same to the file of a running store.
func TestDamagedWhileOpen(t *testing.T) {
	s := newSpecimen(t)
	for _, d := range damages() {
		t.Run(d.why, func(t *testing.T) {
			path, l := storePath(t), &logged{}
			s.write(t, path, s.image)
			b := openBolt(t, path, l)
			s.write(t, path, d.do(append([]byte(nil), s.image...))) // the same inode
			s.examine(t, path, b, l)
		})
	}
}

// TestDamagedWhileOpenThenPut: the writer is the first to meet the damage, through bbolt's map.
func TestDamagedWhileOpenThenPut(t *testing.T) {
	s := newSpecimen(t)
	for _, d := range damages() {
		t.Run(d.why, func(t *testing.T) {
			path, l := storePath(t), &logged{}
			s.write(t, path, s.image)
			b := openBolt(t, path, l)
			s.write(t, path, d.do(append([]byte(nil), s.image...)))
			for i := range 50 {
				if err := b.Put(t.Context(), storetest.Entry(2_000_000+i, storetest.Clock())); err != nil {
					t.Fatal(err)
				}
				if err := b.Delete(t.Context(), storetest.Domain(999_999)); err != nil {
					t.Fatal(err)
				}
			}
			s.examine(t, path, b, l)
		})
	}
}

// TestRandomDamage strews random bytes over the file, at opening and while it is open.
func TestRandomDamage(t *testing.T) {
	s := newSpecimen(t)
	used := int(metaOf(s.image).limit) * os.Getpagesize()
	const seeds = 120
	total := outcome{}
	for seed := range uint64(seeds) {
		random := rand.New(rand.NewPCG(seed, 1))
		image := append([]byte(nil), s.image...)
		for range 1 + random.IntN(20) {
			at := 2*os.Getpagesize() + random.IntN(used-2*os.Getpagesize())
			if random.IntN(2) == 0 { // where the structure is
				at = at/os.Getpagesize()*os.Getpagesize() + random.IntN(64)
			}
			image[at] = byte(random.Uint32())
		}
		path, l := storePath(t), &logged{}
		var b *Bolt
		if seed%2 == 0 {
			s.write(t, path, image)
			b = openBolt(t, path, l)
		} else {
			s.write(t, path, s.image)
			b = openBolt(t, path, l)
			s.write(t, path, image)
		}
		if seed%3 == 0 {
			for i := range 30 {
				if err := b.Delete(t.Context(), storetest.Domain(7*i)); err != nil {
					t.Fatalf("seed %d: Delete: %v", seed, err)
				}
				if e, ok := s.puts[storetest.Domain(7*i)]; ok {
					if err := b.Put(t.Context(), e); err != nil {
						t.Fatalf("seed %d: Put: %v", seed, err)
					}
				}
			}
		}
		o := s.examine(t, path, b, l)
		if t.Failed() {
			t.Fatalf("seed %d: %+v, log %q", seed, o, l.lines)
		}
		total = outcome{total.kept + o.kept, total.heals + o.heals, total.refused + o.refused, total.dropped + o.dropped}
	}
	t.Logf("%+v of %d", total, seeds*len(s.puts))
	if total.heals == 0 || total.refused == 0 || total.kept < seeds*len(s.puts)*9/10 {
		t.Errorf("%+v of %d: the damage was not what this test is for, or too much was lost", total, seeds*len(s.puts))
	}
}

// TestSetAsideNeverOverwrites: two files damaged within one second.
func TestSetAsideNeverOverwrites(t *testing.T) {
	path := storePath(t)
	for i := range 3 {
		if err := os.WriteFile(path, fmt.Appendf(nil, "garbage %d", i), 0o600); err != nil {
			t.Fatal(err)
		}
		b, err := OpenBolt(path, BoltOptions{Now: storetest.Clock})
		if err != nil {
			t.Fatal(err)
		}
		closeBolt(t, b)
	}
	for i, name := range []string{"", "-2", "-3"} {
		got, err := os.ReadFile(path + ".corrupt-20260314T150926Z" + name)
		if want := fmt.Sprintf("garbage %d", i); err != nil || string(got) != want {
			t.Errorf("%q: %q %v", name, got, err)
		}
	}
}

// TestDamagedRecord: one record is damaged, the pages are sound.
func TestDamagedRecord(t *testing.T) {
	path := storePath(t)
	b := openBolt(t, path, &logged{})
	fill(t, b, 10, noExtra)
	closeBolt(t, b)
	edit(t, path, func(tx *bbolt.Tx) error {
		policies := tx.Bucket([]byte(bucketPolicies))
		for i := range 3 {
			key := []byte(storetest.Domain(i).String())
			record := append([]byte(nil), policies.Get(key)...)
			record[len(record)/2] ^= 4
			if err := policies.Put(key, record); err != nil {
				return err
			}
		}
		return nil
	})
	l := &logged{}
	b = openBolt(t, path, l)
	for range 2 {
		if _, err := b.Get(t.Context(), storetest.Domain(0)); !errors.Is(err, resolver.ErrNotCached) {
			t.Errorf("Get: %v", err)
		}
	}
	if lines := l.with("event=store_record_dropped"); len(lines) != 1 || !strings.Contains(lines[0], "domain=d000000.example") ||
		!strings.Contains(lines[0], "level=WARN") || len(l.lines) != 1 {
		t.Errorf("log: %q", l.lines)
	}
	var refused []dnsname.Name
	n := 0
	for e, err := range b.All(t.Context()) {
		if c := (*CorruptError)(nil); errors.As(err, &c) {
			refused = append(refused, e.Domain)
		} else if n++; err != nil {
			t.Error(err)
		}
	}
	if len(refused) != 2 || refused[0] != storetest.Domain(1) || refused[1] != storetest.Domain(2) || n != 7 {
		t.Errorf("All refuses %v and yields %d", refused, n)
	}
	if s := b.Stats(); s.CorruptRecords != 3 || s.Policies != 7 || s.Heals != 0 {
		t.Errorf("%+v", s)
	}
	if err := b.Put(t.Context(), storetest.Entry(0, storetest.Clock())); err != nil {
		t.Error(err)
	}
	if e, err := b.Get(t.Context(), storetest.Domain(0)); err != nil || !storetest.Equal(storetest.Entry(0, storetest.Clock()), e) {
		t.Errorf("put anew: %+v %v", e, err)
	}
}

// TestNewerRecord: a record of a newer stsmapd stays until this one has something to say about the domain, and outlives a healing.
func TestNewerRecord(t *testing.T) {
	path := storePath(t)
	b := openBolt(t, path, &logged{})
	fill(t, b, 3, noExtra)
	closeBolt(t, b)
	key := storetest.Domain(1).String()
	newer := []byte{recordMagic, recordVersion + 1, 0, 0, 0, 0, 'w', 'h', 'a', 't'}
	seal(key, newer)
	edit(t, path, func(tx *bbolt.Tx) error { return tx.Bucket([]byte(bucketPolicies)).Put([]byte(key), newer) })
	image, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	clear(image[int(metaOf(image).freelist)*os.Getpagesize():][:os.Getpagesize()])
	specimen{}.write(t, path, image)

	l := &logged{}
	b = openBolt(t, path, l)
	if s := b.Stats(); s.Heals != 1 || s.Salvaged != 3 || s.Lost != 0 {
		t.Errorf("%+v", s)
	}
	if _, err := b.Get(t.Context(), storetest.Domain(1)); !errors.Is(err, resolver.ErrNotCached) || !errors.Is(err, ErrVersion) {
		t.Errorf("Get: %v", err)
	}
	versions := 0
	for e, err := range b.All(t.Context()) {
		if errors.Is(err, ErrVersion) && e.Domain == storetest.Domain(1) {
			versions++
		} else if err != nil {
			t.Error(err)
		}
	}
	if versions != 1 || b.Len() != 3 || len(l.with("event=store_record_dropped")) != 0 {
		t.Errorf("All yields %d, %d are left, log %q", versions, b.Len(), l.lines)
	}
	if err := b.Put(t.Context(), storetest.Entry(1, storetest.Clock())); err != nil {
		t.Error(err)
	}
	if _, err := b.Get(t.Context(), storetest.Domain(1)); err != nil || b.Len() != 3 {
		t.Errorf("put over it: %v, %d", err, b.Len())
	}
}

// TestHealingCutShort: a crash at each point of a healing loses nothing that the healing had saved.
func TestHealingCutShort(t *testing.T) {
	s := newSpecimen(t)
	half := append([]byte(nil), s.image[:len(s.image)/2]...)
	for _, c := range []struct {
		why         string
		store, next []byte // nil: no such file
		kept, heals int
	}{
		{"before the new file was complete", s.image, half, len(s.puts), 0},
		{"between the two renames", nil, s.image, len(s.puts), 0},
		{"the first start was cut short", nil, half, 0, 0},
		{"the first start was cut shorter", nil, []byte{}, 0, 0},
	} {
		t.Run(c.why, func(t *testing.T) {
			path, l := storePath(t), &logged{}
			for name, image := range map[string][]byte{path: c.store, path + ".new": c.next} {
				if image != nil {
					s.write(t, name, image)
				}
			}
			b := openBolt(t, path, l)
			if b.Len() != c.kept+min(c.kept, 1) || len(l.lines) != c.heals {
				t.Errorf("%d entries, log %q", b.Len(), l.lines)
			}
			if _, err := os.Stat(path + ".new"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the new file is still there: %v", err)
			}
			s.again(t, path, b, l, putFresh(t, b))
		})
	}
}

// TestSalvageKeepsTheLater: a damaged file can yield two records of one domain, in any order, far apart or not.
func TestSalvageKeepsTheLater(t *testing.T) {
	early, late := storetest.Entry(1, storetest.Clock()), storetest.Entry(1, storetest.Clock().Add(time.Hour))
	key := early.Domain.String()
	for why, c := range map[string]struct {
		first, second entry
		apart         bool
	}{
		"the later one second":            {early, late, false},
		"the later one first":             {late, early, false},
		"the later one second, far apart": {early, late, true},
		"the later one first, far apart":  {late, early, true},
	} {
		b := &Bolt{path: storePath(t)}
		h, err := b.install(func(l *loader) error {
			err := l.add(key, mustEncode(t, c.first))
			if err == nil && c.apart {
				err = l.flush()
			}
			return errors.Join(err, l.add(key, mustEncode(t, c.second)))
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := h.close(); err != nil {
			t.Fatal(err)
		}
		b = openBolt(t, b.path, &logged{})
		if e, err := b.Get(t.Context(), early.Domain); err != nil || !storetest.Equal(late, e) || b.Len() != 1 {
			t.Errorf("%s: %+v %v, Len() = %d", why, e, err, b.Len())
		}
	}
}

// TestLockOfAFileThatWasMoved: whoever waited for the lock while the file was set aside must not use it.
func TestLockOfAFileThatWasMoved(t *testing.T) {
	path := storePath(t)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := os.Rename(path, path+".corrupt"); err != nil {
		t.Fatal(err)
	}
	err = lock(f, path)
	if locked := (*LockedError)(nil); !errors.As(err, &locked) {
		t.Errorf("lock: %v", err)
	}
}
