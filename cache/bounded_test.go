package cache

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/cache/store/storetest"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// sized is a value whose rank and cost a test chooses.
type sized struct {
	rank int
	cost int64
}

var bySize = Rank[sized]{
	Before: func(a, b sized) bool { return a.rank < b.rank },
	Cost:   func(s sized) int64 { return s.cost },
}

func contents[K fmt.Stringer, V any](b *Bounded[K, V]) map[string]V { return maps.Collect(b.All()) }

// TestBoundedBounds: what is kept of the values 0, 1 and so on, which are put in by their order.
func TestBoundedBounds(t *testing.T) {
	for _, c := range []struct {
		why    string
		bounds Bounds
		costs  []int64
		len    int
		cost   int64
		kept   []int // must be
		gone   []int // must not be
	}{
		{"nothing is put", Bounds{Count: 1}, nil, 0, 0, nil, nil},
		{"there is room", Bounds{Count: 3}, []int64{1, 1, 1}, 3, 3, []int{0, 1, 2}, nil},
		{"one too many: of so few the one that matters least goes", Bounds{Count: 3}, []int64{1, 1, 1, 1},
			3, 3, []int{1, 2, 3}, []int{0}},
		{"room for one: the last one stays", Bounds{Count: 1}, []int64{1, 1, 1}, 1, 1, []int{2}, []int{0, 1}},
		{"room for none", Bounds{}, []int64{1, 1}, 0, 0, nil, []int{0, 1}},
		{"a negative bound is none at all", Bounds{Count: -1}, []int64{1}, 0, 0, nil, []int{0}},
		{"costs are counted where nothing bounds them", Bounds{Count: 9}, []int64{1 << 40, 1 << 40},
			2, 1 << 41, []int{0, 1}, nil},
		{"costs just fit", Bounds{Count: 9, Cost: 10}, []int64{4, 6}, 2, 10, []int{0, 1}, nil},
		{"costs do not fit", Bounds{Count: 9, Cost: 10}, []int64{4, 4, 6}, 2, 10, []int{1, 2}, []int{0}},
		{"a dear one drives out as many as it takes", Bounds{Count: 9, Cost: 10}, []int64{3, 3, 3, 7},
			2, 10, []int{2, 3}, []int{0, 1}},
		{"as dear as the bound: it is alone", Bounds{Count: 9, Cost: 10}, []int64{3, 3, 10},
			1, 10, []int{2}, []int{0, 1}},
		{"dearer than the bound: it is not kept, and drives nobody out", Bounds{Count: 9, Cost: 10}, []int64{3, 3, 11},
			2, 6, []int{0, 1}, []int{2}},
		{"what costs nothing fits always", Bounds{Count: 9, Cost: 1}, []int64{1, 0, 0}, 3, 1, []int{0, 1, 2}, nil},
	} {
		b := NewBounded[dnsname.Name](c.bounds, bySize)
		for i, cost := range c.costs {
			b.Put(storetest.Domain(i), sized{i, cost})
		}
		if b.Len() != c.len || b.Cost() != c.cost {
			t.Errorf("%s: %d values cost %d, want %d and %d", c.why, b.Len(), b.Cost(), c.len, c.cost)
		}
		for _, i := range c.kept {
			if got, ok := b.Get(storetest.Domain(i)); !ok || got != (sized{i, c.costs[i]}) {
				t.Errorf("%s: value %d: %v %v", c.why, i, got, ok)
			}
		}
		for _, i := range c.gone {
			if _, ok := b.Get(storetest.Domain(i)); ok {
				t.Errorf("%s: value %d is there", c.why, i)
			}
		}
	}
}

// TestBoundedUpdate: what a function gets and what comes of what it returns.
func TestBoundedUpdate(t *testing.T) {
	b := NewBounded[dnsname.Name](Bounds{Count: 10, Cost: 100}, bySize)
	name := storetest.Domain(1)
	for _, c := range []struct {
		why      string
		old      sized
		known    bool
		value    sized
		keep     bool
		nowKnown bool
	}{
		{"nothing there, nothing set", sized{}, false, sized{1, 1}, false, false},
		{"the first value", sized{}, false, sized{1, 10}, true, true},
		{"another value", sized{1, 10}, true, sized{2, 20}, true, true},
		{"grown too dear", sized{2, 20}, true, sized{3, 101}, true, false},
		{"again", sized{}, false, sized{4, 40}, true, true},
		{"removed", sized{4, 40}, true, sized{5, 50}, false, false},
	} {
		b.Update(name, func(old sized, ok bool) (sized, bool) {
			if old != c.old || ok != c.known {
				t.Errorf("%s: got %v %v", c.why, old, ok)
			}
			return c.value, c.keep
		})
		want := map[string]sized{}
		if c.nowKnown {
			want[name.String()] = c.value
		}
		if got := contents(b); !maps.Equal(got, want) || b.Len() != len(want) || b.Cost() != want[name.String()].cost {
			t.Errorf("%s: %v, %d values, cost %d", c.why, got, b.Len(), b.Cost())
		}
	}
}

