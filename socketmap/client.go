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

// ErrHungUp means that the server closed the connection without a reply, as it does when it restarts. The caller should
// connect again and repeat the request once.
var ErrHungUp = errors.New("socketmap: the server closed the connection without a reply")

// replyError means that the peer did not send a socketmap reply; it is probably not a socketmap server.
type replyError struct {
	Msg string
}

// Error implements error.
func (e *replyError) Error() string { return "socketmap: not a socketmap reply: " + e.Msg }

// requestError means that the caller's request cannot be sent. Nothing was sent, and the connection still works.
type requestError struct {
	Msg string
}

// Error implements error.
func (e *requestError) Error() string { return "socketmap: " + e.Msg }

// Client sends requests on one connection, one after the other. Only one goroutine may use it at a time.
type Client struct {
	conn net.Conn
	in   buffer
	out  []byte
	err  error // why the connection cannot be used any more
}

// Dial connects to a server. ParseSpec describes the spec. The error is a *SpecError or the network's.
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

// Ask looks up one key and waits for the reply until ctx ends. The map name must not be empty and must not contain a
// space; the key may be anything; name, space and key together have at most 10,000 bytes. A request that breaks these
// rules is refused and not sent, and the connection still works. After any other error (ErrHungUp, a malformed reply,
// the context's or the network's) each further Ask returns the same error.
func (c *Client) Ask(ctx context.Context, mapName, key string) (Reply, error) {
	if c.err != nil {
		return Reply{}, c.err
	}
	if err := checkRequest(mapName, key); err != nil {
		return Reply{}, err
	}
	if ctx.Err() != nil {
		return Reply{}, context.Cause(ctx) // nothing was sent; the connection still works
	}
	undo := context.AfterFunc(ctx, func() { c.conn.SetDeadline(time.Unix(1, 0)) })
	reply, err := c.exchange(mapName, key)
	if !undo() {
		// the deadline may be set after the reply has arrived: the connection cannot be used any more
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
		return &requestError{Msg: "the map name is empty"}
	case strings.Contains(mapName, " "):
		return &requestError{Msg: fmt.Sprintf("map name %q has a space", mapName)}
	case len(mapName)+1+len(key) > maxRequest:
		return &requestError{Msg: fmt.Sprintf("map name, space and key have %d bytes, more than %d",
			len(mapName)+1+len(key), maxRequest)}
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
				return Reply{}, &replyError{Msg: "more than one reply to one request"}
			}
			c.in.consume(n)
			return parseReply(payload)
		case !errors.Is(err, netstring.ErrIncomplete):
			return Reply{}, &replyError{Msg: err.Error()}
		}
		if err := c.in.fill(c.conn, maxReplyFrame); err != nil {
			return Reply{}, c.ioError("read reply from", err)
		}
	}
}

// ioError returns ErrHungUp when the server closed the connection without a reply, which the kernel reports in three
// ways, and a wrapped err for other failures.
func (c *Client) ioError(what string, err error) error {
	ended := errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
	switch {
	case ended && len(c.in.unread()) == 0:
		return ErrHungUp
	case ended:
		return &replyError{Msg: "the connection ended inside the reply"}
	}
	return fmt.Errorf("%s %s: %w", what, c.name(), err)
}

func (c *Client) name() string {
	addr := c.conn.RemoteAddr()
	return addr.Network() + ":" + addr.String()
}
