package load

import (
	"github.com/stsmapd/stsmapd/cmd/bench/internet"
	"github.com/stsmapd/stsmapd/socketmap/netstring"
)

// Names are the domains that a load asks for, by number.
type Names struct {
	Map      string // that is asked; "": sts
	Zone     string // of the internet package
	First    int    // number of the first
	Count    int    // how many, after which they repeat; 0: no limit
	Shuffled bool   // ask in a random order, the same in each run
}

// AppendQuestion appends the frame of the i-th question. It allocates nothing when dst has room.
func (n Names) AppendQuestion(dst []byte, i int) []byte {
	if n.Shuffled {
		i = int((uint64(i) + 1) * 0x9e3779b97f4a7c15 >> 1) // Fibonacci hashing
	}
	if n.Count > 0 {
		i %= n.Count
	}
	asked := n.Map
	if asked == "" {
		asked = "sts"
	}
	var scratch, name [64]byte
	mapAndSpace := append(append(name[:0], asked...), ' ')
	return netstring.Append(dst, mapAndSpace, internet.AppendDomain(scratch[:0], n.Zone, n.First+i))
}
