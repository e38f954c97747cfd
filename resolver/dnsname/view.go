package dnsname

import (
	"strings"
	"unsafe"
)

// View is a Name whose text may be in bytes of another owner, such as a read buffer. It does not allocate, and is valid
// only until those bytes change. To keep the name, call Name. The zero View is not a name.
type View struct{ lent Name }

// ParseView is Parse for bytes. It returns false if they are not a name. The View is valid until the bytes change.
func ParseView(b []byte) (View, bool) {
	s := unsafe.String(unsafe.SliceData(b), len(b))
	if isCanonical(s) {
		return View{Name{s}}, true
	}
	n, msg := parseSlow(s)
	return View{n}, msg == ""
}

// Name returns a copy of the name.
func (v View) Name() Name { return Name{strings.Clone(v.lent.s)} }

// Lend returns the name without a copy of its text. Use it only for a lookup that ends before the bytes change and that
// does not keep the name, as a key, in a result or in a goroutine. Otherwise use Name.
func (v View) Lend() Name { return v.lent }
