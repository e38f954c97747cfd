package dnsname

import (
	"strings"
	"unsafe"
)

// View is a Name whose text may stand in bytes that belong to somebody else, a read buffer say. It costs no memory, and
// is good only until those bytes change. Nothing that keeps names takes a View: Name makes a Name of it, by copying.
// The zero View is no name.
type View struct{ lent Name }

// ParseView is Parse for bytes, without a reason where they are no name. The View is good as long as they stay as they
// are.
func ParseView(b []byte) (View, bool) {
	s := unsafe.String(unsafe.SliceData(b), len(b))
	if isCanonical(s) {
		return View{Name{s}}, true
	}
	n, msg := parseSlow(s)
	return View{n}, msg == ""
}

// Name returns the name with a text of its own.
func (v View) Name() Name { return Name{strings.Clone(v.lent.s)} }

// Lend returns the name without copying its text, for a look-up that is over before the bytes change, and that keeps
// nothing of the name: not as a key, not in a result, not in a goroutine. Where that is not plain to see, use Name.
func (v View) Lend() Name { return v.lent }
