package boltfile

import (
	"bytes"
	"errors"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/stsmapd/stsmapd/cache/record"
	"github.com/stsmapd/stsmapd/resolver"
)

// Find returns a domain's entry. That there is none (resolver.ErrNotCached) is believed only if its neighbours are in
// order and sound: a *record.CorruptError may be about a neighbour, which may be the one that was looked for, with a
// damaged key.
func (f *File) Find(key string) (e resolver.Entry, err error) {
	err = f.transact(false, func(tx *bbolt.Tx) error {
		c := tx.Bucket([]byte(bucketPolicies)).Cursor()
		next, v := c.Seek([]byte(key))
		if string(next) == key {
			e, err = record.Decode(key, v)
			return err
		}
		before, w := c.Prev()
		if next != nil && string(next) < key || before != nil && string(before) >= key ||
			len(next)+len(before) > 2*maxKey {
			return damaged("the keys around %q are out of order", key)
		}
		for _, n := range [...][2][]byte{{next, v}, {before, w}} {
			if _, err := record.Fetched(string(n[0]), n[1]); n[0] != nil && IsCorrupt(err) {
				return err
			}
		}
		return resolver.ErrNotCached
	})
	return e, err
}

// IsCorrupt reports whether an error says that a record fails its checksum, or makes no sense.
func IsCorrupt(err error) bool {
	_, ok := As[*record.CorruptError](err)
	return ok
}

// Bounds on what one transaction reads, and more than the bytes of any domain's name.
const (
	scanRecords = 256
	scanBytes   = 1 << 20
	maxKey      = 255
)

// Pair is a key with its record. They are copies.
type Pair struct {
	Key   string
	Value []byte
}

// Scan returns the next records, from a key on, in the order of keys. With an error it returns those before it.
func (f *File) Scan(from []byte) (found []Pair, err error) {
	err = f.transact(false, func(tx *bbolt.Tx) error {
		c, size, least := tx.Bucket([]byte(bucketPolicies)).Cursor(), 0, string(from)
		for k, v := c.Seek(from); k != nil && len(found) < scanRecords && size < scanBytes; k, v = c.Next() {
			if string(k) < least || len(k) > maxKey {
				return damaged("the keys at %q are out of order", least)
			}
			if len(v) > record.MaxSize { // it may claim gigabytes
				v = nil
			}
			found = append(found, Pair{string(k), bytes.Clone(v)})
			least = string(k) + "\x00"
			size += len(v)
		}
		return nil
	})
	return found, err
}

// IsClosed reports whether an error says that the file was closed. Another takes its place: try again with that one.
func IsClosed(err error) bool { return errors.Is(err, berrors.ErrDatabaseNotOpen) }
