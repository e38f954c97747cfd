package cache

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"sort"
)

// bbolt trusts the pages of its file. That is fast, but on a damaged page it may panic, fault, recurse until the stack
// overflows or allocate without bound, and the last two end the process whatever we do. So what comes from the file is read
// here, with checks, before or instead of by bbolt: every Get, walk and salvage, and the path that a Put will take. Reading
// with pread also turns a disk's read error into an error, where the memory map would raise a signal.
//
// The format (bbolt file version 2, host byte order): the file is an array of pages. Pages 0 and 1 are metas; the valid one
// with the higher transaction number counts. A meta points to the list of free pages and to the root of a B+tree, whose
// leaves hold keys and values. A value can itself be a tree, a bucket; a small one stands in its parent's value.
const (
	pageHeader   = 16 // id 8, flags 2, count 2, overflow 4
	pageElement  = 16 // leaf: flags 4, position 4, key size 4, value size 4; branch: position 4, key size 4, page 8
	bucketHeader = 16 // root page 8 (0: the page follows), sequence 8
	metaSize     = 64

	flagBranch   = 0x01
	flagLeaf     = 0x02
	flagFreelist = 0x10
	flagBucket   = 0x01 // of a leaf element

	boltMagic   = 0xED0CDAED
	boltVersion = 2

	minPageSize = 1 << 10
	maxPageSize = 1 << 16
	maxDepth    = 24      // of a tree; a store of a million policies has 4
	maxPage     = 1 << 20 // bytes of a leaf with its overflow: bbolt keeps up to 4 records of any size together
)

// damage: the file is not as bbolt wrote it, or cannot be read. Heal it.
type damage struct{ what string }

func (d *damage) Error() string { return d.what }

func damaged(format string, args ...any) error { return &damage{fmt.Sprintf(format, args...)} }

// pgid is the number of a page.
type pgid uint64

// meta is what a meta page says.
type meta struct {
	pageSize int
	root     pgid
	freelist pgid
	limit    pgid // number of pages in use: the file is at least this long
	txid     uint64
}

// parseMeta reads a meta page, from its first byte, and says whether it is valid.
func parseMeta(b []byte) (meta, bool) {
	if len(b) < pageHeader+metaSize {
		return meta{}, false
	}
	b = b[pageHeader:]
	u32, u64 := binary.NativeEndian.Uint32, binary.NativeEndian.Uint64
	sum := fnv.New64a()
	sum.Write(b[:metaSize-8])
	if u32(b) != boltMagic || u32(b[4:]) != boltVersion || u64(b[56:]) != sum.Sum64() {
		return meta{}, false
	}
	m := meta{pageSize: int(u32(b[8:])), root: pgid(u64(b[16:])), freelist: pgid(u64(b[32:])), limit: pgid(u64(b[40:])), txid: u64(b[48:])}
	return m, m.pageSize >= minPageSize && m.pageSize <= maxPageSize && m.pageSize&(m.pageSize-1) == 0
}

// readMeta returns the meta that counts. The second one is looked for at each page size when the first is damaged.
func readMeta(r io.ReaderAt) (meta, error) {
	var best meta
	try := func(at int) bool {
		var b [pageHeader + metaSize]byte
		if _, err := r.ReadAt(b[:], int64(at)); err != nil {
			return false
		}
		m, ok := parseMeta(b[:])
		if ok && (best.pageSize == 0 || m.txid > best.txid) {
			best = m
		}
		return ok
	}
	if try(0) {
		try(best.pageSize)
		return best, nil
	}
	for at := minPageSize; at <= maxPageSize; at *= 2 {
		if try(at) && best.pageSize == at {
			return best, nil
		}
	}
	return meta{}, damaged("neither meta page is valid")
}

// checkMetas makes sure that both meta pages are valid. The one that counts may be the damaged one: then the file reads as it was
// one commit before, and what that commit put into pages that were free is not seen, and written over by the next.
func checkMetas(r io.ReaderAt, m meta) error {
	for i := range 2 {
		var b [pageHeader + metaSize]byte
		if _, err := r.ReadAt(b[:], int64(i*m.pageSize)); err != nil {
			return damaged("meta page %d: %v", i, err)
		}
		if other, ok := parseMeta(b[:]); !ok || other.pageSize != m.pageSize {
			return damaged("meta page %d is not valid", i)
		}
	}
	return nil
}

