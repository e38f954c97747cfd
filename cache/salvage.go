package cache

import (
	"encoding/binary"
	"slices"
)

// wreck is a damaged file that is searched for records. Nothing in it is taken on trust.
type wreck struct {
	pages pages
	seen  map[pgid]bool // pages that are done with: read, or free

	lostPages    int // of the tree: they could not be read, or were met twice
	lostElements int // of the tree: they do not lie within their page

	// visit is called with each element found. Without a bucket it lay on a page that no tree leads to any more.
	visit func(bucket string, e element)
	// whole reports whether all is found that there was.
	whole func() bool
	// doubt: what visit is called with may not be the last that was written.
	doubt bool
}

// search looks at all that can be reached from the root, in a sound tree in the order of keys. Unless that was all, it then looks at
// every other page for leaves of the tree that were lost with their branches; not at the free ones, whose records were
// deleted or replaced, if their list (nil: there is none) can be believed: it does not name what the tree has.
//
// Where it cannot be, a record that was deleted may come back, and an older one where the last one is gone; of two the one that was
// fetched later wins. So what is found there is in doubt: the domain is looked up before it is answered. Only if that cannot be does
// it bind, as it would for a sender that was away for a while: it is a policy that its domain has published. To forget it would
// leave mail unprotected against those who can hide the domain's DNS records.
//
// Pages that hold a part of a long policy are strangers' text. None can pass for a leaf: a page begins with its number, which has
// bytes that are zero, and a policy's text has no control characters.
func (w *wreck) search(root pgid, free []pgid) {
	w.follow([]bucketPage{{id: root}})
	if w.whole() {
		return
	}
	if free == nil || slices.ContainsFunc(free, func(id pgid) bool { return w.seen[id] }) {
		w.doubt, free = true, nil
	}
	for _, id := range free {
		w.seen[id] = true
	}
	for id := pgid(2); id < w.pages.limit; id++ {
		if !w.seen[id] {
			w.stray(id)
		}
	}
}

// load reads a page. The pages that it flows over into hold what strangers wrote: they are never looked at as pages.
func (w *wreck) load(id pgid) ([]byte, error) {
	b, err := w.pages.load(id)
	for i := range pgid(len(b) / w.pages.pageSize) {
		w.seen[id+i] = true
	}
	return b, err
}

// follow looks at pages and all that they point to. todo is a stack.
func (w *wreck) follow(todo []bucketPage) {
	for len(todo) > 0 {
		next := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if next.inline == nil {
			if w.seen[next.id] {
				w.lostPages++
				continue
			}
			b, err := w.load(next.id)
			if err != nil {
				w.lostPages++
				continue
			}
			next.inline = b
		}
		todo = w.take(next, todo)
	}
}

// stray looks at a page that no tree leads to. Only leaves have records.
func (w *wreck) stray(id pgid) {
	b, err := w.load(id)
	if err != nil {
		return
	}
	pg, err := parsePage(b)
	if err != nil || !pg.leaf {
		return
	}
	for i := range pg.count {
		e, ok := pg.at(i)
		switch {
		case !ok:
		case !e.bucket:
			w.visit("", e)
		case len(e.value) >= bucketHeader && binary.NativeEndian.Uint64(e.value) == 0:
			w.follow([]bucketPage{{inline: e.value[bucketHeader:]}})
		}
	}
}

// bucketPage is a page still to be looked at: its number, or its bytes.
type bucketPage struct {
	bucket string
	id     pgid
	inline []byte
}

// take visits a page's records and returns todo with what it points to.
func (w *wreck) take(at bucketPage, todo []bucketPage) []bucketPage {
	pg, err := parsePage(at.inline)
	if err != nil {
		w.lostPages++
		return todo
	}
	for i := range pg.count {
		if !pg.leaf {
			i = pg.count - 1 - i // todo is a stack
		}
		e, ok := pg.at(i)
		switch {
		case !ok:
			w.lostElements++
		case !pg.leaf:
			todo = append(todo, bucketPage{bucket: at.bucket, id: e.child})
		case !e.bucket:
			w.visit(at.bucket, e)
		case len(e.value) < bucketHeader:
			w.lostElements++
		case binary.NativeEndian.Uint64(e.value) != 0:
			todo = append(todo, bucketPage{bucket: string(e.key), id: pgid(binary.NativeEndian.Uint64(e.value))})
		default:
			todo = append(todo, bucketPage{bucket: string(e.key), inline: e.value[bucketHeader:]})
		}
	}
	return todo
}
