package maillog

// recent is a table of bounded size. When it is full, the entry that has not been used for the longest time makes
// room. Entries are known by their place, which stays the same until they are removed.
type recent[V any] struct {
	limit   int
	dropped int64 // entries that made room
	evict   func(place int32)
	places  map[uint64]int32
	slots   []slot[V]
	newest  int32
	oldest  int32
	free    int32 // the first free slot; they are linked by older
}

type slot[V any] struct {
	key          uint64
	newer, older int32
	value        V
}

// nowhere is the place of no entry.
const nowhere = -1

// newRecent makes a table for at most limit entries, 1 or more. evict, if not nil, is called before an entry makes
// room.
func newRecent[V any](limit int, evict func(place int32)) *recent[V] {
	return &recent[V]{limit: max(limit, 1), evict: evict, places: map[uint64]int32{}, newest: nowhere, oldest: nowhere,
		free: nowhere}
}

// find returns the place of an entry, and whether it is there. It does not count as a use.
func (t *recent[V]) find(key uint64) (int32, bool) {
	place, ok := t.places[key]
	return place, ok
}

// at returns an entry. The pointer is good until the next insert.
func (t *recent[V]) at(place int32) *V { return &t.slots[place].value }

// insert makes an entry, whose value is whatever an earlier one left there, and returns its place. The key must be new.
func (t *recent[V]) insert(key uint64) int32 {
	place := t.free
	switch {
	case len(t.places) >= t.limit:
		t.dropped++
		place = t.oldest
		if t.evict != nil {
			t.evict(place)
		}
		t.unlink(place)
		delete(t.places, t.slots[place].key)
	case place != nowhere:
		t.free = t.slots[place].older
	default:
		place = int32(len(t.slots))
		t.slots = append(t.slots, slot[V]{})
	}
	t.slots[place].key = key
	t.places[key] = place
	t.link(place)
	return place
}

// use makes an entry the last to make room.
func (t *recent[V]) use(place int32) {
	if place != t.newest {
		t.unlink(place)
		t.link(place)
	}
}

// remove deletes an entry.
func (t *recent[V]) remove(place int32) {
	t.unlink(place)
	delete(t.places, t.slots[place].key)
	t.slots[place].older, t.free = t.free, place
}

func (t *recent[V]) link(place int32) {
	s := &t.slots[place]
	s.newer, s.older = nowhere, t.newest
	if t.newest != nowhere {
		t.slots[t.newest].newer = place
	}
	t.newest = place
	if t.oldest == nowhere {
		t.oldest = place
	}
}

func (t *recent[V]) unlink(place int32) {
	s := t.slots[place]
	if s.newer != nowhere {
		t.slots[s.newer].older = s.older
	} else {
		t.newest = s.older
	}
	if s.older != nowhere {
		t.slots[s.older].newer = s.newer
	} else {
		t.oldest = s.newer
	}
}

// each calls f with each entry, the oldest first.
func (t *recent[V]) each(f func(*V)) {
	for place := t.oldest; place != nowhere; place = t.slots[place].newer {
		f(&t.slots[place].value)
	}
}