// TestBoundedIsAMap plays random operations on a Bounded and on a plain map. A Bounded may lose values, but only over
// a bound, no more than that takes, and never the one just set.
func TestBoundedIsAMap(t *testing.T) {
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 14))
		m := &boundedModel{t: t, random: random, bounds: Bounds{Count: 3 * boundedShare}, plain: map[string]sized{}}
		m.bounded = NewBounded[dnsname.Name](m.bounds, bySize)
		for range 800 {
			m.step()
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		}
	}
}

type boundedModel struct {
	t       *testing.T
	random  *rand.Rand
	bounds  Bounds
	bounded *Bounded[dnsname.Name, sized]
	plain   map[string]sized
}

func (m *boundedModel) step() {
	name := storetest.Domain(m.random.IntN(200))
	value := sized{m.random.IntN(1000), m.random.Int64N(100)}
	justSet := ""
	switch at := m.random.IntN(100); {
	case at < 50:
		m.bounded.Put(name, value)
		justSet = m.set(name.String(), value)
	case at < 70:
		keep := m.random.IntN(3) > 0
		m.bounded.Update(name, func(old sized, ok bool) (sized, bool) {
			if want, known := m.plain[name.String()]; old != want || ok != known {
				m.t.Errorf("Update gives %v %v, want %v %v", old, ok, want, known)
			}
			return value, keep
		})
		if delete(m.plain, name.String()); keep {
			justSet = m.set(name.String(), value)
		}
	case at < 85:
		m.bounded.Delete(name)
		delete(m.plain, name.String())
	case at < 90:
		dead := func(_ string, s sized) bool { return s.rank%10 == value.rank%10 }
		m.bounded.DeleteFunc(dead)
		maps.DeleteFunc(m.plain, dead)
	case at < 95:
		m.bounds = Bounds{Count: m.random.IntN(150), Cost: m.random.Int64N(2) * m.random.Int64N(5000)}
		m.bounded.SetBounds(m.bounds)
	default:
		if got, ok := m.bounded.Get(name); got != m.plain[name.String()] || ok != (m.plain[name.String()] != sized{}) {
			m.t.Errorf("Get gives %v %v, want %v", got, ok, m.plain[name.String()])
		}
	}
	m.compare(justSet)
}

// set sets a value that the bounds allow, and returns its key; else it removes the key.
func (m *boundedModel) set(key string, value sized) string {
	if m.bounds.Count < 1 || m.bounds.Cost > 0 && value.cost > m.bounds.Cost {
		delete(m.plain, key)
		return ""
	}
	m.plain[key] = value
	return key
}

// compare finds what was lost, and takes it out of the plain map where it had to be.
func (m *boundedModel) compare(justSet string) {
	got := contents(m.bounded)
	var cost, dearestLost int64
	lost := 0
	for key, value := range m.plain {
		if _, ok := got[key]; !ok {
			lost++
			dearestLost = max(dearestLost, value.cost)
			delete(m.plain, key)
			if key == justSet {
				m.t.Error("the value just set is gone")
			}
			continue
		}
		cost += value.cost
	}
	if !maps.Equal(got, m.plain) {
		m.t.Errorf("%v, want %v", got, m.plain)
	}
	if m.bounded.Len() != len(got) || m.bounded.Cost() != cost {
		m.t.Errorf("Len %d, Cost %d, but %d values cost %d", m.bounded.Len(), m.bounded.Cost(), len(got), cost)
	}
	if len(got) > m.bounds.Count || m.bounds.Cost > 0 && cost > m.bounds.Cost {
		m.t.Errorf("%d values cost %d, over %+v", len(got), cost, m.bounds)
	}
	if lost > 0 && len(got) < m.bounds.Count && (m.bounds.Cost == 0 || cost+dearestLost <= m.bounds.Cost) {
		m.t.Errorf("%d lost, which leaves %d values that cost %d, within %+v", lost, len(got), cost, m.bounds)
	}
}

// TestBoundedDropsTheLeast: of values that are put in by their rank, those that stay are nearly all of the later ones.
func TestBoundedDropsTheLeast(t *testing.T) {
	const bound, later = 4000, 4000
	survivors := func(rank Rank[sized]) (n int) {
		b := NewBounded[dnsname.Name](Bounds{Count: bound}, rank)
		for i := range bound + later {
			b.Put(storetest.Domain(i), sized{rank: i})
		}
		if b.Len() != bound {
			t.Errorf("%d values", b.Len())
		}
		for _, value := range contents(b) {
			if value.rank >= bound {
				n++
			}
		}
		return n
	}
	ranked, unranked := survivors(bySize), survivors(Rank[sized]{})
	t.Logf("of the later %d stay %d; %d where any may go", later, ranked, unranked)
	if ranked < later*7/10 {
		t.Errorf("only %d of the later %d are left", ranked, later)
	}
	if unranked < later*5/10 || unranked >= later*7/10 {
		t.Errorf("%d of the later %d are left, which is no random choice", unranked, later)
	}
}

