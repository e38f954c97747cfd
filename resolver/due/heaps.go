package due

import (
	"container/heap"
	"time"
)

// byTime is a heap of items, soonest first.
type byTime []Item

// Len implements heap.Interface.
func (h byTime) Len() int { return len(h) }

// Less implements heap.Interface.
func (h byTime) Less(i, j int) bool { return h[i].At.Before(h[j].At) }

// Swap implements heap.Interface.
func (h byTime) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *byTime) Push(x any) { *h = append(*h, x.(Item)) }

// Pop implements heap.Interface.
func (h *byTime) Pop() any { return pop((*[]Item)(h)) }

// byUrgency is a heap of items, the one with the smallest part of its max_age left first.
type byUrgency struct {
	items []Item
	asOf  time.Time // when the parts count: they change with time, at different rates
}

// reorder is how old the order of a byUrgency may be.
const reorder = time.Minute

// order brings the heap into the order of now, unless that is hardly another one.
func (h *byUrgency) order(now time.Time) {
	if now.Sub(h.asOf).Abs() >= reorder {
		h.asOf = now
		heap.Init(h)
	}
}

// Len implements heap.Interface.
func (h *byUrgency) Len() int { return len(h.items) }

// Less implements heap.Interface.
func (h *byUrgency) Less(i, j int) bool { return h.items[i].left(h.asOf) < h.items[j].left(h.asOf) }

// Swap implements heap.Interface.
func (h *byUrgency) Swap(i, j int) { h.items[i], h.items[j] = h.items[j], h.items[i] }

// Push implements heap.Interface.
func (h *byUrgency) Push(x any) { h.items = append(h.items, x.(Item)) }

// Pop implements heap.Interface.
func (h *byUrgency) Pop() any { return pop(&h.items) }

func pop(items *[]Item) Item {
	last := len(*items) - 1
	i := (*items)[last]
	*items = (*items)[:last]
	return i
}
