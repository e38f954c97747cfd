package fetch

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
)

// serveHTTP is the policy host as an ordinary web server.
func serveHTTP(t testing.TB, h http.HandlerFunc) *policyServer {
	t.Helper()
	ca := newCA(t)
	s := httptest.NewUnstartedServer(h)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{sign(t, leaf(t, policyHost), ca).chain()}}
	s.EnableHTTP2 = true // as most have it
	s.StartTLS()
	t.Cleanup(s.Close)
	return &policyServer{ca, &peer{Listener: s.Listener}}
}

// TestFetchRequest: what the policy host gets to see.
func TestFetchRequest(t *testing.T) {
	noLeaks(t)
	requests := make(chan *http.Request, 2)
	s := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		requests <- r
		http.SetCookie(w, &http.Cookie{Name: "c", Value: "1"})
		w.Header().Set("Cache-Control", "max-age=86400")
		w.Header().Set("ETag", `"1"`)
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprint(w, goodPolicy)
	})
	f := newTestFetcher(t, s, Config{Roots: s.ca.pool(), UserAgent: "stsmapd/test"})
	var from []string
	for range 2 {
		p, err := f.Fetch(t.Context(), fetchDomain())
		wantFetch(t, "an ordinary policy", p, err, 0, "")
		if p.Text != goodPolicy || len(p.MX()) != 1 || p.MaxAge != 604800*time.Second {
			t.Errorf("policy %+v", p)
		}
		r := <-requests
		if r.Method != "GET" || r.Host != policyHost || r.RequestURI != "/.well-known/mta-sts.txt" ||
			r.Proto != "HTTP/1.1" {
			t.Errorf("request %s %s %s to %s", r.Method, r.RequestURI, r.Proto, r.Host)
		}
		if !r.Close {
			t.Error("the server is not told that the connection ends here")
		}
		if r.UserAgent() != "stsmapd/test" {
			t.Errorf("User-Agent %q", r.UserAgent())
		}
		for _, name := range []string{
			"Cookie", "If-None-Match", "If-Modified-Since", "Authorization", "Range"} {
			if v, sent := r.Header[name]; sent {
				t.Errorf("%s: %q was sent, though no cookie or cache is wanted", name, v)
			}
		}
		if v := r.Header["Accept-Encoding"]; len(v) != 1 || v[0] != "identity" {
			t.Errorf("Accept-Encoding: %q, want identity alone", v)
		}
		if r.TLS.ServerName != policyHost || r.TLS.DidResume {
			t.Errorf("SNI %q, resumed %v", r.TLS.ServerName, r.TLS.DidResume)
		}
		from = append(from, r.RemoteAddr)
	}
	if from[0] == from[1] {
		t.Error("two fetches over one connection")
	}
}

