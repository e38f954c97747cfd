package fetch

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/stsmapd/stsmapd/resolver/fault"
)

// contest is what a race is about: a policy host that is to give a T.
type contest[T any] struct {
	d    *dialer
	host string
	port uint16
	// try begins with a connection, and calls connected once it has it. It ends promptly when the context does.
	try     func(ctx context.Context, to netip.AddrPort, connected func()) (T, *failure)
	discard func(T)                // what came too late
	admit   func(netip.Addr) error // called before the first attempt; its error ends the race. nil: any may begin
}

// race tries the addresses of a policy host until one of them gives what is wanted. One goroutine runs it.
type race[T any] struct {
	contest[T]
	results   chan attempt[T]
	connected chan int // numbers of attempts

	lookups int              // not yet answered
	waiting [2][]netip.Addr  // not yet tried, by family
	last    family           // of the last attempt
	tried   int              // attempts in all
	running int              // attempts not yet decided
	stall   time.Duration    // stallDelay, or less where there is little time
	open    bool             // the next attempt may begin
	next    <-chan time.Time // when open becomes true; nil: by another event
	failed  failures
}

type family int

const (
	ip4 family = iota
	ip6
)

type attempt[T any] struct {
	value T
	fail  *failure
}

// newRace returns a race for host:port.
func newRace[T any](d *dialer, host string, port uint16,
	try func(ctx context.Context, to netip.AddrPort, connected func()) (T, *failure), discard func(T)) *race[T] {
	return &race[T]{contest: contest[T]{d: d, host: host, port: port, try: try, discard: discard}, stall: stallDelay,
		results: make(chan attempt[T], 2*maxAddresses), connected: make(chan int, 2*maxAddresses)}
}

// run looks up the addresses of both families at once (where there is no IPv6, of IPv4 alone), and tries them in turns
// with a head start for each, IPv6 first (RFC 8305). Neither a lookup nor an attempt that hangs holds up the others.
// It returns the first T that comes about, or what each address did. It ends when ctx does.
func (r *race[T]) run(ctx context.Context) (value T, failed failures) {
	ctx, cancel := context.WithCancel(ctx)
	defer r.clear()
	defer cancel() // ends the lookups and attempts that have lost
	var v6 <-chan addresses
	v4 := lookUp(ctx, r.host, r.d.dns.A)
	if r.lookups = 1; r.d.hasIPv6() {
		v6, r.lookups = lookUp(ctx, r.host, r.d.dns.AAAA), 2
	}
	for r.lookups > 0 || r.running > 0 || len(r.waiting[ip4])+len(r.waiting[ip6]) > 0 {
		select {
		case a := <-v6:
			r.answered(ip6, a)
		case a := <-v4:
			r.answered(ip4, a)
		case <-r.next:
			r.open = true
		case number := <-r.connected:
			if number == r.tried {
				r.open, r.next = false, time.After(r.stall)
			}
		case a := <-r.results:
			if a.fail == nil {
				r.running--
				return a.value, nil
			}
			r.lost(a.fail)
		case <-ctx.Done():
			return r.end(ctx)
		}
		if err := r.advance(ctx); err != nil {
			r.failed = append(r.failed, &failure{kind: HostFault, err: err})
			return value, r.failed
		}
	}
	if len(r.failed) == 0 {
		r.failed = failures{r.noAddress(ctx)}
	}
	return value, r.failed
}

// end takes in what the running attempts make of the end of ctx.
func (r *race[T]) end(ctx context.Context) (value T, failed failures) {
	for r.running > 0 {
		a := <-r.results
		if a.fail == nil {
			r.running--
			return a.value, nil
		}
		r.lost(a.fail)
	}
	if r.lookups > 0 || len(r.failed) == 0 {
		r.failed = append(r.failed, &failure{stage: "connect", kind: Unreachable, err: context.Cause(ctx)})
	}
	return value, r.failed
}

// clear waits in the background for attempts that nobody wants any more.
func (r *race[T]) clear() {
	if left := r.running; left > 0 {
		go func() {
			for range left {
				if a := <-r.results; a.fail == nil {
					r.discard(a.value)
				}
			}
		}()
	}
}

// lost takes in a failed attempt. Where several addresses have answered by HTTP, the policy host has said its word.
func (r *race[T]) lost(f *failure) {
	r.running--
	r.failed = append(r.failed, f)
	r.open = true
	if r.answers() >= maxAnswers {
		r.waiting = [2][]netip.Addr{}
	}
}

// answers is how many attempts have ended with an HTTP response.
func (r *race[T]) answers() (n int) {
	for _, f := range r.failed {
		if f.kind == Refused || f.kind == MediaType || f.kind == TooLarge {
			n++
		}
	}
	return n
}

// noAddress says why there is no address to try. On a host without IPv6, there may be others.
func (r *race[T]) noAddress(ctx context.Context) *failure {
	if !r.d.hasIPv6() {
		if a, err := r.d.dns.AAAA(ctx, r.host); err == nil && len(a.Records) > 0 {
			return r.lookupFailure(&fault.Error{Kind: fault.Host,
				Cure: "the policy host has only IPv6 addresses, and this host has no IPv6", Err: errOnlyIPv6})
		}
	}
	return r.lookupFailure(errNoAddress)
}

func (r *race[T]) lookupFailure(err error) *failure {
	return &failure{kind: Unreachable, err: fmt.Errorf("%s: %w", r.host, err)}
}

// answered takes in the answer of one family. Until something has been tried, IPv4 addresses wait a little for IPv6
// ones.
func (r *race[T]) answered(f family, a addresses) {
	r.lookups--
	if a.err != nil {
		r.failed = append(r.failed, r.lookupFailure(a.err))
	}
	ok, refused := r.d.usable(a.addrs)
	if refused != nil {
		r.failed = append(r.failed, r.lookupFailure(refused))
	}
	if r.answers() < maxAnswers {
		r.waiting[f] = ok
	}
	switch {
	case r.tried > 0:
	case f == ip6 || r.lookups == 0:
		r.open = true
	case len(ok) > 0:
		r.next = time.After(resolutionDelay)
	}
}

// advance begins the next attempt if it may begin and there is an address, of the other family than the last one's if
// possible. The error is that of admit.
func (r *race[T]) advance(ctx context.Context) error {
	f := ip6 - r.last
	if len(r.waiting[f]) == 0 {
		f = r.last
	}
	if !r.open || len(r.waiting[f]) == 0 {
		return nil
	}
	if r.tried == 0 && r.admit != nil {
		if err := r.admit(r.waiting[f][0]); err != nil {
			return err
		}
	}
	to := netip.AddrPortFrom(r.waiting[f][0], r.port)
	r.waiting[f] = r.waiting[f][1:]
	r.last = f
	r.tried++
	r.running++
	r.open = false
	r.next = time.After(attemptDelay)
	number := r.tried
	go func() {
		value, fail := r.try(ctx, to, func() { r.connected <- number })
		r.results <- attempt[T]{value, fail}
	}()
	return nil
}
