package fetch

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"
)

// TestInspect holds Inspect to Fetch, and to what it shows beside.
func TestInspect(t *testing.T) {
	noLeaks(t)
	const via = "with " + publicIPv4 + ":443"
	ca := newCA(t)
	server := func(cert tls.Certificate, f func(*tls.Conn)) *peer {
		return listen(t, overTLS(&tls.Config{Certificates: []tls.Certificate{cert}}, f))
	}
	good := sign(t, leaf(t, policyHost), ca).chain()
	expired := leaf(t, policyHost)
	expired.NotAfter = time.Now().Add(-time.Minute)
	for _, c := range []struct {
		why   string
		peer  *peer
		kind  Kind
		body  string
		shook bool // TLS came about
		chain int
		via   string
	}{
		{"a good policy", server(good, respond(goodHead+"\r\n"+goodPolicy)), 0, goodPolicy, true, 1, via},
		{"an invalid one", server(good, respond(goodHead+"\r\nversion: STSv2\n")), Invalid, "version: STSv2\n",
			true, 1, via},
		{"an empty one", server(good, respond(goodHead+"Content-Length: 0\r\n\r\n")), Invalid, "", true, 1, via},
		{"no policy", server(good, respond("HTTP/1.1 404 Not Found\r\n\r\n"+goodPolicy)), Refused, "", true, 1,
			via},
		{"another media type", server(good, respond("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n"+goodPolicy)),
			MediaType, "", true, 1, via},
		{"an expired certificate", server(sign(t, expired, ca).chain(ca), nil), Certificate, "", false, 2, via},
		{"another's certificate", server(sign(t, leaf(t, "www.example.test"), ca).chain(), nil), Certificate, "",
			false, 1, via},
		{"no TLS", listen(t, func(c net.Conn) { _, _ = c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) }),
			Unreachable, "", false, 0, via},
	} {
		f := newTestFetcher(t, c.peer, Config{Roots: ca.pool()})
		connect := f.dialer.connect
		f.ConnectBy(func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
			conn, err := connect(ctx, to)
			if err != nil {
				return nil, err
			}
			return elsewhere{conn, net.TCPAddrFromAddrPort(to)}, nil
		})
		in := f.Inspect(t.Context(), fetchDomain())
		wantFetch(t, c.why, in.Policy, in.Err, c.kind, "")
		if string(in.Body) != c.body || in.Via != c.via || len(in.Chain) != c.chain ||
			in.TLS.HandshakeComplete != c.shook {
			t.Errorf("%s: body %q, via %q, %d certificates, TLS %v", c.why, in.Body, in.Via, len(in.Chain),
				in.TLS.HandshakeComplete)
		}
		if c.shook && (in.TLS.Version != tls.VersionTLS13 || in.TLS.CipherSuite == 0) {
			t.Errorf("%s: TLS %#x", c.why, in.TLS.Version)
		}
		_, err := f.Fetch(t.Context(), fetchDomain())
		wantFetch(t, c.why+", by Fetch", in.Policy, err, c.kind, "")
	}
}

// TestInspectReachesNobody: without a connection there is nothing to show but the reason.
func TestInspectReachesNobody(t *testing.T) {
	f := New(&addressDNS{t: t, host: policyHost}, Config{Roots: newCA(t).pool()})
	f.proxy = newTestFetcher(t, nil, Config{}).proxy
	in := f.Inspect(t.Context(), fetchDomain())
	wantFetch(t, "no address", in.Policy, in.Err, Unreachable, "no address in the DNS")
	if in.Via != "" || in.Chain != nil || in.Body != nil {
		t.Errorf("%+v", in)
	}
	in = New(nil, Config{}).Inspect(t.Context(), fetchDomain())
	if !errors.Is(in.Err, ErrNoRoots) {
		t.Errorf("without roots: %v", in.Err)
	}
}

// elsewhere is a connection that is said to lead to another address.
type elsewhere struct {
	net.Conn
	remote net.Addr
}

func (e elsewhere) RemoteAddr() net.Addr { return e.remote }