// TestFetchHead: status and media type.
func TestFetchHead(t *testing.T) {
	noLeaks(t)
	type headers map[string]string
	plain := headers{"Content-Type": "text/plain"}
	for _, c := range []struct {
		why     string
		status  int
		headers headers
		kind    Kind
		text    string
	}{
		{"200", 200, plain, 0, ""},
		{"201 is no 200", 201, plain, Refused, "HTTP status 201, not 200"},
		{"206 is a part", 206, plain, Refused, "HTTP status 206"},
		{"a redirect must not be followed", 301,
			headers{"Content-Type": "text/plain", "Location": "/.well-known/mta-sts.txt?"}, Refused, "redirects"},
		{"a temporary one neither", 307,
			headers{"Content-Type": "text/plain", "Location": "https://" + policyHost + "/x"}, Refused,
			"HTTP status 307"},
		{"300 has a body but is no 200", 300, plain, Refused, "HTTP status 300"},
		{"404", 404, plain, Refused, "HTTP status 404, not 200"},
		{"401: no password is known", 401, headers{"Content-Type": "text/plain", "Www-Authenticate": "Basic"},
			Refused, "HTTP status 401"},
		{"503", 503, headers{"Content-Type": "text/plain", "Retry-After": "1"}, Refused, "HTTP status 503"},
		{"a status that nobody has defined", 999, plain, Refused, "HTTP status 999"},

		{"media type with a parameter", 200, headers{"Content-Type": "text/plain; charset=utf-8"}, 0, ""},
		{"in capitals", 200, headers{"Content-Type": "Text/PLAIN;charset=utf-8"}, 0, ""},
		{"with a parameter without a value", 200, headers{"Content-Type": "text/plain; charset"}, 0, ""},
		{"with a parameter twice", 200, headers{"Content-Type": "text/plain; charset=utf-8; charset=utf-8"}, 0, ""},
		{"with an empty parameter", 200, headers{"Content-Type": "text/plain ;"}, 0, ""},
		{"HTML, as for every file that is missing", 200, headers{"Content-Type": "text/html"}, MediaType,
			`media type "text/html", not text/plain`},
		{"no media type", 200, headers{"Content-Type": ""}, MediaType, `media type ""`},
		{"a longer word", 200, headers{"Content-Type": "text/plainer"}, MediaType, "text/plainer"},
		{"two types", 200, headers{"Content-Type": "text/plain, text/html"}, MediaType, "not text/plain"},
		{"a list of equal types", 200, headers{"Content-Type": "text/plain, text/plain; charset=utf-8,"}, 0, ""},
		{"a comma in a parameter", 200, headers{"Content-Type": `text/plain; a="b, text/html"`}, 0, ""},
		{"an empty list", 200, headers{"Content-Type": ", ,"}, MediaType, `media type ", ,"`},
		{"a type that is missing", 200, headers{"Content-Type": "; charset=utf-8"}, MediaType, "not text/plain"},
		{"a type that would spoil a log", 200, headers{"Content-Type": strings.Repeat("text/\u202e", 1000)},
			MediaType, `media type "text`},

		{"encoded though nobody asked", 200, headers{"Content-Type": "text/plain", "Content-Encoding": "gzip"},
			MediaType, `content encoding "gzip"`},
		{"not encoded, in so many words", 200, headers{"Content-Type": "text/plain", "Content-Encoding": "Identity"}, 0,
			""},
	} {
		var gets atomic.Int32
		s := serveHTTP(t, func(w http.ResponseWriter, _ *http.Request) {
			gets.Add(1)
			for k, v := range c.headers {
				w.Header().Set(k, v)
			}
			if c.headers["Content-Type"] == "" {
				w.Header()["Content-Type"] = nil // nor one that the server guesses
			}
			w.WriteHeader(c.status)
			fmt.Fprint(w, goodPolicy)
		})
		p, err := fetchFrom(t, s)
		wantFetch(t, c.why, p, err, c.kind, c.text)
		var failed *Error
		if errors.As(err, &failed) &&
			(!strings.Contains(err.Error(), "127.0.0.1:") || strings.Contains(failed.Err.Error(), "127.0.0.1")) {
			t.Errorf("%s: error %q should tell the address, its cause %q should not: reports to the domain's owner "+
				"are alike then", c.why, err, failed.Err)
		}
		if gets.Load() != 1 {
			t.Errorf("%s: %d requests", c.why, gets.Load())
		}
	}
}

// TestRepeatedContentType: two equal fields count as one, two different ones as none.
func TestRepeatedContentType(t *testing.T) {
	for _, c := range []struct {
		fields []string
		kind   Kind
	}{
		{[]string{"text/plain", "text/plain"}, 0},
		{[]string{"text/plain; charset=utf-8", "Text/Plain"}, 0},
		{[]string{"text/plain", "text/html"}, MediaType},
		{[]string{"text/html", "text/plain"}, MediaType},
		{nil, MediaType},
	} {
		s := serveHTTP(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = c.fields
			fmt.Fprint(w, goodPolicy)
		})
		p, err := fetchFrom(t, s)
		wantFetch(t, fmt.Sprint(c.fields), p, err, c.kind, "")
	}
}

// TestFetchBody: the file, its size and its grammar.
func TestFetchBody(t *testing.T) {
	noLeaks(t)
	full := goodPolicy + strings.Repeat("\r\n", (maxPolicy-len(goodPolicy))/2)
	full += strings.Repeat("\n", maxPolicy-len(full))
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write([]byte(goodPolicy)); err != nil || z.Close() != nil {
		t.Fatal("gzip")
	}
	for _, c := range []struct {
		why  string
		body string
		kind Kind
		text string
	}{
		{"as large as may be", full, 0, ""},
		{"a byte more is an error, though the rest alone would do", full + "\n", TooLarge,
			"the policy is larger than 65536 bytes"},
		{"much more", strings.Repeat(full, 100), TooLarge, "the policy is larger than 65536 bytes"},
		{"empty", "", Invalid, ""},
		{"an error page under status 200", "<html>not found</html>", Invalid, "line 1: "},
		{"compressed without saying so", packed.String(), Invalid, ""},
		{"no mode", "version: STSv1\nmx: a.example.test\nmax_age: 1\n", Invalid, "mode"},
		{"escape sequences", "version: STSv1\nmode: \x1b[2Jenforce\nmax_age: 1\n", Invalid, "line 2"},
	} {
		for _, framing := range []string{"chunked", "with its length"} {
			s := serveHTTP(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/plain")
				if framing == "chunked" {
					w.(http.Flusher).Flush()
				} else {
					w.Header().Set("Content-Length", fmt.Sprint(len(c.body)))
				}
				w.Write([]byte(c.body)) // fails where the client has had enough
			})
			p, err := fetchFrom(t, s)
			wantFetch(t, c.why+", "+framing, p, err, c.kind, c.text)
			var syntax *mtasts.SyntaxError
			if errors.As(err, &syntax) != (c.kind == Invalid) {
				t.Errorf("%s: %v: is it a *mtasts.SyntaxError?", c.why, err)
			}
		}
	}
}

