package cache

import "encoding/binary"

// wreck is a damaged file that is searched for records. Nothing in it is taken on trust.
type wreck struct {
	pages pages
	seen  map[pgid]bool // pages that are done with: read, or free

	lostPages    int // of the tree: they could not be read, or were met twice
	lostElements int // of the tree: they do not lie within their page

	// visit is called with each element found. Without a bucket it lay on a page that no tree leads to any more.
	visit func(bucket string, e element)
}

// search looks at all that can be reached from the root, in a sound tree in the order of keys. Where a part of the tree cannot be
// read, it then looks at every page that is not known to be free. That can bring back an entry that was deleted or replaced not long
// ago; the id of a policy is checked whenever it is used, and to lose one would be worse.
func (w *wreck) search(root pgid, free []pgid) {
	w.follow([]bucketPage{{id: root}})
	if w.lostPages == 0 {
		return
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
