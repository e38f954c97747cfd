package socketmap

import (
	"errors"
	"io"
)

// Sizes of the buffers that a connection owns. Most connections are idle most of the time, so they start small.
const (
	startBuffer = 512   // bytes of a new buffer: most requests and replies fit
	keepBuffer  = 4_096 // an empty buffer larger than this is given back
)

// errBufferFull cannot happen while the limit of fill is no less than the longest frame that the parser accepts.
var errBufferFull = errors.New("read buffer is full")

// buffer holds the bytes that were read and are not yet used.
type buffer struct {
	data []byte // what was read; its capacity is the buffer
	used int    // so many bytes of data are done with
}

// unread is the part that is still to be used. It is valid until the next fill.
func (b *buffer) unread() []byte { return b.data[b.used:] }

// consume marks n bytes as used.
func (b *buffer) consume(n int) { b.used += n }

// fill reads once from src, after making room. The buffer grows by doubling, so it never takes more than twice
// what the peer really sent, and never over limit bytes. It shrinks when it is empty.
func (b *buffer) fill(src io.Reader, limit int) error {
	b.makeRoom(limit)
	free := b.data[len(b.data):cap(b.data)]
	if len(free) == 0 {
		return errBufferFull
	}
	n, err := src.Read(free)
	b.data = b.data[:len(b.data)+n]
	if n > 0 {
		return nil // an error that came with the bytes comes again at the next read
	}
	return err
}

func (b *buffer) makeRoom(limit int) {
	if b.used == len(b.data) {
		b.data, b.used = b.data[:0], 0
		if cap(b.data) == 0 || cap(b.data) > keepBuffer {
			b.data = make([]byte, 0, startBuffer)
		}
	}
	if len(b.data) < cap(b.data) {
		return
	}
	if b.used > 0 {
		b.data = b.data[:copy(b.data, b.data[b.used:])]
		b.used = 0
		return
	}
	if cap(b.data) < limit {
		grown := make([]byte, len(b.data), min(2*cap(b.data), limit))
		copy(grown, b.data)
		b.data = grown
	}
}
