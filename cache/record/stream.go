package record

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"io"
	"iter"
)

// A stream is records one behind the other, as the store's snapshot is. It begins with its mark, 8 random bytes, and
// the mark stands before each record and at the end once more. Between mark and record are the length of the key in one
// byte, that of the record in four, little endian, and the key. The mark is random because records hold what others
// wrote: where a reader has to look for the next record behind a damaged one, no policy can pass for one.
const (
	markSize  = 8
	frameSize = markSize + 1 + 4
	maxKey    = 255
)

// Writer writes a stream.
type Writer struct {
	b    *bufio.Writer
	mark []byte
}

// NewWriter begins a stream on w.
func NewWriter(w io.Writer) *Writer {
	s := &Writer{bufio.NewWriterSize(w, 1<<16), make([]byte, markSize)}
	rand.Read(s.mark)
	_, _ = s.b.Write(s.mark) // Close tells the error
	return s
}

// Write adds a record; key has at most 255 bytes. An error is told by Close.
func (s *Writer) Write(key string, record []byte) {
	head := append(append(make([]byte, 0, frameSize), s.mark...), byte(len(key)))
	_, _ = s.b.Write(binary.LittleEndian.AppendUint32(head, uint32(len(record))))
	_, _ = s.b.WriteString(key)
	_, _ = s.b.Write(record)
}

// Close ends the stream, and returns the first error of w's.
func (s *Writer) Close() error {
	_, _ = s.b.Write(s.mark)
	return s.b.Flush()
}

// Read yields the keys and records of a stream of so many bytes, in their order. Damaged ones are left out, and so is
// what a damaged mark hides; where w cannot be read it ends.
func Read(r io.ReaderAt, size int64) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		mark, last := make([]byte, markSize), make([]byte, markSize)
		_, _ = r.ReadAt(mark, 0)
		_, _ = r.ReadAt(last, max(0, size-markSize))
		if !bytes.Equal(mark, last) && !marks(r, size, mark) { // the one at the begin is damaged, or the stream was cut
			mark = last
		}
		for key, record := range frames(r, size, mark) {
			if !yield(key, record) {
				return
			}
		}
	}
}

// marks reports whether a record stands behind this mark.
func marks(r io.ReaderAt, size int64, mark []byte) bool {
	for range frames(r, size, mark) {
		return true
	}
	return false
}

// frames yields what stands behind a mark and is sound.
func frames(r io.ReaderAt, size int64, mark []byte) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		b := bufio.NewReaderSize(io.NewSectionReader(r, 0, size), 2*(frameSize+maxKey+MaxSize))
		for {
			window, _ := b.Peek(frameSize + maxKey + MaxSize)
			at := bytes.Index(window, mark)
			if at < 0 {
				if len(window) < frameSize {
					return
				}
				at = len(window) - markSize + 1
			} else if key, record, ok := frame(window[at:]); ok {
				if !yield(key, record) {
					return
				}
				at += frameSize + len(key) + len(record)
			} else {
				at++
			}
			if _, err := b.Discard(at); err != nil {
				return
			}
		}
	}
}

// frame takes the key and the record from behind a mark, and reports whether they are sound. They are copies.
func frame(b []byte) (key string, record []byte, ok bool) {
	if len(b) < frameSize {
		return "", nil, false
	}
	keySize, size := int(b[markSize]), int(binary.LittleEndian.Uint32(b[markSize+1:]))
	if b = b[frameSize:]; size > MaxSize || keySize+size > len(b) {
		return "", nil, false
	}
	key = string(b[:keySize])
	_, err := open(key, b[keySize:keySize+size])
	return key, bytes.Clone(b[keySize : keySize+size]), err == nil
}