// TestBoundedConcurrently: no update is lost, and all counts are right when everybody is done.
func TestBoundedConcurrently(t *testing.T) {
	for _, c := range []struct {
		why    string
		bounds Bounds
	}{
		{"room for all", Bounds{Count: 2000}},
		{"few may stay", Bounds{Count: 100}},
		{"little cost", Bounds{Count: 2000, Cost: 500}},
	} {
		const keys, writers, rounds = 200, 8, 2000
		rank := Rank[sized]{Before: bySize.Before, Cost: func(s sized) int64 { return int64(s.rank % 7) }}
		b := NewBounded[dnsname.Name](c.bounds, rank)
		var all sync.WaitGroup
		for w := range writers {
			all.Go(func() {
				for i := range rounds {
					name := storetest.Domain((i*(w+1) + w) % keys)
					b.Update(name, func(old sized, _ bool) (sized, bool) { return sized{rank: old.rank + 1}, true })
					b.Get(name)
				}
			})
		}
		all.Wait()
		count, cost, sum := 0, int64(0), 0
		for _, value := range b.All() {
			count, cost, sum = count+1, cost+int64(value.rank%7), sum+value.rank
		}
		if b.Len() != count || b.Cost() != cost || count > c.bounds.Count || c.bounds.Cost > 0 && cost > c.bounds.Cost {
			t.Errorf("%s: Len %d, Cost %d, but %d values cost %d", c.why, b.Len(), b.Cost(), count, cost)
		}
		if c.bounds == (Bounds{Count: 2000}) && sum != writers*rounds {
			t.Errorf("%s: %d updates of %d are left", c.why, sum, writers*rounds)
		}
	}
}

// TestBoundedAsksValuesAlone: the functions of a Rank get values that were set, and no zero value.
func TestBoundedAsksValuesAlone(t *testing.T) {
	b := NewBounded[dnsname.Name](Bounds{Count: 1, Cost: 100}, Rank[*sized]{
		Before: func(x, y *sized) bool { return x.rank < y.rank },
		Cost:   func(s *sized) int64 { return s.cost },
	})
	b.Delete(storetest.Domain(1))
	b.Update(storetest.Domain(1), func(*sized, bool) (*sized, bool) { return nil, false })
	b.Put(storetest.Domain(1), &sized{1, 100})
	b.Put(storetest.Domain(2), &sized{2, 10})
	b.Delete(storetest.Domain(1))
	if b.Len() != 1 || b.Cost() != 10 {
		t.Errorf("%d values cost %d", b.Len(), b.Cost())
	}
}

// TestBoundedAllLetsGo: who walks may write meanwhile, and may stop.
func TestBoundedAllLetsGo(t *testing.T) {
	b := NewBounded[dnsname.Name](Bounds{Count: 100}, bySize)
	for i := range 50 {
		b.Put(storetest.Domain(i), sized{rank: i})
	}
	for range b.All() {
		b.Delete(storetest.Domain(1))
		break
	}
	if b.Len() != 49 {
		t.Errorf("%d values", b.Len())
	}
}

// TestBoundedGetAllocatesNothing: neither for a pointer, nor for an interface, nor for a struct of many words.
func TestBoundedGetAllocatesNothing(t *testing.T) {
	name := storetest.Domain(1)
	policies := NewBounded[dnsname.Name](Bounds{Count: 10}, Rank[*resolver.CachedPolicy]{})
	policies.Put(name, held(1, storetest.Clock()))
	failures := NewBounded[dnsname.Name](Bounds{Count: 10}, Rank[resolver.Negative]{})
	failures.Put(name, failed(storetest.Clock()))
	type finding [3]time.Time
	type port struct{ dnsname.Name }
	findings := NewBounded[port](Bounds{Count: 10}, Rank[finding]{})
	findings.Put(port{name}, finding{storetest.Clock()})
	for what, get := range map[string]func() bool{
		"pointer":   func() bool { h, ok := policies.Get(name); return ok && h.Entry().Domain == name },
		"interface": func() bool { a, ok := failures.Get(name); return ok && a != nil },
		"struct":    func() bool { f, ok := findings.Get(port{name}); return ok && f[0].Equal(storetest.Clock()) },
		"absent":    func() bool { _, ok := policies.Get(storetest.Domain(2)); return !ok },
	} {
		if !get() {
			t.Errorf("%s: not what was put", what)
		}
		if what == "absent" {
			continue // making the name allocates
		}
		if n := testing.AllocsPerRun(100, func() { get() }); n != 0 {
			t.Errorf("%s: %v allocations", what, n)
		}
	}
}
