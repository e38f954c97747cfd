package fetch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// race is one dialing of a policy host. One goroutine runs it.
type race struct {
	d       *dialer
	host    string
	port    uint16
	results chan attempt

	lookups int              // not yet answered
	waiting [2][]netip.Addr  // not yet tried, by family
	last    family           // of the last attempt
	tried   int              // attempts in all
	running int              // attempts not yet decided
	open    bool             // the next attempt may begin
	next    <-chan time.Time // when open becomes true; nil: by another event
	faults  causes
}

type family int

const (
	ip4 family = iota
	ip6
)

type attempt struct {
	conn net.Conn
	err  error
}

// run returns the first connection that comes about. It ends when ctx does; what is still under way then ends with ctx
// too.
func (r *race) run(ctx context.Context, v6, v4 <-chan addresses) (net.Conn, error) {
	for r.lookups > 0 || r.running > 0 || len(r.waiting[ip4])+len(r.waiting[ip6]) > 0 {
		select {
		case a := <-v6:
			r.answered(ip6, a)
		case a := <-v4:
			r.answered(ip4, a)
		case <-r.next:
			r.open = true
		case a := <-r.results:
			if a.err == nil {
				return a.conn, nil
			}
			r.running--
			r.faults = append(r.faults, a.err)
			r.open = true
		case <-ctx.Done():
			return nil, append(r.faults, context.Cause(ctx)) // a want of descriptors must not be forgotten
		}
		r.advance(ctx)
	}
	if len(r.faults) == 0 {
		r.faults = causes{errors.New("no address in the DNS")}
	}
	return nil, fmt.Errorf("%s: %w", r.host, r.faults)
}

// answered takes in the answer of one family. Until something has been tried, IPv4 addresses wait a little for IPv6
// ones.
func (r *race) answered(f family, a addresses) {
	r.lookups--
	if a.err != nil {
		r.faults = append(r.faults, a.err)
	}
	ok, refused := r.d.usable(a.addrs)
	if refused != nil {
		r.faults = append(r.faults, refused)
	}
	r.waiting[f] = ok
	switch {
	case r.tried > 0:
	case f == ip6 || r.lookups == 0:
		r.open = true
	case len(ok) > 0:
		r.next = time.After(resolutionDelay)
	}
}

// advance begins the next attempt if it may begin and there is an address, of the other family than the last one's if
// possible.
func (r *race) advance(ctx context.Context) {
	f := ip6 - r.last
	if len(r.waiting[f]) == 0 {
		f = r.last
	}
	if !r.open || len(r.waiting[f]) == 0 {
		return
	}
	to := netip.AddrPortFrom(r.waiting[f][0], r.port)
	r.waiting[f] = r.waiting[f][1:]
	r.last = f
	r.tried++
	r.running++
	r.open = false
	r.next = time.After(attemptDelay)
	go func() {
		c, err := r.d.connect(ctx, to)
		select {
		case r.results <- attempt{c, err}:
		case <-ctx.Done():
			if c != nil {
				c.Close()
			}
		}
	}()
}
