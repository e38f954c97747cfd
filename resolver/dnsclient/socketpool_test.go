package dnsclient

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/stsmapd/stsmapd/resolver/dnsclient/dnstest"
)

// idle returns the unused sockets of the pool.
func (c *Client) idle() []*socket {
	c.transport.sockets.mu.Lock()
	defer c.transport.sockets.mu.Unlock()
	return slices.Clone(c.transport.sockets.idle)
}

// TestSocketsAfterTrouble: a port is not used again if a forger may have found it.
func TestSocketsAfterTrouble(t *testing.T) {
	for _, tc := range []struct {
		why     string
		hook    dnstest.Hook // of the first question
		timeout time.Duration
		uses    []int // of the unused sockets after the lookup
	}{
		{"an answer", dnstest.Answer, longTimeout, []int{1}},
		{"a denial", dnstest.Rcode(dns.RcodeNameError), longTimeout, []int{1}},
		{"a timeout: the second attempt has a new socket", dnstest.Drop, mediumTimeout, []int{1}},
		{"an answer that cannot be parsed: the same", dnstest.Raw(func(b []byte) []byte { b[7]++; return b }),
			longTimeout,
			[]int{1}},
		{"a forgery before the answer", forged(dnstest.WrongID), longTimeout, nil},
	} {
		t.Run(tc.why, func(t *testing.T) {
			srv := dnstest.New(t, dnstest.Config{Zone: zoneOne, Strict: true})
			srv.On(asked, dns.TypeTXT, tc.hook, dnstest.Answer)
			c := newClient(t, Config{Servers: []string{srv.Addr()}, Timeout: tc.timeout})
			if _, err := c.TXT(t.Context(), asked); err != nil {
				t.Fatal(err)
			}
			var uses []int
			for _, k := range c.idle() {
				uses = append(uses, k.uses)
			}
			if !slices.Equal(uses, tc.uses) {
				t.Errorf("the unused sockets have had %v questions, want %v", uses, tc.uses)
			}
		})
	}
}

// TestSocketsServeInTurn: a socket has one question at a time, at most socketUses of them, within socketLife, to one
// server.
func TestSocketsServeInTurn(t *testing.T) {
	c, _ := newTestClient(t, zoneOne)
	s := c.nameservers.order()[0]
	now := time.Now()
	get := func(now time.Time) *socket {
		k, err := c.transport.sockets.get(s, now)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	one, two := get(now), get(now)
	if one == two {
		t.Fatal("a socket was returned twice")
	}
	for i := range socketUses - 1 {
		c.transport.sockets.release(one)
		if k := get(now.Add(socketLife - 1)); k != one {
			t.Fatalf("after %d questions the socket is not used again", i+1)
		}
	}
	c.transport.sockets.release(one)
	if k := c.transport.sockets.reuse(s, now); k != nil || one.SetDeadline(now) == nil {
		t.Errorf("after %d questions the socket is still in use", socketUses)
	}
	c.transport.sockets.release(two)
	if k := c.transport.sockets.reuse(s, now.Add(socketLife)); k != nil {
		t.Error("a socket is used after socketLife")
	}
	if k := c.transport.sockets.reuse(&server{addr: s.addr}, now); k != nil {
		t.Error("a socket of another server is used")
	}
}

// TestIdleSocketsAreClosed: unused sockets are closed without another lookup.
func TestIdleSocketsAreClosed(t *testing.T) {
	c, _ := newTestClient(t, zoneOne)
	if _, err := c.TXT(t.Context(), asked); err != nil {
		t.Fatal(err)
	}
	end := time.After(longTimeout)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for len(c.idle()) > 0 {
		select {
		case <-tick.C:
		case <-end:
			t.Fatal("an idle socket stays open")
		}
	}
}

// TestIdleSocketsAreBounded: after a burst no more than maxIdle wait.
func TestIdleSocketsAreBounded(t *testing.T) {
	c, srv := newTestClient(t, zoneOne)
	const burst = 2 * maxIdle
	release := make(chan struct{})
	srv.On(asked, dns.TypeTXT, dnstest.Hold(release, dnstest.Answer))
	var group sync.WaitGroup
	for range burst {
		group.Go(func() {
			got, err := c.TXT(t.Context(), asked)
			check(t, got, err, answerOne)
		})
	}
	if err := srv.Wait(t.Context(), asked, dns.TypeTXT, burst); err != nil {
		t.Fatal(err)
	}
	close(release)
	group.Wait()
	if n := len(c.idle()); n > maxIdle {
		t.Errorf("%d sockets wait", n)
	}
}