// checkFile is the check at opening: what bbolt reads of a file before anybody asks for a key. Its cost does not grow with
// the number of policies.
func checkFile(f *os.File) (meta, error) {
	info, err := f.Stat()
	if err != nil {
		return meta{}, err
	}
	m, err := readMeta(f)
	if err != nil {
		return meta{}, err
	}
	if have := pgid(info.Size() / int64(m.pageSize)); have < m.limit {
		return meta{}, damaged("the file was cut: it has %d pages of %d", have, m.limit)
	}
	if err := checkMetas(f, m); err != nil {
		return meta{}, err
	}
	if _, err := freePages(f, m); err != nil {
		return meta{}, err
	}
	_, err = newPages(f, m).read(m.root)
	return m, err
}

// freePages returns the list of free pages, checked: a wrong one would make bbolt write over a meta or allocate without bound.
func freePages(r io.ReaderAt, m meta) ([]pgid, error) {
	header, err := checkFreelist(r, m)
	if err != nil {
		return nil, err
	}
	b := make([]byte, 8*header.count)
	if _, err := r.ReadAt(b, int64(m.freelist)*int64(m.pageSize)+header.first); err != nil {
		return nil, damaged("the list of free pages: %v", err)
	}
	free := make([]pgid, header.count)
	last := pgid(1)
	for i := range free {
		id := pgid(binary.NativeEndian.Uint64(b[8*i:]))
		if id <= last || id >= m.limit || id == m.root || id == m.freelist {
			return nil, damaged("the list of free pages names page %d of %d", id, m.limit)
		}
		free[i], last = id, id
	}
	return free, nil
}

// freelistHeader: the numbers of count free pages stand at first bytes after the begin of the list, which has so many pages.
type freelistHeader struct {
	first int64
	count uint64
	pages pgid
}

// checkFreelist checks what stands before the list of free pages.
func checkFreelist(r io.ReaderAt, m meta) (freelistHeader, error) {
	var b [pageHeader + 8]byte
	if m.freelist < 2 || m.freelist >= m.limit {
		return freelistHeader{}, damaged("the list of free pages is at page %d of %d", m.freelist, m.limit)
	}
	if _, err := r.ReadAt(b[:], int64(m.freelist)*int64(m.pageSize)); err != nil {
		return freelistHeader{}, damaged("the list of free pages: %v", err)
	}
	h := freelistHeader{first: pageHeader, count: uint64(binary.NativeEndian.Uint16(b[10:]))}
	if h.count == 0xFFFF { // too many for the header
		h = freelistHeader{first: pageHeader + 8, count: binary.NativeEndian.Uint64(b[pageHeader:])}
	}
	overflow := pgid(binary.NativeEndian.Uint32(b[12:]))
	h.pages = overflow + 1
	room := (uint64(overflow)+1)*uint64(m.pageSize) - uint64(h.first)
	if pgid(binary.NativeEndian.Uint64(b[:])) != m.freelist || binary.NativeEndian.Uint16(b[8:]) != flagFreelist ||
		overflow >= m.limit-m.freelist || h.count > room/8 {
		return freelistHeader{}, damaged("page %d is no list of free pages", m.freelist)
	}
	return h, nil
}

// pages reads the pages of one state of the file. While a transaction of bbolt's is open they do not change.
type pages struct {
	r        io.ReaderAt
	pageSize int
	limit    pgid
	shelf    *shelf // nil: each page is read into memory of its own
}

func newPages(r io.ReaderAt, m meta) pages { return pages{r: r, pageSize: m.pageSize, limit: m.limit} }

// shelf is memory for the pages of one search, to be used again for the next.
type shelf struct {
	pages [][]byte
	taken int
}

// page returns memory for one page.
func (s *shelf) page(size int) []byte {
	if s.taken == len(s.pages) {
		s.pages = append(s.pages, make([]byte, size))
	}
	s.taken++
	return s.pages[s.taken-1]
}

func (p pages) page() []byte {
	if p.shelf == nil {
		return make([]byte, p.pageSize)
	}
	return p.shelf.page(p.pageSize)
}

// load returns the bytes of a page with its overflow. Of the content only the page's number and length are checked.
func (p pages) load(id pgid) ([]byte, error) {
	if id < 2 || id >= p.limit {
		return nil, damaged("a pointer to page %d of %d", id, p.limit)
	}
	b := p.page()
	if err := p.fill(b, id); err != nil {
		return nil, err
	}
	if is := pgid(binary.NativeEndian.Uint64(b)); is != id {
		return nil, damaged("page %d says that it is page %d", id, is)
	}
	more := pgid(binary.NativeEndian.Uint32(b[12:]))
	if more == 0 {
		return b, nil
	}
	if more >= p.limit-id || (more+1)*pgid(p.pageSize) > maxPage {
		return nil, damaged("page %d says that %d more belong to it", id, more)
	}
	b = make([]byte, (int(more)+1)*p.pageSize)
	if err := p.fill(b, id); err != nil {
		return nil, err
	}
	return b, nil
}

