package dnsclient

import (
	"net"
	"sync"
	"time"
)

// Bounds of a socketPool.
//
// Creating, connecting and closing a socket costs more than a question. So after an answer the socket is kept for a
// short time, for the next question to the same server.
//
// An answer can be forged only by guessing the id and the port. The id is random for each question, the port for each
// socket. A socket has one question at a time, so many questions at once do not help a forger. It is used for no longer
// than one question may wait for a slow server, so a forger has no more time to find its port than with a new socket
// for each question. After a timeout, an error or a packet that is not the answer, the socket is closed.
const (
	socketUses = 16          // questions
	socketLife = time.Second // the default timeout of one question is 3 s
	maxIdle    = 100         // sockets
)

// socket is a UDP socket that is connected to a server. The kernel drops packets from other addresses and reports a
// closed port.
type socket struct {
	net.Conn
	server  *server
	uses    int
	created time.Time
}

// socketPool keeps at most maxIdle unused sockets, each for about socketLife.
type socketPool struct {
	mu    sync.Mutex
	idle  []*socket // in the order in which they were added
	timer *time.Timer
}

// get returns a socket for one question to s.
func (p *socketPool) get(s *server, now time.Time) (*socket, error) {
	if k := p.reuse(s, now); k != nil {
		return k, nil
	}
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(s.addr))
	if err != nil {
		return nil, err
	}
	return &socket{Conn: conn, server: s, created: now}, nil
}

// reuse removes and returns the newest unused socket of s that may be used at now, nil if there is none.
func (p *socketPool) reuse(s *server, now time.Time) *socket {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := len(p.idle) - 1; i >= 0; i-- {
		if k := p.idle[i]; k.server == s && now.Sub(k.created) < socketLife {
			p.idle = append(p.idle[:i], p.idle[i+1:]...)
			return k
		}
	}
	return nil
}

// release adds a socket whose question was answered to the pool, or closes it.
func (p *socketPool) release(k *socket) {
	if k.uses++; k.uses >= socketUses || !p.addIdle(k) {
		_ = k.Close()
	}
}

// addIdle adds a socket to the pool. It returns false when the pool is full.
func (p *socketPool) addIdle(k *socket) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) >= maxIdle {
		return false
	}
	p.idle = append(p.idle, k)
	if p.timer == nil {
		p.timer = time.AfterFunc(socketLife, p.closeOld)
	}
	return true
}

// closeOld closes the sockets that are older than socketLife, and runs again until none is left.
func (p *socketPool) closeOld() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	kept := p.idle[:0]
	for _, k := range p.idle {
		if now.Sub(k.created) < socketLife {
			kept = append(kept, k)
		} else {
			_ = k.Close()
		}
	}
	clear(p.idle[len(kept):])
	p.idle, p.timer = kept, nil
	if len(kept) > 0 {
		p.timer = time.AfterFunc(socketLife/2, p.closeOld)
	}
}
