package cache

import (
	"encoding/binary"
	"io"
)

// The list of free pages says where the next commit may write. Where it names a page that is in use, a commit destroys the
// records on it, soundly written and synced; a checksum finds that only when they are gone. So before the first commit on a
// file that was opened the list is compared with the pages that the trees use. That reads the whole file, once, which takes
// 0.3 s for a million policies that are in the page cache; opening does not wait for it, nor does a question whose answer is known.

// vet does so. The error is a *damage, or says that the file is ours no longer.
func vet(r io.ReaderAt, m meta) error {
	free, err := freePages(r, m)
	if err != nil {
		return err
	}
	header, err := checkFreelist(r, m)
	if err != nil {
		return err
	}
	u := usage{used: make([]bool, m.limit)}
	if err := u.take(0, 2); err != nil {
		return err
	}
	if err := u.take(m.freelist, header.pages); err != nil {
		return err
	}
	root, err := newPages(r, m).openTree(m.root)
	if err != nil {
		return err
	}
	if err := u.below(root, span{root: root.root}, maxDepth); err != nil {
		return err
	}
	for _, id := range free {
		if err := u.take(id, 1); err != nil {
			return err
		}
	}
	if u.count != m.limit {
		return damaged("%d pages are neither in use nor free", m.limit-u.count)
	}
	return nil
}

// usage is which pages of a file are accounted for.
type usage struct {
	used  []bool
	count pgid
}

// take accounts for n pages from id on.
func (u *usage) take(id, n pgid) error {
	if id >= pgid(len(u.used)) || n > pgid(len(u.used))-id {
		return damaged("page %d and %d more of %d are in use", id, n-1, len(u.used))
	}
	for i := id; i < id+n; i++ {
		if u.used[i] {
			return damaged("page %d is in use twice, or in use and free", i)
		}
		u.used[i] = true
	}
	u.count += n
	return nil
}

// below accounts for a page of a tree and all below it, and for the trees that stand in it.
func (u *usage) below(t tree, at span, depth int) error {
	if depth == 0 {
		return damaged("the tree is more than %d pages deep", maxDepth)
	}
	id := pgid(binary.NativeEndian.Uint64(at.root.b))
	if err := u.take(id, pgid(len(at.root.b)/t.pages.pageSize)); err != nil {
		return err
	}
	for i := range at.root.count {
		switch e := at.root.must(i); {
		case !at.root.leaf:
			child, err := t.child(at, i)
			if err != nil {
				return err
			}
			if err := u.below(t, child, depth-1); err != nil {
				return err
			}
		case e.bucket:
			if err := u.bucket(t, string(e.key), depth); err != nil {
				return err
			}
		}
	}
	return nil
}

// bucket accounts for the pages of a tree that stands in another; a small one has none.
func (u *usage) bucket(parent tree, name string, depth int) error {
	b, _, err := parent.bucket(name)
	if err != nil || b.root.inline {
		return err
	}
	return u.below(b, span{root: b.root}, depth-1)
}
