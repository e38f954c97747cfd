package guard

import (
	"fmt"
	"net"
	"sync"
)

// readSize is the size in bytes of a read, and of the buffer that a connection keeps between frames.
const readSize = 32 << 10

// conn is a guarded connection. Its reader gets only complete frames that the dialogue accepts.
type conn struct {
	net.Conn
	recordViolation func(reason error) error // returns the error for the reader

	mu       sync.Mutex // of dialogue and commands
	dialogue dialogue
	commands commandReader

	// The fields below are used only by the reader.
	scan  scanner
	space []byte // the array of buf
	buf   []byte // bytes read: frames for the reader, then perhaps one to skip, then bytes not yet checked
	ready int    // bytes of buf that are for the reader
	skip  int    // bytes after those that are dropped
	err   error  // the end of the connection; returned after the frames before it
}

// Write implements net.Conn. A command is recorded before its bytes are sent, so that its reply always finds it.
func (c *conn) Write(b []byte) (int, error) {
	c.mu.Lock()
	err := c.commands.feed(b, c.dialogue.sent)
	c.mu.Unlock()
	if err != nil {
		return 0, fmt.Errorf("shared engine: %w", err)
	}
	return c.Conn.Write(b)
}

// Read implements net.Conn.
func (c *conn) Read(b []byte) (int, error) {
	for c.ready == 0 {
		if c.err != nil {
			return 0, c.err
		}
		if err := c.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(b, c.buf[:c.ready])
	c.buf, c.ready = c.buf[n:], c.ready-n
	return n, nil
}

// fill checks the next frames; it first reads, unless unchecked bytes are left. An error of the connection is returned
// unchanged: after a timeout the library may read again.
func (c *conn) fill() (err error) {
	if c.skip > 0 {
		c.buf, c.skip = c.buf[c.skip:], 0
	} else {
		var n int
		c.makeRoom()
		n, err = c.Conn.Read(c.buf[len(c.buf):cap(c.buf)])
		c.buf = c.buf[:len(c.buf)+n]
	}
	if reason := c.checkFrames(); reason != nil {
		c.err = c.recordViolation(reason) // recorded before Close makes a writer fail
		_ = c.Close()
		return nil
	}
	if c.ready > 0 || c.skip > 0 {
		return nil // the next read returns the error again
	}
	return err
}

// makeRoom moves the bytes of buf to the front of the space. The space grows with the bytes that have arrived, not with
// announced lengths, and shrinks after a large frame.
func (c *conn) makeRoom() {
	want := max(readSize, 2*len(c.buf))
	wasteful := want < cap(c.space)/4
	if cap(c.buf)-len(c.buf) >= readSize/2 && !wasteful {
		return
	}
	if want > cap(c.space) || wasteful {
		c.space = make([]byte, want)
	}
	c.buf = c.space[:copy(c.space, c.buf)]
}

// checkFrames advances ready over the complete frames that are accepted, up to the first one to skip.
func (c *conn) checkFrames() error {
	for {
		rest := c.buf[c.ready:]
		n, err := c.scan.next(rest)
		if err != nil || n == 0 {
			return err
		}
		c.mu.Lock()
		keep, err := c.dialogue.received(rest[:n])
		c.mu.Unlock()
		switch {
		case err != nil:
			return err
		case keep:
			c.ready += n
		case c.ready > 0:
			c.skip = n
			return nil
		default:
			c.buf = rest[n:]
		}
	}
}
