package check

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Bounds on what an MX host may say (RFC 5321 section 4.5.3.1.5 has 512 octets for a line of a reply).
const (
	maxReplyLine  = 2048
	maxReplyLines = 100
	// byeLimit is how long the reply to QUIT, which nobody needs, is waited for.
	byeLimit = 2 * time.Second
)

// talk is what an SMTP session up to TLS came to.
type talk struct {
	greeting string               // its first line
	starttls bool                 // is offered
	tls      *tls.ConnectionState // after the handshake; whether it is good is judged elsewhere
	fault    *Problem             // that ended the session; nil: it went as it should
}

// client holds SMTP sessions as far as TLS. It sends no mail.
type client struct {
	helo string
	step time.Duration // for each answer, and for the handshake
}

// converse talks to a host on a connection that was just made, says goodbye and closes it. The session ends at once
// when ctx does.
func (c client) converse(ctx context.Context, raw net.Conn, host string) talk {
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	defer stop()
	defer raw.Close()
	s := &session{ctx: ctx, client: c, conn: raw, r: bufio.NewReaderSize(raw, maxReplyLine)}
	var t talk
	if t.fault = s.greet(&t); t.fault == nil {
		t.fault = s.hello(&t)
	}
	if t.fault == nil {
		t.fault = s.secure(&t, host)
	}
	return t
}

// session is one SMTP session.
type session struct {
	client
	ctx  context.Context
	conn net.Conn
	r    *bufio.Reader
}

func (s *session) greet(t *talk) *Problem {
	s.arm(s.step)
	r, err := s.read()
	if err != nil {
		return s.broken(err, ProblemGreeting, "sends no greeting", "closes the connection without a greeting")
	}
	if t.greeting = r.first(); r.code != 220 {
		s.bye()
		return &Problem{ProblemGreeting, "sends us away: " + quoted(t.greeting)}
	}
	return nil
}

func (s *session) hello(t *talk) *Problem {
	r, err := s.command("EHLO " + s.helo)
	if err != nil {
		return s.broken(err, ProblemSession, "does not answer EHLO", "closes the connection after EHLO")
	}
	if r.code != 250 {
		s.bye()
		return &Problem{ProblemSession, "refuses EHLO: " + quoted(r.first())}
	}
	for _, line := range r.lines[1:] {
		word, _, _ := strings.Cut(line[4:], " ")
		t.starttls = t.starttls || strings.EqualFold(word, "STARTTLS")
	}
	if !t.starttls {
		s.bye()
		return &Problem{ProblemNoStartTLS, "offers no STARTTLS"}
	}
	return nil
}

func (s *session) secure(t *talk, host string) *Problem {
	r, err := s.command("STARTTLS")
	if err != nil {
		return s.broken(err, ProblemRefusedTLS, "does not answer STARTTLS", "closes the connection after STARTTLS")
	}
	if r.code != 220 {
		s.bye()
		return &Problem{ProblemRefusedTLS, "refuses STARTTLS: " + quoted(r.first())}
	}
	// What came in the clear behind the reply, if anything did, is forgotten with s.r: it may be forged.
	conn := tls.Client(s.conn, handshakeConfig(host))
	s.arm(s.step)
	if err := conn.HandshakeContext(s.ctx); err != nil {
		return s.handshakeFault(err)
	}
	state := conn.ConnectionState()
	t.tls = &state
	s.conn, s.r = conn, bufio.NewReaderSize(conn, maxReplyLine)
	// A server that wants a certificate of ours, among others, says so only now.
	if r, err = s.command("EHLO " + s.helo); err != nil {
		return s.broken(err, ProblemSession, "says nothing after the TLS handshake",
			"closes the connection after the TLS handshake")
	}
	s.bye()
	if r.code != 250 {
		return &Problem{ProblemSession, "refuses EHLO after the TLS handshake: " + quoted(r.first())}
	}
	return nil
}

