package cache

import (
	"bytes"
	"encoding/binary"
)

// tree is a bucket of the file: its root page, and the pages below.
type tree struct {
	pages pages
	root  page
}

// openTree returns the tree whose root is at page id.
func (p pages) openTree(id pgid) (tree, error) {
	root, err := p.read(id)
	return tree{p, root}, err
}

// bucket returns the tree that stands under a name, and whether there is one.
func (t tree) bucket(name string) (tree, bool, error) {
	e, ok, err := t.find([]byte(name))
	if err != nil || !ok {
		return tree{}, false, err
	}
	if !e.bucket || len(e.value) < bucketHeader {
		return tree{}, false, damaged("%q is no bucket", name)
	}
	if id := pgid(binary.NativeEndian.Uint64(e.value)); id != 0 {
		b, err := t.pages.openTree(id)
		return b, true, err
	}
	root, err := parsePage(e.value[bucketHeader:])
	if err == nil {
		err = root.check()
	}
	if err != nil || !root.leaf {
		return tree{}, false, damaged("the pages of bucket %q: %v", name, err)
	}
	root.inline = true
	return tree{t.pages, root}, true, nil
}

// find returns the element of a key, and whether there is one.
func (t tree) find(key []byte) (element, bool, error) {
	at := span{root: t.root}
	for range maxDepth {
		if at.root.leaf {
			i, ok := at.root.search(key)
			if !ok {
				return element{}, false, nil
			}
			return at.root.must(i), true, nil
		}
		i, exact := at.root.search(key)
		if !exact && i > 0 {
			i--
		}
		var err error
		if at, err = t.child(at, i); err != nil {
			return element{}, false, err
		}
	}
	return element{}, false, damaged("the tree is more than %d pages deep", maxDepth)
}

// span is a page and the key that everything in it is below; nil: no such bound.
type span struct {
	root page
	end  []byte
}

// child returns the i-th page below a branch. Its keys begin with the one that the branch names and end below the next: so a
// key cannot be missed, nor a page be met twice on one way down.
func (t tree) child(at span, i int) (span, error) {
	e := at.root.must(i)
	pg, err := t.pages.read(e.child)
	if err != nil {
		return span{}, err
	}
	end := at.end
	if i+1 < at.root.count {
		end = at.root.must(i + 1).key
	}
	if pg.count == 0 || !bytes.Equal(pg.must(0).key, e.key) || end != nil && bytes.Compare(pg.must(pg.count-1).key, end) >= 0 {
		return span{}, damaged("page %d does not hold the keys that page %d promises", e.child, binary.NativeEndian.Uint64(at.root.b))
	}
	return span{pg, end}, nil
}

// scan visits the elements whose key is above after, in order, until visit returns false.
func (t tree) scan(after []byte, visit func(element) bool) error {
	_, err := t.scanPage(span{root: t.root}, after, maxDepth, visit)
	return err
}

func (t tree) scanPage(at span, after []byte, depth int, visit func(element) bool) (more bool, err error) {
	i, exact := at.root.search(after)
	if at.root.leaf {
		if exact {
			i++
		}
		for ; i < at.root.count; i++ {
			if !visit(at.root.must(i)) {
				return false, nil
			}
		}
		return true, nil
	}
	if depth == 0 {
		return false, damaged("the tree is more than %d pages deep", maxDepth)
	}
	if !exact && i > 0 {
		i--
	}
	for ; i < at.root.count; i++ {
		below, err := t.child(at, i)
		if err != nil {
			return false, err
		}
		if more, err := t.scanPage(below, after, depth-1, visit); !more || err != nil {
			return false, err
		}
	}
	return true, nil
}
