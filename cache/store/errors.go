package store

import (
	"errors"
	"fmt"
)

// ErrClosed: the store was closed. Ask no more.
var ErrClosed = errors.New("the policy store is closed")

// errReplaced: another handle takes the place of this one. Try again with it.
var errReplaced = errors.New("the policy store's file is being opened again")

// IOError: the store's file could not be read or written: the disk is full or failing, or the file's permissions are
// wrong. The store stays usable. The caller goes on with what it has in memory and tries again later; an administrator
// should look at the disk. After a failed Put or Delete the store holds the entry of before or the new one, never a
// mixture.
type IOError struct {
	Op   string // "open", "get", "put", "delete", "walk" or "close"
	Path string
	Err  error
}

// Error implements error.
func (e *IOError) Error() string { return fmt.Sprintf("policy store %s: %s: %v", e.Path, e.Op, e.Err) }

// Unwrap returns the cause, a *fs.PathError or syscall.Errno where the system gave one.
func (e *IOError) Unwrap() error { return e.Err }

// LockedError: another process has the store open. Nothing was touched. The caller gives up; an administrator stops one
// of the two, or gives each its own state directory. Holder is such as "stsmapd, process 4711", or "stsmapd?" where the
// system does not say.
type LockedError struct{ Path, Holder string }

// Error implements error.
func (e *LockedError) Error() string {
	return "another process (" + e.Holder + ") has " + e.Path + " open"
}

// SchemaError: a newer stsmapd laid out the store in a way that this one does not know. Nothing was touched. The caller
// gives up; an administrator runs the newer stsmapd, or moves the store and its snapshot away to begin with an empty
// store.
type SchemaError struct {
	Path         string
	Found, Known uint64
}

// Error implements error.
func (e *SchemaError) Error() string {
	return fmt.Sprintf("%s was written by a newer stsmapd (layout %d, this one knows %d): "+
		"run the newer one, or move the file and its snapshot away", e.Path, e.Found, e.Known)
}

// damage: the file is not as bbolt wrote it, or cannot be read. Recover the store.
type damage struct{ what string }

func (d *damage) Error() string { return d.what }

func damaged(format string, args ...any) error { return &damage{fmt.Sprintf(format, args...)} }

// as returns the first error of a type in err's chain.
func as[E error](err error) (found E, ok bool) { ok = errors.As(err, &found); return found, ok }
