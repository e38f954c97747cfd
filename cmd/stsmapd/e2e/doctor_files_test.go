package e2e

import (
	"crypto/x509"
	"encoding/pem"
	"io"
	"net"
	"os"
	"slices"
	"testing"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
)

// writePairs writes a certificate with its key, in both orders, and another key.
func writePairs(t *testing.T, w *world.World, write func(name string, text []byte)) {
	t.Helper()
	var blocks [2][2][]byte
	for i := range blocks {
		certificate := world.Certificate(t)(w.CA.Issue("mta.sender.test"))
		key, err := x509.MarshalPKCS8PrivateKey(certificate.PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		blocks[i][0] = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]})
		blocks[i][1] = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
	}
	write("pair.pem", slices.Concat(blocks[0][0], blocks[0][1]))
	write("chain.pem", slices.Concat(blocks[0][1], blocks[0][0]))
	write("otherkey.pem", blocks[1][1])
}

// forward opens a UNIX socket that every user may use, and passes its connections on to another one.
func forward(t *testing.T, from, to string) {
	t.Helper()
	l, err := net.Listen("unix", from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(from, 0o666); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go passOn(l, to)
}

// passOn passes the connections of a listener on to the UNIX socket at this path, until the listener is closed.
func passOn(l net.Listener, path string) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			other, err := net.Dial("unix", path)
			if err != nil {
				return // the client sees the connection end
			}
			defer other.Close()
			go func() {
				_, _ = io.Copy(other, conn)
				_ = other.Close()
			}()
			_, _ = io.Copy(conn, other)
		}()
	}
}

// appendTo writes text behind what a file has.
func appendTo(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(readFile(t, name)+text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
