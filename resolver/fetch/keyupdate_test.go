package fetch

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// tls13Writer writes TLS 1.3 records by its own hand (RFC 8446 section 5.2), for what crypto/tls never sends.
type tls13Writer struct {
	t      testing.TB
	secret []byte
	aead   cipher.AEAD
	iv     []byte
	seq    uint64
}

// newTLS13Writer starts from the server's first application traffic secret, as SSLKEYLOGFILE has it.
func newTLS13Writer(t testing.TB, keyLog string) *tls13Writer {
	_, line, found := strings.Cut(keyLog, "SERVER_TRAFFIC_SECRET_0 ")
	fields := strings.Fields(line)
	if !found || len(fields) < 2 {
		t.Errorf("no secret in the key log")
		return nil
	}
	secret, err := hex.DecodeString(fields[1])
	if err != nil {
		t.Errorf("key log: %v", err)
		return nil
	}
	w := &tls13Writer{t: t}
	w.use(secret)
	return w
}

func (w *tls13Writer) expand(label string, n int) []byte {
	label = "tls13 " + label
	info := binary.BigEndian.AppendUint16(nil, uint16(n))
	info = append(append(append(info, byte(len(label))), label...), 0)
	out, err := hkdf.Expand(sha256.New, w.secret, string(info), n)
	if err != nil {
		w.t.Errorf("HKDF: %v", err)
	}
	return out
}

func (w *tls13Writer) use(secret []byte) {
	w.secret, w.seq = secret, 0
	block, err := aes.NewCipher(w.expand("key", 16))
	if err != nil {
		w.t.Errorf("AES: %v", err)
		return
	}
	if w.aead, err = cipher.NewGCM(block); err != nil {
		w.t.Errorf("GCM: %v", err)
	}
	w.iv = w.expand("iv", 12)
}

func (w *tls13Writer) record(kind byte, content []byte) []byte {
	nonce := bytes.Clone(w.iv)
	for i, b := range binary.BigEndian.AppendUint64(nil, w.seq) {
		nonce[4+i] ^= b
	}
	w.seq++
	head := []byte{23, 3, 3, 0, 0}
	binary.BigEndian.PutUint16(head[3:], uint16(len(content)+1+w.aead.Overhead()))
	return w.aead.Seal(head, nonce, append(bytes.Clone(content), kind), bytes.Clone(head))
}

// keyUpdate asks the other side to answer with a key update of its own (RFC 8446 section 4.6.3).
func (w *tls13Writer) keyUpdate() []byte {
	const handshake, keyUpdate, updateRequested = 22, 24, 1
	r := w.record(handshake, []byte{keyUpdate, 0, 0, 1, updateRequested})
	w.use(w.expand("traffic upd", 32))
	return r
}

// TestFetchKeyUpdates: a policy host that asks for key updates without end and reads none of the answers makes the
// fetcher's own writes block, in the midst of reading. That must not outlast the fetch.
func TestFetchKeyUpdates(t *testing.T) {
	noLeaks(t)
	ca := newCA(t)
	cert := sign(t, leaf(t, policyHost), ca).chain()
	p := listen(t, func(raw net.Conn) {
		raw.SetDeadline(time.Now().Add(testkit.Hang))
		if err := raw.(*net.TCPConn).SetReadBuffer(4096); err != nil {
			t.Error(err)
		}
		var keyLog bytes.Buffer
		overTLS(&tls.Config{
			Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true,
			KeyLogWriter: &keyLog,
		}, func(c *tls.Conn) {
			if suite := c.ConnectionState().CipherSuite; suite != tls.TLS_AES_128_GCM_SHA256 {
				t.Errorf("cipher suite %s is not provided for by this test", tls.CipherSuiteName(suite))
				return
			}
			w := newTLS13Writer(t, keyLog.String())
			if w == nil {
				return
			}
			const data = 23
			_, err := raw.Write(w.record(data, []byte(goodHead+"\r\n"+goodPolicy)))
			for err == nil {
				// The byte keeps TLS from counting the key updates as useless.
				_, err = raw.Write(append(w.record(data, []byte("\n")), w.keyUpdate()...))
			}
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("the connection was not reset")
			}
		})(raw)
	})
	f := newTestFetcher(t, p, Config{Roots: ca.pool(), Timeout: 500 * ms})
	connect := f.dialer.connect
	f.dialer.connect = func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
		c, err := connect(ctx, to)
		if err == nil {
			err = c.(openConn).SetWriteBuffer(4096)
		}
		return c, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		policy, err := f.Fetch(t.Context(), fetchDomain())
		wantFetch(t, "endless key updates", policy, err, Unreachable, "not finished within 500ms")
	}()
	select {
	case <-done:
	case <-time.After(testkit.Hang):
		t.Fatal("the fetch does not end")
	}
}

// TestFetchOneKeyUpdate shows that the records of the test above are right: one key update does no harm.
func TestFetchOneKeyUpdate(t *testing.T) {
	noLeaks(t)
	ca := newCA(t)
	cert := sign(t, leaf(t, policyHost), ca).chain()
	p := listen(t, func(raw net.Conn) {
		var keyLog bytes.Buffer
		overTLS(&tls.Config{
			Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true,
			KeyLogWriter: &keyLog,
		}, func(*tls.Conn) {
			w := newTLS13Writer(t, keyLog.String())
			if w == nil {
				return
			}
			const alert, data = 21, 23
			out := w.record(data, []byte(goodHead+"\r\n"))
			out = append(out, w.keyUpdate()...)
			out = append(out, w.record(data, []byte(goodPolicy))...)
			out = append(out, w.record(alert, []byte{1, 0})...) // close_notify
			raw.Write(out)
			io.Copy(io.Discard, raw)
		})(raw)
	})
	policy, err := newTestFetcher(t, p, Config{Roots: ca.pool()}).Fetch(t.Context(), fetchDomain())
	wantFetch(t, "one key update", policy, err, 0, "")
}
