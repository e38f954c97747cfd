package socketmap

import (
	"context"
	"fmt"
	"net"
	"sync"
)

// PrivateListener is a listener in memory, by which a program asks its own server. Only Dial connects to it: no other
// process can, nor can it fill the queue. A Server accepts and answers its connections as all others, but does not
// count them: MaxConns does not hold them up.
type PrivateListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// NewPrivateListener returns an open listener.
func NewPrivateListener() *PrivateListener {
	return &PrivateListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

// Dial connects, waiting until the server accepts or ctx ends. The error is net.ErrClosed after Close, else the
// context's cause.
func (l *PrivateListener) Dial(ctx context.Context) (*Client, error) {
	ours, theirs := net.Pipe()
	select {
	case l.conns <- theirs:
		return &Client{conn: ours}, nil
	case <-l.closed:
		return nil, fmt.Errorf("connect to the private listener: %w", net.ErrClosed)
	case <-ctx.Done():
		return nil, fmt.Errorf("connect to the private listener: %w", context.Cause(ctx))
	}
}

// Accept implements net.Listener. After Close it returns net.ErrClosed.
func (l *PrivateListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener. It may be called several times.
func (l *PrivateListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr implements net.Listener. The address is for log lines alone.
func (l *PrivateListener) Addr() net.Addr { return privateAddr{} }

// privateAddr is the address of each PrivateListener.
type privateAddr struct{}

// Network implements net.Addr.
func (privateAddr) Network() string { return "private" }

// String implements net.Addr.
func (privateAddr) String() string { return "self-check" }
