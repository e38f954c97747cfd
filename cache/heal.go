package cache

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// heal puts a fresh file in the place of a damaged one that nobody has open. The damaged one is kept under a dated name, and
// every record in it that can still be reached and passes its checksum goes into the fresh one. A crash in the midst of
// it loses nothing: the next start heals again, or finds the fresh file ready (adopt).
func (b *Bolt) heal(cause *damage) (*handle, error) {
	old, err := openLocked(b.path)
	if err != nil {
		return nil, err
	}
	defer unlock(old)
	if found := schemaOf(old); found > schema {
		return nil, &SchemaError{b.path, found, schema}
	}
	var s salvaged
	count, err := b.create(func(l *loader) error { return s.run(old, l) })
	if err != nil { // no room for the records, it seems: an empty store is better than none
		s.failed = err
		if count, err = b.create(nil); err != nil {
			return nil, err
		}
	}
	aside, err := b.setAside()
	if err != nil {
		return nil, err
	}
	b.report(cause, aside, count, s)
	return b.moveIn()
}

// report counts a healing and logs its one line.
func (b *Bolt) report(cause *damage, aside string, count uint64, s salvaged) {
	lost := s.lost(count)
	b.stats.heals.Add(1)
	b.stats.salvaged.Add(count)
	b.stats.lost.Add(lost)
	attrs := []any{"event", "store_corrupt", "path", b.path, "set_aside", aside, "cause", cause.what, "salvaged", count, "lost", lost}
	if s.pages > 0 {
		attrs = append(attrs, "unreadable_pages", s.pages)
	}
	if s.failed != nil {
		attrs = append(attrs, "salvage_error", s.failed)
	}
	b.renew()
	b.log.Error("the policy store was damaged: it was set aside, and stsmapd goes on with a fresh one that has every policy that could "+
		"still be read; others are looked up again when mail for their domains comes; check the disk, then remove the file set aside", attrs...)
}

// schemaOf returns a damaged file's layout, 0 when it cannot be told.
func schemaOf(f *os.File) uint64 {
	m, err := readMeta(f)
	if err != nil {
		return 0
	}
	root, err := newPages(f, m).openTree(m.root)
	if err != nil {
		return 0
	}
	metas, ok, err := root.bucket(bucketMeta)
	if err != nil || !ok {
		return 0
	}
	e, ok, err := metas.find([]byte(keySchema))
	if err != nil || !ok {
		return 0
	}
	n, _ := openNumber(keySchema, e.value)
	return n
}

// salvaged is what came of reading a damaged file.
type salvaged struct {
	expected uint64 // records that the file says it had; 0 when it does not say
	found    uint64 // sound records of the tree
	bad      uint64 // records of the tree that were damaged
	pages    int    // of the tree that could not be read
	failed   error  // the fresh file could not take the records
}

// run reads what a damaged file still has. Its errors are the loader's.
func (s *salvaged) run(old *os.File, l *loader) error {
	info, err := old.Stat()
	if err != nil {
		return nil // no way in
	}
	m, err := readMeta(old)
	if err != nil { // no tree then, but there may be records
		m = meta{pageSize: os.Getpagesize(), limit: maxPages}
	}
	m.limit = min(m.limit, pgid(info.Size()/int64(m.pageSize)))
	current := checkMetas(old, m) == nil
	free, err := freePages(old, m)
	if err != nil || !current { // the last commit wrote to pages that this list says are free
		free = nil
	}
	var full error
	w := wreck{pages: newPages(old, m), seen: map[pgid]bool{}, doubt: !current}
	w.whole = func() bool { return current && s.expected > 0 && s.found >= s.expected }
	w.visit = func(bucket string, e element) {
		key, value := string(e.key), e.value
		if w.doubt {
			value = doubted(key, value)
		}
		if full == nil {
			full = s.take(bucket, key, value, l)
		}
	}
	w.search(m.root, free)
	s.pages = w.lostPages
	s.bad += uint64(w.lostElements)
	return full
}

// maxPages is more than any file has.
const maxPages = 1 << 40

// take hands a record to the loader, if it is one.
func (s *salvaged) take(bucket, key string, value []byte, l *loader) error {
	switch n, isNumber := openNumber(key, value); {
	case isNumber && bucket == bucketMeta && key == keyCount:
		s.expected = n
	case isNumber:
	case sound(key, value):
		if bucket == bucketPolicies {
			s.found++
		}
		return l.add(key, value)
	case bucket == bucketPolicies:
		s.bad++
	}
	return nil
}

// sound reports whether a record is worth carrying over: this version's, or a newer one's.
func sound(key string, record []byte) bool {
	_, err := decode(key, record)
	return err == nil || errors.Is(err, ErrVersion)
}

// doubted is a record with a mark that it may not be the last of its domain (resolver.Entry.Doubtful). What is no record of
// this version stays as it is.
func doubted(key string, record []byte) []byte {
	e, err := decode(key, record)
	if err != nil {
		return record
	}
	e.Checked = time.Time{}
	if marked, err := encode(e); err == nil {
		return marked
	}
	return record
}

// lost is how many records are known to be missing from count.
func (s *salvaged) lost(count uint64) uint64 {
	if s.expected > count {
		return max(s.bad, s.expected-count)
	}
	return s.bad
}

// maxAside bounds the files set aside within one second.
const maxAside = 100

// setAside moves the damaged file to a dated name that nothing has yet.
func (b *Bolt) setAside() (string, error) {
	name := b.path + ".corrupt-" + b.now().UTC().Format("20060102T150405Z")
	aside := name
	for i := 2; i < maxAside; i++ {
		switch _, err := os.Lstat(aside); {
		case errors.Is(err, fs.ErrNotExist):
			return aside, os.Rename(b.path, aside)
		case err != nil:
			return "", err
		}
		aside = fmt.Sprintf("%s-%d", name, i)
	}
	return "", fmt.Errorf("%s and %d more exist", name, maxAside-2)
}
