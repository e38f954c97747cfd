package lookups

import (
	"fmt"
	"runtime/debug"
)

// PanicError is a panic in a lookup or in an Exclusive function: a fault in this program. All who waited get it, and
// the Group's hook has logged it. A question then has no finding: the mail must wait.
type PanicError struct {
	Value string // what was panicked with, as text
	Stack string // of the goroutine that panicked
}

// Error implements error. The text has no stack.
func (e *PanicError) Error() string { return "internal fault: " + e.Value }

// guard calls f. A panic in it ends here and becomes the error, after the hook was called. A runtime.Goexit becomes the
// error too, but ends the goroutine: so the error has no way out but a pointer.
func (g *Group[K, R]) guard(key K, err *error, f func()) {
	returned := false
	defer func() {
		if returned {
			return
		}
		fault := &PanicError{Value: "runtime.Goexit was called"}
		if value := recover(); value != nil {
			fault.Value = fmt.Sprint(value)
		}
		fault.Stack = string(debug.Stack())
		g.panicked(key, fault)
		*err = fault
	}()
	f()
	returned = true
}
