package guard

import (
	"fmt"
	"net"
	"sync"
)

// readSize is how much is read at once, and what a connection keeps between two frames.
const readSize = 32 << 10

// conn is a guarded connection. Its reader gets whole frames alone, and only those that the dialogue accepts.
type conn struct {
	net.Conn
	violated func(reason error) error // makes the error that the reader gets

	mu       sync.Mutex // of the dialogue, and of commands
	dialogue dialogue
	commands commandReader

	// What follows belongs to the reader.
	scan  scanner
	space []byte // that buf is a part of
	buf   []byte // what was read: frames for the reader, perhaps one to skip, and what is not checked or incomplete
	ready int    // bytes of buf for the reader
	skip  int    // bytes behind them that are not for it
	err   error  // what ended the connection; the reader gets it after the frames before it
}

// Write implements net.Conn. A command counts before its bytes leave, so that no reply can overtake it.
func (c *conn) Write(b []byte) (int, error) {
	c.mu.Lock()
	err := c.commands.read(b, c.dialogue.wrote)
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

// fill reads, unless there is something unchecked, and checks. An error of the connection is returned as it is: after a
// timeout the library may read on.
func (c *conn) fill() (err error) {
	if c.skip > 0 {
		c.buf, c.skip = c.buf[c.skip:], 0
	} else {
		var n int
		c.makeRoom()
		n, err = c.Conn.Read(c.buf[len(c.buf):cap(c.buf)])
		c.buf = c.buf[:len(c.buf)+n]
	}
	if reason := c.check(); reason != nil {
		c.err = c.violated(reason) // known before a writer can fail
		_ = c.Close()
		return nil
	}
	if c.ready > 0 || c.skip > 0 {
		return nil // an error comes again with the next read
	}
	return err
}

// makeRoom moves what is left to the front of the space. That grows with what has arrived, not with what was announced,
// and shrinks after a large frame.
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

// check moves ready behind each frame that is whole and accepted, up to one to skip.
func (c *conn) check() error {
	for {
		rest := c.buf[c.ready:]
		n, err := c.scan.next(rest)
		if err != nil || n == 0 {
			return err
		}
		c.mu.Lock()
		keep, err := c.dialogue.read(rest[:n])
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
