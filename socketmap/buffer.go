package socketmap

import (
	"errors"
	"io"
)

// Sizes of a connection's buffers. Most connections are idle most of the time, so the buffers start small.
const (
	startBuffer = 512   // bytes of a new buffer; most requests and replies fit
	keepBuffer  = 4_096 // bytes; a larger buffer is freed when it is empty
)

// errBufferFull is returned by fill when limit bytes are unread. It cannot happen while limit is at least the longest
// frame that the parser accepts.
var errBufferFull = errors.New("read buffer is full")

// buffer holds bytes that were read and not yet consumed.
type buffer struct {
	data []byte // bytes read; its capacity is the buffer
	used int    // number of bytes of data that are consumed
}

// unread returns the bytes not yet consumed. They are valid until the next fill.
func (b *buffer) unread() []byte { return b.data[b.used:] }

// consume removes the first n unread bytes.
func (b *buffer) consume(n int) { b.used += n }

// fill calls src.Read once, after it has made room. The buffer grows by doubling, so it is never larger than twice what
// the peer has sent, nor than limit bytes. It shrinks when it is empty.
func (b *buffer) fill(src io.Reader, limit int) error {
	b.makeRoom(limit)
	free := b.data[len(b.data):cap(b.data)]
	if len(free) == 0 {
		return errBufferFull
	}
	n, err := src.Read(free)
	b.data = b.data[:len(b.data)+n]
	if n > 0 {
		return nil // an error that came with the bytes is returned again by the next read
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
