package socketmap

import (
	"net"
	"sync"
)

// onceListener is a listener that may be closed several times; only the first call reaches the wrapped one.
type onceListener struct {
	net.Listener
	once sync.Once
	err  error
}

// Close closes the listener and returns the result of the first call.
func (l *onceListener) Close() error {
	l.once.Do(func() { l.err = l.Listener.Close() })
	return l.err
}

// name returns the listener's address for log lines.
func (l *onceListener) name() string {
	addr := l.Addr()
	return addr.Network() + ":" + addr.String()
}