// handshakeConfig lets a handshake succeed with whatever can be looked at: who judges it wants to tell what is wrong.
// SNI is sent as `servername=hostname` makes Postfix do (RFC 8461 section 7.1).
func handshakeConfig(host string) *tls.Config {
	cfg := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS10, InsecureSkipVerify: true}
	if _, err := netip.ParseAddr(host); err == nil {
		cfg.ServerName = ""
	}
	for _, suite := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		// OpenSSL would not take those
		if !strings.Contains(suite.Name, "RC4") && !strings.Contains(suite.Name, "3DES") {
			cfg.CipherSuites = append(cfg.CipherSuites, suite.ID)
		}
	}
	return cfg
}

func (s *session) handshakeFault(err error) *Problem {
	if s.ctx.Err() == nil && !isTimeout(err) {
		return &Problem{ProblemHandshake,
			"fails in the TLS handshake: " + cut(strings.TrimPrefix(plainConn(err), "tls: "), 160)}
	}
	return s.broken(err, ProblemHandshake, "does not finish the TLS handshake", "")
}

// broken is the problem that a failed read or write is.
func (s *session) broken(err error, code ProblemCode, silent, closed string) *Problem {
	var garbage *notSMTP
	switch {
	case s.ctx.Err() != nil:
		return &Problem{code, fmt.Sprintf("%s in time: %v", silent, context.Cause(s.ctx))}
	case isTimeout(err):
		return &Problem{code, fmt.Sprintf("%s within %v", silent, s.step)}
	case errors.As(err, &garbage):
		return &Problem{code, garbage.Error()}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return &Problem{code, closed}
	}
	return &Problem{code, closed + ": " + cut(plainConn(err), 160)}
}

// bye ends the session politely; what comes of it does not matter.
func (s *session) bye() {
	s.arm(byeLimit)
	if _, err := io.WriteString(s.conn, "QUIT\r\n"); err == nil {
		_, _ = s.read()
	}
	_ = s.conn.Close()
}

func (s *session) command(line string) (reply, error) {
	s.arm(s.step)
	if _, err := io.WriteString(s.conn, line+"\r\n"); err != nil {
		return reply{}, err
	}
	return s.read()
}

// arm gives what follows so much time. Failing, it leaves the session to fail by itself.
func (s *session) arm(d time.Duration) { _ = s.conn.SetDeadline(time.Now().Add(d)) }

// reply is an SMTP reply (RFC 5321 section 4.2): one line or more, each of four bytes at least, "220 " or "250-".
type reply struct {
	code  int
	lines []string
}

func (r reply) first() string { return strings.TrimRight(r.lines[0], " -") }

// notSMTP: the other side speaks something else.
type notSMTP struct{ text string }

func (e *notSMTP) Error() string { return "does not speak SMTP: it sends " + quoted(e.text) }

func (s *session) read() (reply, error) {
	var r reply
	for len(r.lines) < maxReplyLines {
		raw, err := s.r.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			return r, &notSMTP{string(raw)}
		case err != nil:
			return r, err
		}
		line := strings.TrimRight(string(raw), "\r\n")
		code, last, ok := parseReplyLine(line)
		if !ok || len(r.lines) > 0 && code != r.code {
			return r, &notSMTP{line}
		}
		if len(line) < 4 {
			line += " "
		}
		r.code, r.lines = code, append(r.lines, line)
		if last {
			return r, nil
		}
	}
	return r, &notSMTP{fmt.Sprintf("a reply of more than %d lines", maxReplyLines)}
}

// parseReplyLine reads "250-text", "250 text" or "250".
func parseReplyLine(line string) (code int, last, ok bool) {
	if len(line) < 3 || len(line) > 3 && line[3] != ' ' && line[3] != '-' {
		return 0, false, false
	}
	for _, c := range []byte(line[:3]) {
		if c < '0' || c > '9' {
			return 0, false, false
		}
		code = 10*code + int(c-'0')
	}
	return code, len(line) == 3 || line[3] == ' ', slices.Contains([]byte("2345"), line[0])
}
