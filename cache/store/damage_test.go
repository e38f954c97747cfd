package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/stsmapd/stsmapd/cache/record"
	"github.com/stsmapd/stsmapd/cache/store/storetest"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// specimen is a sound store's file, its snapshot, and what is in them. The file has branches, pages that belong
// together and free pages. The last commits only touch one entry that is not in puts: a damaged meta page takes a store
// back by one commit. Each run makes the same file: bbolt writes the buckets that a commit changes in the order of one
// of Go's maps, so each of these commits changes one.
type specimen struct {
	image, snapshot []byte
	commit          []byte // the number of the last one
	puts            map[dnsname.Name]entry
	pages           map[string][]int // their numbers, by bbolt's word for what they are
	root            int              // of the records
	top             int              // of the buckets
}

func newSpecimen(t testing.TB) specimen {
	t.Helper()
	path := storePath(t)
	b := openStore(t, path, &testkit.Log{})
	closeStore(t, b)
	s := specimen{puts: map[dnsname.Name]entry{}, pages: map[string][]int{}}
	const commits = 6
	for part := range commits {
		editPolicies(t, path, func(policies *bbolt.Bucket) (err error) {
			for i := part; i < 300; i += commits {
				e := storetest.Entry(i, storetest.Clock())
				e.Policy = storetest.Policy(mixedSizes(i))
				s.puts[e.Domain] = e
				err = errors.Join(err, putRecord(policies, e))
			}
			return err
		})
	}
	editPolicies(t, path, func(policies *bbolt.Bucket) (err error) {
		for i := 0; i < 300; i += 5 {
			delete(s.puts, storetest.Domain(i))
			err = errors.Join(err, policies.Delete([]byte(storetest.Domain(i).String())))
		}
		return err
	})
	edit(t, path, func(tx *bbolt.Tx) error {
		count := record.EncodeNumber(keyCount, uint64(len(s.puts)+1))
		return tx.Bucket([]byte(bucketMeta)).Put([]byte(keyCount), count)
	})
	for i := range 4 {
		editPolicies(t, path, func(policies *bbolt.Bucket) error {
			return putRecord(policies, storetest.Entry(999_999, storetest.Clock().Add(time.Duration(i)*time.Hour)))
		})
	}
	b = openStore(t, path, &testkit.Log{})
	b.snapshots.saved++ // as if a policy had changed: a snapshot is written
	closeStore(t, b)
	for name, into := range map[string]*[]byte{
		path: &s.image, b.snapshot: &s.snapshot, path + lastCommitName: &s.commit} {
		var err error
		if *into, err = os.ReadFile(name); err != nil {
			t.Fatal(err)
		}
	}
	s.look(t, path)
	return s
}

// look asks bbolt what the pages are. The leaf with the first key is none of them: without it a cursor finds no
// beginning, and all keys of the specimen begin alike.
func (s *specimen) look(t testing.TB, path string) {
	t.Helper()
	page := os.Getpagesize()
	edit(t, path, func(tx *bbolt.Tx) error {
		s.root, s.top = int(tx.Bucket([]byte(bucketPolicies)).Root()), int(tx.Cursor().Bucket().Root())
		first, _ := tx.Bucket([]byte(bucketPolicies)).Cursor().First()
		for id := 0; ; id++ {
			p, err := tx.Page(id)
			if err != nil || p == nil {
				return err
			}
			if id != s.top && !(p.Type == "leaf" && bytes.Contains(s.image[id*page:][:page], first)) {
				s.pages[p.Type] = append(s.pages[p.Type], id)
			}
			id += p.OverflowCount
		}
	})
	if len(s.pages["free"]) == 0 || len(s.pages["freelist"]) != 1 || len(s.pages["branch"]) == 0 ||
		len(s.pages["leaf"]) < 10 {
		t.Fatalf("the specimen has %v", s.pages)
	}
}

func editPolicies(t testing.TB, path string, change func(*bbolt.Bucket) error) {
	t.Helper()
	edit(t, path, func(tx *bbolt.Tx) error { return change(tx.Bucket([]byte(bucketPolicies))) })
}

func putRecord(policies *bbolt.Bucket, e entry) error {
	b, err := record.Encode(e)
	if err != nil {
		return err
	}
	return policies.Put([]byte(e.Domain.String()), b)
}