// TestFetchUnreachable: nothing to talk to. One is refused by a real socket, the others never get so far.
func TestFetchUnreachable(t *testing.T) {
	noLeaks(t)
	closed := listen(t, func(net.Conn) {})
	closed.Close()
	ca := newCA(t)
	for _, c := range []struct {
		why  string
		dns  said
		text string
	}{
		{"connection refused", said{addrs: []string{publicIPv4}},
			"connect to 5.0.0.1:443: connect: connection refused"},
		{"no address", said{}, policyHost + ": no address in the DNS"},
		{"the DNS fails", said{err: "SERVFAIL from 192.0.2.53:53"}, "SERVFAIL from 192.0.2.53:53"},
		{"a loopback address", said{addrs: []string{"127.0.0.1"}},
			"127.0.0.1 is not public: refused, unless fetch.allow_private_addresses is set"},
	} {
		f := newTestFetcher(t, closed, Config{Roots: ca.pool()})
		f.dialer.dns = &addressDNS{t: t, host: policyHost, v4: c.dns}
		p, err := f.Fetch(t.Context(), fetchDomain())
		wantFetch(t, c.why, p, err, Unreachable, c.text)
	}
}

// TestFetchRebinding: a DNS that says something else each time it is asked gains nothing, for it is asked once.
func TestFetchRebinding(t *testing.T) {
	noLeaks(t)
	s := servePolicy(t, respond(goodHead+"\r\n"+goodPolicy))
	f := newTestFetcher(t, s, Config{Roots: s.ca.pool()})
	dns := &addressDNS{t: t, host: policyHost, v4: said{addrs: []string{publicIPv4}}}
	f.dialer.dns = dns
	connect := f.dialer.connect
	f.dialer.connect = func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
		if dns.queries.Load() != 2 {
			t.Errorf("%d questions before the connection", dns.queries.Load())
		}
		return connect(ctx, to)
	}
	p, err := f.Fetch(t.Context(), fetchDomain())
	wantFetch(t, "one address", p, err, 0, "")
	if n := dns.queries.Load(); n != 2 {
		t.Errorf("%d questions, want A and AAAA once", n)
	}
}

func TestFetchNames(t *testing.T) {
	d := dnsname.MustParse("Bücher.example")
	if got, want := PolicyURL(d), "https://mta-sts.xn--bcher-kva.example/.well-known/mta-sts.txt"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	words := map[string]bool{}
	for k := range kindCount + 1 {
		words[k.String()] = true
	}
	if len(words) != int(kindCount) || Kind(0).String() != "invalid_kind" ||
		kindCount.String() != "invalid_kind" {
		t.Errorf("words of the kinds: %v", words)
	}
}

func TestFetchErrorText(t *testing.T) {
	for _, c := range []struct{ why, in, want string }{
		{"an ordinary text", "HTTP status 404, not 200", "HTTP status 404, not 200"},
		{"one line", "a\nb\tc\r\n", "a b c  "},
		{"no escape sequences", "\x1b[31mred", "�[31mred"},
		{"nor those of Unicode", "a\u202eb\u0085c", "a�b c"},
		{"valid UTF-8", "a\xffb", "a�b"},
		{"other scripts", "ошибка", "ошибка"},
		{"cut between characters", strings.Repeat("é", 301), strings.Repeat("é", 300) + "…"},
		{"cut within one", "a" + strings.Repeat("é", 301), "a" + strings.Repeat("é", 299) + "…"},
	} {
		if got := printable(c.in); got != c.want {
			t.Errorf("%s: %q, want %q", c.why, got, c.want)
		}
	}
	cause := errors.New("cause")
	err := error(newError(fetchDomain(), failures{
		{host: "a.test", kind: Unreachable, err: errors.New("other")}, {stage: "connect", kind: Refused, err: cause}}))
	if !errors.Is(err, cause) ||
		err.Error() != "fetch https://mta-sts.example.test/.well-known/mta-sts.txt: a.test: other; connect: cause" {
		t.Errorf("%q, wraps its cause: %v", err, errors.Is(err, cause))
	}
}
