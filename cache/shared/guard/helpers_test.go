package guard

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
)

// pieces is a connection on which an engine's bytes arrive in pieces. What is written goes nowhere.
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

// written is a command as the library writes it.
func written(words ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(words))
	for _, w := range words {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(w), w)
	}
	return b.String()
}

// commands are commands of words that spaces part.
func commands(lines ...string) string {
	var b strings.Builder
	for _, line := range lines {
		b.WriteString(written(strings.Fields(line)...))
	}
	return b.String()
}

// guarded is a connection on which commands were written.
func guarded(t testing.TB, p *pieces, text string) *conn {
	t.Helper()
	c := New(func(*Violation) {}).guarded(p, "engine")
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatalf("write %q: %v", text, err)
	}
	return c
}

// verdict is what became of a stream: what the library gets of it, and the violation that ended it; "": none.
type verdict struct {
	delivered string
	violation string
}

// judge reads all that a connection gives.
func judge(t testing.TB, text string, stream ...[]byte) verdict {
	t.Helper()
	p := &pieces{rest: stream}
	c := guarded(t, p, text)
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
