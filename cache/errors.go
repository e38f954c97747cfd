package cache

import (
	"errors"
	"fmt"
)

// ErrClosed: the store was closed. Ask no more.
var ErrClosed = errors.New("the policy store is closed")

// IOError: the store's file could not be read or written: the disk is full or failing, or the file's permissions are wrong. The
// store stays usable. The caller goes on with what it has in memory and tries again later; an administrator should look
// at the disk. After a failed Put or Delete the store holds the entry of before or the new one, never a mixture.
type IOError struct {
	Op   string // "open", "get", "put", "delete" or "walk"
	Path string
	Err  error
}

// Error implements error.
func (e *IOError) Error() string { return fmt.Sprintf("policy store %s: %s: %v", e.Path, e.Op, e.Err) }

// Unwrap returns the cause, a *fs.PathError or syscall.Errno where the system gave one.
func (e *IOError) Unwrap() error { return e.Err }

// LockedError: another process has the store open. Nothing was touched. The caller gives up; an administrator stops one of the
// two, or gives each its own state directory.
type LockedError struct{ Path string }

// Error implements error.
func (e *LockedError) Error() string { return "another process (stsmapd?) has " + e.Path + " open" }

// SchemaError: a newer stsmapd laid out the store in a way that this one does not know. Nothing was touched. The caller gives
// up; an administrator runs the newer stsmapd, or moves the file away to begin with an empty store.
type SchemaError struct {
	Path         string
	Found, Known uint64
}

// Error implements error.
func (e *SchemaError) Error() string {
	return fmt.Sprintf("%s was written by a newer stsmapd (layout %d, this one knows %d): run the newer one, or move the file away", e.Path, e.Found, e.Known)
}
