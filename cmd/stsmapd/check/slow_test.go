package check

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// slowHost is an MX host that takes its time, by the fake clock of a synctest bubble.
type slowHost struct {
	greeting time.Duration // before the first byte
	drip     time.Duration // before each byte of the greeting
	ehlo     time.Duration // before the reply to EHLO
	shake    time.Duration // before the TLS handshake
}

// serve serves one session, up to the end of the connection.
func (h slowHost) serve(conn net.Conn, config *tls.Config) {
	defer conn.Close()
	after := func(d time.Duration) { <-time.After(d) }
	after(h.greeting)
	for _, c := range "220 mx1.example.org ESMTP\r\n" {
		after(h.drip)
		if _, err := io.WriteString(conn, string(c)); err != nil {
			return
		}
	}
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		reply := "250-mx1.example.org\r\n250 STARTTLS\r\n"
		switch verb, _, _ := strings.Cut(lines.Text(), " "); verb {
		case "EHLO":
			after(h.ehlo)
		case "QUIT":
			reply = "221 bye\r\n"
		case "STARTTLS":
			if _, err := io.WriteString(conn, "220 go\r\n"); err != nil {
				return
			}
			after(h.shake)
			secure := tls.Server(conn, config)
			if secure.Handshake() != nil {
				return
			}
			conn, lines = secure, bufio.NewScanner(secure)
			continue
		}
		if _, err := io.WriteString(conn, reply); err != nil {
			return
		}
	}
}

// TestSlowMX: a check waits for an MX host as long as Postfix does, 5 minutes for each reply, and --timeout bounds it.
func TestSlowMX(t *testing.T) {
	cert := newAuthority(t, "CA").issue(t, farEnd(), mx1)
	for _, c := range []struct {
		why     string
		host    slowHost
		timeout time.Duration // of --timeout
		problem string        // "": the session works
	}{
		{"a greeting after 15 s", slowHost{greeting: 15 * time.Second}, defaultTimeout, ""},
		{"after a minute", slowHost{greeting: time.Minute}, defaultTimeout, ""},
		{"just in time", slowHost{greeting: 299 * time.Second}, defaultTimeout, ""},
		{"a byte every 10 s", slowHost{drip: 10 * time.Second}, defaultTimeout, ""},
		{"slow in everything", slowHost{greeting: 40 * time.Second, ehlo: 40 * time.Second, shake: time.Minute},
			defaultTimeout, ""},
		{"later than Postfix waits", slowHost{greeting: 301 * time.Second}, defaultTimeout,
			"sends no greeting within 5m0s"},
		{"dripping longer than that", slowHost{drip: 20 * time.Second}, defaultTimeout,
			"sends no greeting within 5m0s"},
		{"an EHLO later than that", slowHost{ehlo: 301 * time.Second}, defaultTimeout,
			"does not answer EHLO within 5m0s"},
		{"with --timeout", slowHost{greeting: time.Minute}, 10 * time.Second,
			"sends no greeting in time: not finished within 10s, the limit of --timeout; Postfix waits up to 5m0s"},
		{"a handshake, with --timeout", slowHost{shake: time.Minute}, 10 * time.Second,
			"does not finish the TLS handshake in time: not finished within 10s, the limit of --timeout; " +
				"Postfix waits up to 5m0s"},
	} {
		t.Run(c.why, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeoutCause(t.Context(), c.timeout,
					fmt.Errorf("not finished within %v, the limit of --timeout", c.timeout))
				defer cancel()
				ours, theirs := net.Pipe()
				var host sync.WaitGroup
				defer host.Wait()
				host.Go(func() { c.host.serve(theirs, &tls.Config{Certificates: []tls.Certificate{*cert}}) })
				seen := client{helo: "checker.example.net", step: New(Options{}).opts.Step}.run(ctx, ours, mx1)
				got := ""
				if seen.problem != nil {
					got = seen.problem.Text
				}
				if got != c.problem || (got == "") != (seen.tls != nil) {
					t.Errorf("%q, want %q", got, c.problem)
				}
			})
		})
	}
}

// TestSlowMXIsTold: after 5 s the progress says for how long an MX host has been waited for.
func TestSlowMXIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &future[int]{done: make(chan struct{})}
		time.AfterFunc(12*time.Second, func() { close(f.done) })
		var told []time.Duration
		f.waitTelling(func(waited time.Duration) { told = append(told, waited) })
		if len(told) != 2 || told[0] != 5*time.Second || told[1] != 10*time.Second {
			t.Errorf("told after %v", told)
		}
	})
}
