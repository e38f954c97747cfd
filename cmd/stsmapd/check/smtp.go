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

// Bounds on the replies of an MX host (RFC 5321 section 4.5.3.1.5: 512 octets for a line of a reply).
const (
	maxReplyLine  = 2048
	maxReplyLines = 100
	// quitLimit is how long to wait for the reply to QUIT, which is not used.
	quitLimit = 2 * time.Second
)

// smtpResult is the result of an SMTP session up to TLS.
type smtpResult struct {
	greeting string               // first line
	starttls bool                 // offered
	tls      *tls.ConnectionState // after the handshake; not yet judged
	// requiretls: REQUIRETLS is announced after the handshake; before it, it does not count (RFC 8689 section 4.2.1).
	requiretls bool
	problem    *Problem // that ended the session; nil: none
}

// client does SMTP sessions up to TLS. It sends no mail.
type client struct {
	helo string
	step time.Duration // for each reply, and for the handshake
}

// run does a session with a host on a new connection, and closes it. The session ends when ctx ends.
func (c client) run(ctx context.Context, raw net.Conn, host string) smtpResult {
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	defer stop()
	defer raw.Close()
	s := &session{ctx: ctx, client: c, conn: raw, r: bufio.NewReaderSize(raw, maxReplyLine)}
	var t smtpResult
	if t.problem = s.greet(&t); t.problem == nil {
		t.problem = s.hello(&t)
	}
	if t.problem == nil {
		t.problem = s.startTLS(&t, host)
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

func (s *session) greet(t *smtpResult) *Problem {
	s.setDeadline(s.step)
	r, err := s.read()
	if err != nil {
		return s.problem(err, ProblemGreeting, "sends no greeting", "closes the connection without a greeting")
	}
	if t.greeting = r.first(); r.code != 220 {
		s.quit()
		return &Problem{ProblemGreeting, "refuses the session: " + quoted(t.greeting)}
	}
	return nil
}

func (s *session) hello(t *smtpResult) *Problem {
	r, err := s.command("EHLO " + s.helo)
	if err != nil {
		return s.problem(err, ProblemSession, "does not answer EHLO", "closes the connection after EHLO")
	}
	if r.code != 250 {
		s.quit()
		return &Problem{ProblemNoEHLO, "refuses EHLO: " + quoted(r.first())}
	}
	if t.starttls = r.announces("STARTTLS"); !t.starttls {
		s.quit()
		return &Problem{ProblemNoStartTLS, "offers no STARTTLS"}
	}
	return nil
}

func (s *session) startTLS(t *smtpResult, host string) *Problem {
	r, err := s.command("STARTTLS")
	if err != nil {
		return s.problem(err, ProblemRefusedTLS, "does not answer STARTTLS", "closes the connection after STARTTLS")
	}
	if r.code != 220 {
		s.quit()
		return &Problem{ProblemRefusedTLS, "refuses STARTTLS: " + quoted(r.first())}
	}
	// Plain text after the reply is dropped with s.r: it may be forged.
	conn := tls.Client(s.conn, handshakeConfig(host))
	s.setDeadline(s.step)
	if err := conn.HandshakeContext(s.ctx); err != nil {
		return s.handshakeProblem(err)
	}
	state := conn.ConnectionState()
	t.tls = &state
	s.conn, s.r = conn, bufio.NewReaderSize(conn, maxReplyLine)
	// With TLS 1.3, a server that requires a client certificate fails only now.
	if r, err = s.command("EHLO " + s.helo); err != nil {
		return s.problem(err, ProblemSession, "says nothing after the TLS handshake",
			"closes the connection after the TLS handshake")
	}
	s.quit()
	t.requiretls = r.announces("REQUIRETLS")
	if r.code != 250 {
		return &Problem{ProblemSession, "refuses EHLO after the TLS handshake: " + quoted(r.first())}
	}
	return nil
}

// handshakeConfig accepts old versions and any certificate, so that hostJudge can say what is wrong. SNI is sent as by
// Postfix with `servername=hostname` (RFC 8461 section 7.1).
func handshakeConfig(host string) *tls.Config {
	cfg := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS10, InsecureSkipVerify: true}
	if _, err := netip.ParseAddr(host); err == nil {
		cfg.ServerName = ""
	}
	for _, suite := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		// OpenSSL does not accept these
		if !strings.Contains(suite.Name, "RC4") && !strings.Contains(suite.Name, "3DES") {
			cfg.CipherSuites = append(cfg.CipherSuites, suite.ID)
		}
	}
	return cfg
}

func (s *session) handshakeProblem(err error) *Problem {
	if s.ctx.Err() == nil && !isTimeout(err) {
		return &Problem{ProblemHandshake,
			"fails in the TLS handshake: " + cut(strings.TrimPrefix(connReason(err), "tls: "), 160)}
	}
	return s.problem(err, ProblemHandshake, "does not finish the TLS handshake", "")
}

// problem describes a failed read or write.
func (s *session) problem(err error, code ProblemCode, silent, closed string) *Problem {
	var garbage *notSMTP
	switch {
	case s.ctx.Err() != nil:
		text := fmt.Sprintf("%s in time: %v", silent, context.Cause(s.ctx))
		if errors.Is(s.ctx.Err(), context.DeadlineExceeded) {
			text += fmt.Sprintf("; Postfix waits up to %v", s.step)
		}
		return &Problem{code, text}
	case isTimeout(err):
		return &Problem{code, fmt.Sprintf("%s within %v", silent, s.step)}
	case errors.As(err, &garbage):
		return &Problem{code, garbage.Error()}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return &Problem{code, closed}
	}
	return &Problem{code, closed + ": " + cut(connReason(err), 160)}
}

// quit ends the session with QUIT and ignores errors.
func (s *session) quit() {
	s.setDeadline(quitLimit)
	if _, err := io.WriteString(s.conn, "QUIT\r\n"); err == nil {
		_, _ = s.read()
	}
	_ = s.conn.Close()
}

func (s *session) command(line string) (reply, error) {
	s.setDeadline(s.step)
	if _, err := io.WriteString(s.conn, line+"\r\n"); err != nil {
		return reply{}, err
	}
	return s.read()
}

// setDeadline limits the next reads and writes. An error of it is ignored: the session then fails by itself.
func (s *session) setDeadline(d time.Duration) { _ = s.conn.SetDeadline(time.Now().Add(d)) }

// reply is an SMTP reply (RFC 5321 section 4.2): one or more lines, each of at least four bytes, "220 " or "250-".
type reply struct {
	code  int
	lines []string
}

func (r reply) first() string { return strings.TrimRight(r.lines[0], " -") }

// announces reports whether a reply to EHLO has a keyword.
func (r reply) announces(keyword string) bool {
	return slices.ContainsFunc(r.lines[1:], func(line string) bool {
		word, _, _ := strings.Cut(line[4:], " ")
		return strings.EqualFold(word, keyword)
	})
}

// notSMTP says that the server does not speak SMTP.
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

// parseReplyLine parses "250-text", "250 text" or "250". last says that the reply ends with this line.
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
