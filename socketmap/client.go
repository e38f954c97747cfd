package socketmap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/stsmapd/stsmapd/socketmap/netstring"
)

// ErrHungUp says that the server closed the connection without an answer, as it does when it restarts. Dial and ask
// again, once.
var ErrHungUp = errors.New("socketmap: the server closed the connection without an answer")

// ReplyError says that what came back is no socketmap reply: the peer is not a socketmap server.
type ReplyError struct {
	Msg string
}

// Error says what is wrong with the reply.
func (e *ReplyError) Error() string { return "socketmap: not a socketmap reply: " + e.Msg }

// RequestError says that the question cannot be sent: it is the caller's mistake.
type RequestError struct {
	Msg string
}

// Error says what is wrong with the question.
func (e *RequestError) Error() string { return "socketmap: " + e.Msg }

// Client asks questions on one connection, one after the other. It is for one goroutine at a time.
type Client struct {
	conn net.Conn
	in   buffer
	out  []byte
	err  error // why the connection is of no use any more
}

// Dial connects to a server. The spec is as for Listen.
func Dial(ctx context.Context, spec string) (*Client, error) {
	network, address, err := ParseSpec(spec)
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", spec, err)
	}
	return &Client{conn: conn}, nil
}

// Ask asks for one key and waits for the reply until ctx ends. The map's name must not be empty nor have a space; the
// key may be anything; both and a space between have at most MaxRequest bytes; otherwise the error is a *RequestError
// and nothing was sent. After any other error (ErrHungUp, a *ReplyError, the context's or the network's) the
// connection is of no use and each further Ask fails the same way.
func (c *Client) Ask(ctx context.Context, mapName, key string) (Reply, error) {
	if c.err != nil {
		return Reply{}, c.err
	}
	if err := checkRequest(mapName, key); err != nil {
		return Reply{}, err
	}
	if ctx.Err() != nil {
		return Reply{}, context.Cause(ctx) // nothing was sent, the connection is still good
	}
	undo := context.AfterFunc(ctx, func() { c.conn.SetDeadline(time.Unix(1, 0)) })
	reply, err := c.exchange(mapName, key)
	if !undo() {
		// the deadline in the past may come after the reply: this connection has seen its last
		c.err = context.Cause(ctx)
	}
	if err == nil {
		return reply, nil
	}
	if ctx.Err() != nil {
		err = fmt.Errorf("ask %s: %w", c.name(), context.Cause(ctx))
	}
	c.err = err
	return Reply{}, err
}

// Close closes the connection.
func (c *Client) Close() error { return c.conn.Close() }

func checkRequest(mapName, key string) error {
	switch {
	case mapName == "":
		return &RequestError{Msg: "the map name is empty"}
	case strings.Contains(mapName, " "):
		return &RequestError{Msg: fmt.Sprintf("map name %q has a space", mapName)}
	case len(mapName)+1+len(key) > MaxRequest:
		return &RequestError{Msg: fmt.Sprintf("map name, space and key have %d bytes, more than %d",
			len(mapName)+1+len(key), MaxRequest)}
	}
	return nil
}

func (c *Client) exchange(mapName, key string) (Reply, error) {
	c.out = netstring.Append(c.out[:0], mapName, " ", key)
	if _, err := c.conn.Write(c.out); err != nil {
		return Reply{}, c.ioError("send request to", err)
	}
	for {
		payload, n, err := netstring.Parse(c.in.unread(), maxReplyPayload)
		switch {
		case err == nil:
			if n < len(c.in.unread()) {
				return Reply{}, &ReplyError{Msg: "more than one reply to one request"}
			}
			c.in.consume(n)
			return parseReply(payload)
		case !errors.Is(err, netstring.ErrIncomplete):
			return Reply{}, &ReplyError{Msg: err.Error()}
		}
		if err := c.in.fill(c.conn, MaxReplyFrame); err != nil {
			return Reply{}, c.ioError("read reply from", err)
		}
	}
}

// ioError tells a server that hung up, which may show in three ways, from other failures.
func (c *Client) ioError(what string, err error) error {
	ended := errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
	switch {
	case ended && len(c.in.unread()) == 0:
		return ErrHungUp
	case ended:
		return &ReplyError{Msg: "the connection ended inside of the reply"}
	}
	return fmt.Errorf("%s %s: %w", what, c.name(), err)
}

func (c *Client) name() string {
	addr := c.conn.RemoteAddr()
	return addr.Network() + ":" + addr.String()
}
