package dnsclient

import (
	"net"
	"sync"
	"time"
)

// To make a socket, connect it and close it again costs more than to ask a question with it. So one that was answered
// on is kept for the next question to the same server, but not for long.
//
// What keeps a forger out are the id and the port. The id is drawn for each question. The port is the kernel's choice,
// at random, for each socket. A socket has one question at a time, so nobody gains by asking for many names at once;
// and it serves no longer than a question may wait for a slow server anyway, so there is no more time to find out its
// port than with a socket for each question. After a silence, an error or a packet that is not the answer, a socket is
// closed.
const (
	socketUses = 16
	socketLife = time.Second // the default timeout of one question is 3 s
	maxIdle    = 100
)

// socket is a UDP socket that is connected to a server: the kernel drops what other addresses send, and reports a
// closed port.
type socket struct {
	net.Conn
	server *server
	uses   int
	born   time.Time
}

// sockets are those that wait for a question. At most maxIdle do, and none for longer than about socketLife.
type sockets struct {
	mu      sync.Mutex
	idle    []*socket // in the order in which they came
	sweeper *time.Timer
}

// take returns a socket for one question to s.
func (p *sockets) take(s *server, now time.Time) (*socket, error) {
	if k := p.pick(s, now); k != nil {
		return k, nil
	}
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(s.addr))
	if err != nil {
		return nil, err
	}
	return &socket{Conn: conn, server: s, born: now}, nil
}

// pick returns the last one that came, if it may be used at now; nil: none.
func (p *sockets) pick(s *server, now time.Time) *socket {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := len(p.idle) - 1; i >= 0; i-- {
		if k := p.idle[i]; k.server == s && now.Sub(k.born) < socketLife {
			p.idle = append(p.idle[:i], p.idle[i+1:]...)
			return k
		}
	}
	return nil
}

// giveBack takes a socket whose question was answered.
func (p *sockets) giveBack(k *socket) {
	if k.uses++; k.uses >= socketUses || !p.keep(k) {
		_ = k.Close()
	}
}

func (p *sockets) keep(k *socket) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) >= maxIdle {
		return false
	}
	p.idle = append(p.idle, k)
	if p.sweeper == nil {
		p.sweeper = time.AfterFunc(socketLife, p.sweep)
	}
	return true
}

// sweep closes those whose time is over, until there are none.
func (p *sockets) sweep() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	kept := p.idle[:0]
	for _, k := range p.idle {
		if now.Sub(k.born) < socketLife {
			kept = append(kept, k)
		} else {
			_ = k.Close()
		}
	}
	clear(p.idle[len(kept):])
	p.idle, p.sweeper = kept, nil
	if len(kept) > 0 {
		p.sweeper = time.AfterFunc(socketLife/2, p.sweep)
	}
}
