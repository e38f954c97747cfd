package maillog

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// readBuffer is how much is read at once. It bounds the line, too: of a longer one only the beginning is looked at.
// Postfix cuts its own lines at 2,000 bytes or so, and no syslog daemon sends more than 64 KiB.
const readBuffer = 64 << 10

// Input is one stream of log text: lines, or entries of systemd's journal in its export format.
type Input struct {
	Name   string         // a file's name, "-" for standard input, "the journal"
	Size   int64          // bytes as stored, packed or not; 0 where that is not known
	Zone   *time.Location // of times that name no zone
	Newest time.Time      // no line is newer: from it the year of a traditional time follows
	Since  time.Time      // older lines are left out; zero for none
	// Progress, if set, is told now and then how many of the stored bytes have been read.
	Progress func(done int64)

	stored *countingReader
	text   *bufio.Reader
	close  func() error
}

// PackedError is a file that is packed in a way that this program cannot unpack. The caller should tell how to pipe
// it in.
type PackedError struct {
	Name   string
	Format string // "xz", "zstd"
}

// Error implements error.
func (e *PackedError) Error() string {
	return fmt.Sprintf("%s is packed with %s, which stsmapd cannot unpack: pipe it in, %s -dc %s | stsmapd … -",
		e.Name, e.Format, e.Format, e.Name)
}

// Open opens a file, or standard input for "-". Files packed with gzip or bzip2 are unpacked. A file's last change
// tells the year of times that have none; for standard input, now does. The caller closes the Input.
func Open(name string, stdin io.Reader, now time.Time) (*Input, error) {
	if name == "-" {
		return NewInput(name, stdin, now)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	newest, size := now, int64(0)
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
		newest, size = info.ModTime(), info.Size()
	}
	in, err := NewInput(name, f, newest)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	in.Size, in.close = size, f.Close
	return in, nil
}

// NewInput makes an Input of what r gives. No line is much newer than newest. Close does not close r.
func NewInput(name string, r io.Reader, newest time.Time) (*Input, error) {
	in := &Input{Name: name, Zone: time.Local, Newest: newest, stored: &countingReader{r: r}}
	buffered := bufio.NewReaderSize(in.stored, readBuffer)
	magic, _ := buffered.Peek(6) // an error comes again with the first read
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		unpacked, err := gzip.NewReader(buffered)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		buffered = bufio.NewReaderSize(unpacked, readBuffer)
	case bytes.HasPrefix(magic, []byte("BZh")):
		buffered = bufio.NewReaderSize(bzip2.NewReader(buffered), readBuffer)
	case string(magic) == "\xfd7zXZ\x00":
		return nil, &PackedError{name, "xz"}
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return nil, &PackedError{name, "zstd"}
	}
	in.text = buffered
	return in, nil
}

// Close releases what Open or OpenJournal took.
func (in *Input) Close() error {
	if in.close == nil {
		return nil
	}
	return in.close()
}

// countingReader counts what is read, and tells.
type countingReader struct {
	r        io.Reader
	done     int64
	told     int64
	progress func(int64)
}

const progressStep = 4 << 20

func (c *countingReader) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.done += int64(n)
	if c.progress != nil && (c.done-c.told >= progressStep || err != nil) {
		c.told = c.done
		c.progress(c.done)
	}
	return n, err
}