func (p pages) fill(b []byte, id pgid) error {
	_, err := p.r.ReadAt(b, int64(id)*int64(p.pageSize))
	switch {
	case errors.Is(err, os.ErrClosed): // the file is healthy, only ours no longer
		return err
	case err != nil:
		return damaged("page %d cannot be read: %v", id, err)
	}
	return nil
}

// read returns a page of a tree, checked.
func (p pages) read(id pgid) (page, error) {
	b, err := p.load(id)
	if err != nil {
		return page{}, err
	}
	pg, err := parsePage(b)
	if err == nil {
		err = pg.check()
	}
	if err != nil {
		return page{}, damaged("page %d: %v", id, err)
	}
	// bbolt believes the overflow: a page that claims too many would take them from others when it is freed.
	if need := (pg.size() + p.pageSize - 1) / p.pageSize; need != len(b)/p.pageSize {
		return page{}, damaged("page %d takes up %d pages, and its content %d", id, len(b)/p.pageSize, need)
	}
	return pg, nil
}

// page is one node of a tree: a branch or a leaf.
type page struct {
	b      []byte
	leaf   bool
	inline bool // in the value that is its bucket: it has no number
	count  int
}

// parsePage checks what stands before a page's content.
func parsePage(b []byte) (page, error) {
	if len(b) < pageHeader {
		return page{}, errors.New("shorter than its header")
	}
	flags, count := binary.NativeEndian.Uint16(b[8:]), int(binary.NativeEndian.Uint16(b[10:]))
	if flags != flagBranch && flags != flagLeaf {
		return page{}, fmt.Errorf("neither branch nor leaf, flags %#x", flags)
	}
	if pageHeader+count*pageElement > len(b) {
		return page{}, fmt.Errorf("%d elements in %d bytes", count, len(b))
	}
	return page{b: b, leaf: flags == flagLeaf, count: count}, nil
}

// element is a key with its value, or with the page that has the keys from this one on.
type element struct {
	key, value []byte
	bucket     bool
	child      pgid
	pos        int // of the key, in the page; the value follows it
}

// at returns an element, and whether it lies within the page. Key and value point into the page.
func (p page) at(i int) (element, bool) {
	start := pageHeader + i*pageElement
	h := p.b[start : start+pageElement]
	u32 := func(at int) int64 { return int64(binary.NativeEndian.Uint32(h[at:])) }
	var e element
	var pos, key, value int64
	if p.leaf {
		e.bucket, pos, key, value = u32(0)&flagBucket != 0, u32(4), u32(8), u32(12)
	} else {
		pos, key, e.child = u32(0), u32(4), pgid(binary.NativeEndian.Uint64(h[8:]))
	}
	pos += int64(start)
	if key == 0 || pos+key+value > int64(len(p.b)) {
		return element{}, false
	}
	e.pos = int(pos)
	e.key, e.value = p.b[pos:pos+key:pos+key], p.b[pos+key:pos+key+value:pos+key+value]
	return e, true
}

// must is at for a page that was checked.
func (p page) must(i int) element {
	e, _ := p.at(i)
	return e
}

// check makes sure that every element lies within the page, that the keys ascend, and that keys and values stand one behind the
// other, as bbolt writes them: so a page cannot say that it has fewer elements than it has.
func (p page) check() error {
	if !p.leaf && p.count == 0 {
		return errors.New("a branch without children")
	}
	var last []byte
	next := pageHeader + p.count*pageElement
	for i := range p.count {
		e, ok := p.at(i)
		if !ok || e.pos != next {
			return fmt.Errorf("element %d does not lie where it must", i)
		}
		next += len(e.key) + len(e.value)
		if i > 0 && bytes.Compare(last, e.key) >= 0 {
			return fmt.Errorf("element %d is out of order", i)
		}
		last = e.key
	}
	return nil
}

// size is how many bytes the content takes, as bbolt counts them when it makes room for a page. The page was checked.
func (p page) size() int {
	if p.count == 0 {
		return pageHeader
	}
	e := p.must(p.count - 1)
	return e.pos + len(e.key) + len(e.value)
}

// search returns the index of the first element whose key is not below key, and whether it is equal.
func (p page) search(key []byte) (int, bool) {
	i := sort.Search(p.count, func(i int) bool { return bytes.Compare(p.must(i).key, key) >= 0 })
	return i, i < p.count && bytes.Equal(p.must(i).key, key)
}
