package guard

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
)

// pieces is a connection on which an engine's bytes arrive in pieces. Writes are discarded.
type pieces struct {
	net.Conn
	rest   [][]byte
	closed bool
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.rest[0])
	if p.rest[0] = p.rest[0][n:]; len(p.rest[0]) == 0 {
		p.rest = p.rest[1:]
	}
	return n, nil
}

func (p *pieces) Write(b []byte) (int, error) { return len(b), nil }

func (p *pieces) Close() error { p.closed = true; return nil }

// written returns a command as the library writes it.
func written(words ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(words))
	for _, w := range words {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(w), w)
	}
	return b.String()
}

// commands returns commands as the library writes them, from lines of words.
func commands(lines ...string) string {
	var b strings.Builder
	for _, line := range lines {
		b.WriteString(written(strings.Fields(line)...))
	}
	return b.String()
}

// guarded returns a guarded connection on which commands were written.
func newGuarded(t testing.TB, p *pieces, text string) *conn {
	t.Helper()
	c := New(func(*Violation) {}).wrap(p, "engine")
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatalf("write %q: %v", text, err)
	}
	return c
}

// verdict is the result of a stream: the bytes that the library gets, and the violation that ended it, "" if none.
type verdict struct {
	delivered string
	violation string
}

// judge returns the verdict on a stream after the commands in text.
func judge(t testing.TB, text string, stream ...[]byte) verdict {
	t.Helper()
	p := &pieces{rest: stream}
	c := newGuarded(t, p, text)
	delivered, err := io.ReadAll(c)
	v := (*Violation)(nil)
	if err == nil {
		return verdict{delivered: string(delivered)}
	}
	if !errors.As(err, &v) {
		t.Fatalf("%v is no *Violation", err)
	}
	if !p.closed {
		t.Errorf("%v: the connection is open", err)
	}
	if _, again := c.Read(make([]byte, 1)); again != err {
		t.Errorf("the next read says %v after %v", again, err)
	}
	return verdict{string(delivered), v.Reason.Error()}
}
