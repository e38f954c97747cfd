package enginetest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// Hostile is an engine that answers like a real one in any mode, except that it sends Noise in place of some replies.
type Hostile struct {
	// At reports whether a command is answered with Noise. i is the number of the connection's commands before it. If
	// At is nil, Noise is sent once, before the first command.
	At    func(i int, words []string) bool
	Noise string
	RESP2 bool // it does not support HELLO

	sent, connections atomic.Int64
}

// Sent returns how often Noise was sent.
func (h *Hostile) Sent() int64 { return h.sent.Load() }

// Connections returns the number of connections made.
func (h *Hostile) Connections() int64 { return h.connections.Load() }

// Listen serves connections to an address until stop is called or the test ends.
func (h *Hostile) Listen(t testing.TB, address string) (stop func()) {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	running.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return // stopped
			}
			mu.Lock()
			open[c] = true
			mu.Unlock()
			running.Go(func() {
				h.Serve(c)
				mu.Lock()
				delete(open, c)
				mu.Unlock()
			})
		}
	})
	stop = sync.OnceFunc(func() {
		listener.Close()
		mu.Lock()
		for c := range open {
			c.Close()
		}
		mu.Unlock()
		running.Wait()
		// A process that is just being started may have the socket open until its exec.
		testkit.Eventually(t, testkit.Hang, "nothing listens any more", func() bool {
			c, err := net.DialTimeout("tcp", address, time.Second)
			if err == nil {
				c.Close()
			}
			return err != nil
		})
	})
	t.Cleanup(stop)
	return stop
}

// Serve answers commands on a connection until it ends.
func (h *Hostile) Serve(c net.Conn) {
	defer c.Close()
	h.connections.Add(1)
	if h.At == nil {
		h.sent.Add(1)
		if _, err := io.WriteString(c, h.Noise); err != nil {
			return
		}
	}
	r := bufio.NewReader(c)
	for i := 0; ; i++ {
		words, err := readCommand(r)
		if err != nil {
			return
		}
		text := h.answer(words)
		if h.At != nil && h.At(i, words) {
			h.sent.Add(1)
			text = h.Noise
		}
		if _, err := io.WriteString(c, text); err != nil {
			return
		}
	}
}

func (h *Hostile) answer(words []string) string {
	switch strings.ToUpper(words[0]) {
	case "HELLO":
		if h.RESP2 {
			return "-ERR unknown command 'HELLO'\r\n"
		}
		return "%2\r\n+proto\r\n:3\r\n+version\r\n+8.1\r\n"
	case "PING":
		return "+PONG\r\n"
	case "SUBSCRIBE", "UNSUBSCRIBE":
		return h.subscriptions(words)
	case "ROLE":
		return "*3\r\n+master\r\n:0\r\n*0\r\n"
	case "SENTINEL":
		if strings.EqualFold(words[1], "SENTINELS") {
			return "*0\r\n"
		}
		return "*2\r\n+127.0.0.1\r\n+6379\r\n"
	case "CLUSTER":
		return "*1\r\n%2\r\n+slots\r\n*2\r\n:0\r\n:16383\r\n+nodes\r\n*1\r\n" +
			"%4\r\n+endpoint\r\n+127.0.0.1\r\n+port\r\n:6379\r\n+role\r\n+master\r\n+health\r\n+online\r\n"
	case "EVALSHA", "EVAL":
		return "+epoch\r\n"
	}
	return "$-1\r\n"
}

// subscriptions returns the pushes that answer SUBSCRIBE and UNSUBSCRIBE.
func (h *Hostile) subscriptions(words []string) string {
	kind := ">"
	if h.RESP2 {
		kind = "*"
	}
	var b strings.Builder
	for i, channel := range words[1:] {
		fmt.Fprintf(&b, "%s3\r\n+%s\r\n+%s\r\n:%d\r\n", kind, strings.ToLower(words[0]), channel, i)
	}
	return b.String()
}

// readCommand reads a command of a client: an array of strings.
func readCommand(r *bufio.Reader) ([]string, error) {
	n, err := readNumber(r, '*')
	if err != nil {
		return nil, err
	}
	words := make([]string, n)
	for i := range words {
		length, err := readNumber(r, '$')
		if err != nil {
			return nil, err
		}
		word := make([]byte, length+2)
		if _, err := io.ReadFull(r, word); err != nil {
			return nil, err
		}
		words[i] = string(word[:length])
	}
	return words, nil
}

func readNumber(r *bufio.Reader, kind byte) (int, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return 0, err
	}
	if line[0] != kind {
		return 0, errors.New("a client sends arrays of strings")
	}
	return strconv.Atoi(strings.TrimSpace(line[1:]))
}