// mixedSizes: most policies are small, some fill several pages.
func mixedSizes(i int) int {
	if i%31 == 0 {
		return i * 200
	}
	return i % 7 * 100
}

func write(t testing.TB, path string, image []byte) {
	t.Helper()
	if err := os.WriteFile(path, image, 0o600); err != nil {
		t.Fatal(err)
	}
}

// write writes the store's file and its snapshot, nil: there is none.
func (s specimen) write(t testing.TB, path string, image, snapshot []byte) {
	t.Helper()
	write(t, path, image)
	write(t, path+lastCommitName, s.commit)
	if snapshot != nil {
		write(t, strings.TrimSuffix(path, ".db")+".snapshot", snapshot)
	}
}

// outcome is what a damaged store came to.
type outcome struct {
	kept    int
	heals   int
	refused int // records that All met damaged
	dropped int // records that were found damaged
}

// examine uses a store whose file was damaged, and holds it to what must be true whatever the damage: it answers, and
// what it answers was put; what is missing was reported; it takes Puts that last.
func (s specimen) examine(t *testing.T, path string, b *Store, l *testkit.Log) outcome {
	t.Helper()
	var o outcome
	for _, err := range b.All(t.Context()) {
		c := (*record.CorruptError)(nil)
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
	fresh := putFresh(t, b)
	o.heals, o.dropped = len(l.Lines("event=store_corrupt")), len(l.Lines("event=store_record_dropped"))
	aside, _ := filepath.Glob(path + ".corrupt-*")
	if stats := b.Stats(); len(aside) != min(o.heals, keptAside) || int(stats.Heals) != o.heals ||
		int(stats.CorruptRecords) != o.dropped {
		t.Errorf("%d files set aside, log %q, %+v", len(aside), l.Lines(), stats)
	}
	if o.kept < len(s.puts) && o.heals+o.dropped == 0 {
		t.Errorf("%d of %d are left, and nobody was told", o.kept, len(s.puts))
	}
	s.again(t, path, b, l, fresh)
	return o
}

// again opens the store once more, and finds what was put last.
func (s specimen) again(t *testing.T, path string, b *Store, l *testkit.Log, fresh entry) {
	t.Helper()
	closeStore(t, b)
	b = openStore(t, path, l)
	e, err := b.Get(t.Context(), fresh.Domain)
	if e.Doubtful() { // what the damage had done was found only now
		e.Checked = fresh.Checked
	}
	if err != nil || !storetest.Equal(fresh, e) {
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
	closeStore(t, b)
}

func putFresh(t *testing.T, b *Store) entry {
	t.Helper()
	e := storetest.Entry(5_000_000, storetest.Clock())
	if err := b.Put(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	return e
}

// spoiling is what is done to a file, here to a copy of its bytes.
type spoiling struct {
	why   string
	do    func(image []byte) []byte
	heals bool
	kept  float64 // at least this part of the entries, without a snapshot
}

func (s specimen) spoilings() []spoiling {
	page := os.Getpagesize()
	cut := func(n func(size int) int) func([]byte) []byte {
		return func(b []byte) []byte { return b[:n(len(b))] }
	}
	zero := func(pages ...int) func([]byte) []byte {
		return func(b []byte) []byte {
			for _, id := range pages {
				clear(b[id*page : (id+1)*page])
			}
			return b
		}
	}
	text := func(s string) func([]byte) []byte { return func([]byte) []byte { return []byte(s) } }
	leaves, free, list := s.pages["leaf"], s.pages["free"], s.pages["freelist"][0]
	return []spoiling{
		{"sound", cut(func(n int) int { return n }), false, 1},
		{"empty: a crash before the first write", text(""), true, 0},
		{"one byte", text("x"), true, 0},
		{"text", text(strings.Repeat("this is no store\n", 3000)), true, 0},
		{"zeros: a crash after the size was written, before the data", func(b []byte) []byte { clear(b); return b },
			true, 0},
		{"cut within the first meta", cut(func(int) int { return 50 }), true, 0},
		{"cut after the first meta", cut(func(int) int { return page }), true, 0},
		{"cut after both metas", cut(func(int) int { return 2 * page }), true, 0},
		{"cut in the middle", cut(func(n int) int { return n / 2 }), true, 0},
		{"cut in the middle of a page", cut(func(n int) int { return n/2 + 100 }), true, 0},
		{"both metas zeroed", zero(0, 1), true, 0},
		{"list of free pages zeroed", zero(list), true, 1},
		{"root page of the records zeroed", zero(s.root), true, 0},
		{"a leaf zeroed", zero(leaves[len(leaves)/2]), true, 0.9},
		{"three leaves zeroed", zero(leaves[2], leaves[len(leaves)/2], leaves[len(leaves)-1]), true, 0.5},
		{"a branch that is its own child", s.cycle, true, 0},
		{"a leaf twice, another not at all",
			func(b []byte) []byte { return s.repoint(b, s.root, leaves[3], leaves[6]) }, true, 0.5},
		{"every page but the metas zeroed", func(b []byte) []byte { clear(b[2*page:]); return b }, true, 0},
		{"random bytes", func(b []byte) []byte {
			random := rand.NewChaCha8([32]byte{8, 4, 6, 1})
			_, _ = random.Read(b)
			return b
		}, true, 0},
		{"a list of free pages that names a leaf in use: bbolt writes over it",
			func(b []byte) []byte { return s.repoint(b, list, free[len(free)-1], leaves[4]) }, false, 0},
	}
}

// repoint replaces the number of one page by another's wherever it stands on a page.
func (s specimen) repoint(image []byte, on, from, to int) []byte {
	number := func(id int) []byte { return binary.NativeEndian.AppendUint64(nil, uint64(id)) }
	page := image[on*os.Getpagesize():][:os.Getpagesize()]
	copy(page[8:], bytes.ReplaceAll(page[8:], number(from), number(to))) // a page begins with its own
	return image
}

// cycle makes the root of the records point to itself, everywhere: bbolt descends until the process dies.
func (s specimen) cycle(image []byte) []byte {
	for _, id := range append(s.pages["leaf"], s.pages["branch"]...) {
		if id != s.root {
			image = s.repoint(image, s.root, id, s.root)
		}
	}
	return image
}

func TestDamagedAtOpening(t *testing.T) {
	s := newSpecimen(t)
	for _, d := range s.spoilings() {
		for _, snapshot := range [][]byte{nil, s.snapshot} {
			t.Run(d.why+map[bool]string{true: ", with a snapshot"}[snapshot != nil], func(t *testing.T) {
				path, l := storePath(t), &testkit.Log{}
				image := d.do(bytes.Clone(s.image))
				s.write(t, path, image, snapshot)
				b, err := Open(path, l.Logger())
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { closeStore(t, b) })
				s.held(t, d, s.examine(t, path, b, l), snapshot != nil)
				if !d.heals {
					return
				}
				asides, _ := filepath.Glob(path + ".corrupt-*")
				aside := asides[0]
				if kept, err := os.ReadFile(aside); err != nil || !bytes.Equal(kept, image) {
					t.Errorf("the file set aside is not the damaged one: %v", err)
				}
				line := l.Lines("event=store_corrupt")[0]
				for _, part := range []string{
					"level=ERROR", "path=" + path, "set_aside=" + aside, "cause=", "salvaged=", "lost="} {
					if !strings.Contains(line, part) {
						t.Errorf("%q lacks %q", line, part)
					}
				}
			})
		}
	}
}

// held checks what came of a damage.
func (s specimen) held(t *testing.T, d spoiling, o outcome, snapshot bool) {
	t.Helper()
	t.Logf("%+v of %d", o, len(s.puts))
	if d.heals && o.heals == 0 || float64(o.kept) < d.kept*float64(len(s.puts)) {
		t.Errorf("%+v of %d, want %v and %v of them", o, len(s.puts), d.heals, d.kept)
	}
	if snapshot && o.kept < len(s.puts) {
		t.Errorf("%d of %d policies in the snapshot are lost", len(s.puts)-o.kept, len(s.puts))
	}
}

// TestSpecimenIsTheSame: a seed that failed damages the same bytes of the same file when it is run again.
func TestSpecimenIsTheSame(t *testing.T) {
	if one, other := newSpecimen(t), newSpecimen(t); !bytes.Equal(one.image, other.image) {
		t.Error("two specimens differ")
	}
}

// TestDamagedWhileOpen does the same to the file of a running store.
func TestDamagedWhileOpen(t *testing.T) {
	s := newSpecimen(t)
	for _, d := range s.spoilings() {
		for _, puts := range []int{0, 50} { // 50: the writer is the first to meet the damage
			t.Run(d.why+map[int]string{50: ", then puts"}[puts], func(t *testing.T) {
				path, l := storePath(t), &testkit.Log{}
				s.write(t, path, s.image, s.snapshot)
				b := openStore(t, path, l)
				write(t, path, d.do(bytes.Clone(s.image))) // the same inode
				for i := range puts {
					if err := b.Put(t.Context(), storetest.Entry(2_000_000+i, storetest.Clock())); err != nil {
						t.Fatal(err)
					}
					if err := b.Delete(t.Context(), storetest.Domain(999_999)); err != nil {
						t.Fatal(err)
					}
				}
				s.held(t, d, s.examine(t, path, b, l), true)
			})
		}
	}
}

// TestRandomDamage strews random bytes over the file, at opening and while it is open. No policy of the snapshot is
// lost, and no damage costs more than two seconds of work; how long it takes is up to the disk, too. Nor does memory
// stay large behind it. STSMAPD_SEED=N runs a seed that failed again.
func TestRandomDamage(t *testing.T) {
	s := newSpecimen(t)
	seeds, used := 0, len(s.image)
	for used > 0 && s.image[used-1] == 0 {
		used--
	}
	total, most, atFirst, large := outcome{}, time.Duration(0), anonymous(t), int64(0)
	for seed := range testkit.Seeds(testkit.Sample(t, "damaged stores", 1000, 200)) {
		seeds++
		random := rand.New(rand.NewPCG(seed, 1))
		image := bytes.Clone(s.image)
		for range 1 + random.IntN(20) {
			at := random.IntN(used)
			if random.IntN(2) == 0 { // where the structure is
				at = at/os.Getpagesize()*os.Getpagesize() + random.IntN(128)
			}
			image[at] = byte(random.Uint32())
		}
		begin := processorTime(t)
		s.random(t, seed, image, &total)
		most = max(most, processorTime(t)-begin)
		large = max(large, anonymous(t)-atFirst)
	}
	t.Logf("%d seeds: %+v of %d; %v of processor time and %d MiB more memory at most", seeds, total,
		seeds*len(s.puts), most, large>>20)
	if seeds > 100 && (total.heals == 0 || total.dropped == 0) ||
		!raceDetector && (most > 2*time.Second || large > 2*guardRoom) {
		t.Errorf("%+v, %v, %d bytes: the damage was not what this test is for, or cost too much", total, most, large)
	}
}

// anonymous is how many bytes of memory this process has that are no file's.
func anonymous(t *testing.T) int64 {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "RssAnon:")
	n, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n << 10
}

// processorTime is how long this process has been at work.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		t.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// random uses a file that was damaged at random.
func (s specimen) random(t *testing.T, seed uint64, image []byte, total *outcome) {
	t.Helper()
	dir, err := os.MkdirTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	path, l := filepath.Join(dir, "policies.db"), &testkit.Log{}
	var b *Store
	s.write(t, path, image, s.snapshot)
	if seed%2 == 0 {
		b = openStore(t, path, l)
	} else {
		write(t, path, s.image)
		b = openStore(t, path, l)
		write(t, path, image)
	}
	if seed%3 == 0 {
		for i := range 30 {
			if err := b.Delete(t.Context(), storetest.Domain(7*i)); err != nil {
				t.Fatalf("STSMAPD_SEED=%d: Delete: %v", seed, err)
			}
			if e, ok := s.puts[storetest.Domain(7*i)]; ok {
				if err := b.Put(t.Context(), e); err != nil {
					t.Fatalf("STSMAPD_SEED=%d: Put: %v", seed, err)
				}
			}
		}
	}
	o := s.examine(t, path, b, l)
	if o.kept < len(s.puts) {
		t.Errorf("%d of %d policies in the snapshot are lost", len(s.puts)-o.kept, len(s.puts))
	}
	if t.Failed() {
		t.Fatalf("STSMAPD_SEED=%d: %+v, log %q", seed, o, l.Lines())
	}
	*total = outcome{total.kept + o.kept, total.heals + o.heals, total.refused + o.refused, total.dropped + o.dropped}
	_ = os.RemoveAll(dir)
}
