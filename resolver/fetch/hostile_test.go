package fetch

import (
	"bytes"
	"crypto/tls"
	"io"
	"strings"
	"testing"
)

// forever writes head, then text again and again until the fetcher has had enough, and counts the bytes.
func forever(head, text string) func(*tls.Conn) int {
	return func(c *tls.Conn) int {
		total, _ := io.WriteString(c, head)
		block := bytes.Repeat([]byte(text), max(1, 16<<10/len(text)))
		for {
			n, err := c.Write(block)
			total += n
			if err != nil {
				return total
			}
		}
	}
}

// cutOff writes text and ends the connection without telling TLS.
func cutOff(text string) func(*tls.Conn) int {
	return func(c *tls.Conn) int {
		n, _ := io.WriteString(c, text)
		c.NetConn().Close()
		return n
	}
}

func once(text string) func(*tls.Conn) int {
	return func(c *tls.Conn) int {
		respond(text)(c)
		return len(text)
	}
}

// TestFetchHostile: policy hosts that break HTTP. Each has all the time it wants, so that it is the limits of size and
// the grammar that end the fetch.
func TestFetchHostile(t *testing.T) {
	noLeaks(t)
	chunked := goodHead + "Transfer-Encoding: chunked\r\n\r\n"
	const length = "Content-Length: 71\r\n\r\n"
	if len(goodPolicy) != 71 {
		t.Fatalf("the policy has %d bytes", len(goodPolicy))
	}
	for _, c := range []struct {
		why   string
		serve func(*tls.Conn) int
		kind  Kind
		text  string
	}{
		{"endless header lines", forever("HTTP/1.1 200 OK\r\n", "X-Filler: 0123456789\r\n"), Unreachable,
			"headers exceeded 32768 bytes"},
		{"an endless header line", forever("HTTP/1.1 200 OK\r\nX-Filler: ", "0123456789"), Unreachable,
			"headers exceeded 32768 bytes"},
		{"an endless status line", forever("HTTP/1.1 200 ", "OK"), Unreachable, "headers exceeded 32768 bytes"},
		{"endless 103s", forever("", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"), Unreachable,
			"headers exceeded 32768 bytes"},
		{"an endless body", forever(goodHead+"\r\n"+goodPolicy, "\n"), TooLarge, "larger than 65536"},
		{"an endless body that claims a length", forever(goodHead+"Content-Length: 9223372036854775807\r\n\r\n", "\n"),
			TooLarge, "larger than 65536"},
		{"a length too great, and then nothing: no need to wait for it", func(c *tls.Conn) int {
			n, _ := io.WriteString(c, goodHead+"Content-Length: 65537\r\n\r\n"+goodPolicy)
			drained(c)
			return n
		}, TooLarge, "larger than 65536"},
		{"endless tiny chunks", forever(chunked, "1\r\n\n\r\n"), TooLarge, "larger than 65536"},
		{"endless tiny chunks with extensions", forever(chunked, "1;"+strings.Repeat("x", 100)+"\r\n\n\r\n"),
			Unreachable, "too much non-data"},
		{"endless large chunks", forever(chunked, "4000\r\n"+strings.Repeat("\n", 0x4000)+"\r\n"), TooLarge,
			"larger than 65536"},
		{"an endless chunk extension", forever(chunked+"1;", "x"), Unreachable, "line too long"},
		{"endless trailers", forever(chunked+"1\r\n\n\r\n0\r\n", "X-Filler: 0123456789\r\n"), Unreachable,
			"trailer"},
		{"a chunk of more bytes than there are numbers", once(chunked + "fffffffffffffffff\r\n"), Unreachable,
			"HTTP exchange"},
		{"endless junk", forever("", "\x00\xff\x1b[2J"), Unreachable, "exceeded 32768 bytes"},
		{"HTTP/0.9", once(goodPolicy), Unreachable, "malformed HTTP"},
		{"a long junk line", once(strings.Repeat("\x1b[2J\u202e", 4000) + "\r\n\r\n"), Unreachable,
			"malformed HTTP"},
		{"SMTP", once("220 mail.example.test ESMTP\r\n"), Unreachable, "malformed HTTP"},
		{"a status that is no number", once("HTTP/1.1 2OO OK\r\n\r\n"), Unreachable, "malformed HTTP"},
		{"a change of protocol", once("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"),
			Refused, "HTTP status 101"},
		{"a negative length", once(goodHead + "Content-Length: -1\r\n\r\n" + goodPolicy), Unreachable,
			"Content-Length"},
		{"two lengths", once(goodHead + "Content-Length: 5\r\nContent-Length: 71\r\n\r\n" + goodPolicy),
			Unreachable, "Content-Length"},
		{"a transfer coding that nobody asked for", once(goodHead + "Transfer-Encoding: gzip\r\n\r\n" + goodPolicy),
			Unreachable, "transfer encoding"},
		{"less than its length", once(goodHead + "Content-Length: 72\r\n\r\n" + goodPolicy), Unreachable,
			"unexpected EOF"},
		{"more than its length: the rest is no part of it", once(goodHead + length + goodPolicy + "mode: none\r\n"), 0,
			""},
		{"chunks without their end", once(chunked + "47\r\n" + goodPolicy + "\r\n"), Unreachable,
			"unexpected EOF"},
		{"HTTP/1.0, ended by TLS", once("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n" + goodPolicy), 0, ""},
		{"the same cut off by anyone on the way (RFC 9112 section 9.8)",
			cutOff("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n" + goodPolicy),
			Unreachable, errCutOff.Error()},
		{"complete by its length, then cut off", cutOff(goodHead + length + goodPolicy), 0, ""},
		{"complete by its chunks, then cut off", cutOff(chunked + "47\r\n" + goodPolicy + "\r\n0\r\n\r\n"), 0, ""},
		{"no answer", once(""), Unreachable, "HTTP exchange with 127.0.0.1:"},
		{"no answer, cut off", cutOff(""), Unreachable, errCutOff.Error()},
	} {
		t.Run(c.why, func(t *testing.T) {
			wrote := make(chan int, 1)
			s := servePolicy(t, func(conn *tls.Conn) { wrote <- c.serve(conn) })
			p, err := fetchFrom(t, s)
			wantFetch(t, c.why, p, err, c.kind, c.text)
			// What was not read is in the kernel's buffers, which are a few MB.
			if n := <-wrote; n > 32<<20 {
				t.Errorf("%s: the policy host could write %d bytes", c.why, n)
			}
		})
	}
}

// TestFetchReadsNoMore: of an endless body no more is read than the limit, give or take a buffer.
func TestFetchReadsNoMore(t *testing.T) {
	noLeaks(t)
	s := servePolicy(t, func(c *tls.Conn) { forever(goodHead+"\r\n", "\n")(c) })
	f := newTestFetcher(t, s, Config{Roots: s.ca.pool()})
	counted := countReads(f)
	p, err := f.Fetch(t.Context(), fetchDomain())
	wantFetch(t, "an endless body", p, err, TooLarge, "")
	if n := counted.Load(); n > 2*maxPolicy {
		t.Errorf("%d bytes read", n)
	}
}

// TestFetchCertificateFlood: the certificates of a handshake are bounded, too.
func TestFetchCertificateFlood(t *testing.T) {
	noLeaks(t)
	ca := newCA(t)
	host := sign(t, leaf(t, policyHost), ca)
	chain := host.chain()
	for range 1000 {
		chain.Certificate = append(chain.Certificate, ca.cert.Raw)
	}
	p := listen(t, overTLS(&tls.Config{Certificates: []tls.Certificate{chain}}, func(*tls.Conn) {}))
	policy, err := newTestFetcher(t, p, Config{Roots: ca.pool()}).Fetch(t.Context(), fetchDomain())
	wantFetch(t, "1000 certificates", policy, err, Unreachable, "exceeds maximum")
}
