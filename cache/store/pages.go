package store

import "go.etcd.io/bbolt"

// checkPages looks at what each page says that it is and how many pages belong to it, before the first commit: bbolt
// frees as many as a page says, and a damaged one may say billions. It takes some tens of milliseconds for a million
// policies.
func (h *handle) checkPages(tx *bbolt.Tx) error {
	pages := int(tx.Size()) / h.db.Info().PageSize
	for id := 0; id < pages && !h.sound; id++ {
		p, err := tx.Page(id)
		if err != nil || p == nil {
			return damaged("page %d of %d: %v", id, pages, err)
		}
		switch p.Type {
		case "free":
		case "meta", "freelist", "branch", "leaf":
			if id += p.OverflowCount; id >= pages {
				return damaged("page %d of %d says that %d more belong to it", p.ID, pages, p.OverflowCount)
			}
		default:
			return damaged("page %d is of the type %s", id, p.Type)
		}
	}
	h.sound = true
	return nil
}
