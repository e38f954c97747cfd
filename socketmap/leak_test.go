package socketmap

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// endings are the ways in which a peer ends a connection. All but the last two leave the peer's own side open: the
// server must find the end.
var endings = []struct {
	why string
	end func(*testing.T, net.Conn)
}{
	{"the end comes with the request", func(t *testing.T, conn net.Conn) {
		send(t, conn, frame("sts a"))
		closeWrite(t, conn)
	}},
	{"the end comes after the reply", func(t *testing.T, conn net.Conn) {
		send(t, conn, frame("sts a"))
		wantNext(t, conn, frame("OK sts|a"))
		closeWrite(t, conn)
	}},
	{"the end comes inside a request", func(t *testing.T, conn net.Conn) {
		send(t, conn, frame("sts a")[:3])
		closeWrite(t, conn)
	}},
	{"a reset comes with the request", func(t *testing.T, conn net.Conn) {
		send(t, conn, frame("sts a"))
		if tcp, ok := conn.(*net.TCPConn); ok {
			if err := tcp.SetLinger(0); err != nil {
				t.Fatal(err)
			}
		}
		conn.Close()
	}},
	{"nothing comes, the peer closes", func(_ *testing.T, conn net.Conn) { conn.Close() }},
}

func closeWrite(t *testing.T, conn net.Conn) {
	t.Helper()
	if err := conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
}

// TestNoConnectionLeaks: peers end their connections in every way, at the first request and at a later one. The server
// ends all of them, and leaves neither a descriptor nor a goroutine.
func TestNoConnectionLeaks(t *testing.T) {
	const batch = 50 // of each kind at once
	needFiles(t, 2000)
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // Go closes what is forgotten when it collects garbage
	batches := testkit.Sample(t, "batches of connections that end in every way", 10, 1)
	for _, spec := range []string{"inet:127.0.0.1:0", "unix:" + filepath.Join(t.TempDir(), "s")} {
		srv := &Server{Handler: echo}
		ln, err := Listen(spec, ListenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		start(t, srv, ln)
		descriptors, goroutines := openDescriptors(t), runtime.NumGoroutine()
		for range batches {
			var conns []net.Conn
			for range batch {
				for _, e := range endings {
					for _, asked := range []int{0, 2 * firstReads} {
						conn := dialMany(t, ln.Addr().Network(), ln.Addr().String())
						conns = append(conns, conn)
						for range asked {
							send(t, conn, frame("sts a"))
							wantNext(t, conn, frame("OK sts|a"))
						}
						e.end(t, conn)
					}
				}
			}
			testkit.Eventually(t, testkit.Hang, "the end of all connections", func() bool { return srv.Conns() == 0 })
			for _, conn := range conns {
				conn.Close()
			}
		}
		testkit.Eventually(t, testkit.Hang, "no descriptor and no goroutine more than before", func() bool {
			return openDescriptors(t) <= descriptors && runtime.NumGoroutine() <= goroutines
		})
	}
}

// TestPartOfARequestEndsTheConnection: on a socket too, the rest of a request must come in time, at the first request
// and at a later one.
func TestPartOfARequestEndsTheConnection(t *testing.T) {
	for _, asked := range []int{0, 2 * firstReads} {
		for _, spec := range []string{"inet:127.0.0.1:0", "unix:" + filepath.Join(t.TempDir(), "s")} {
			srv := &Server{Handler: echo, ReadTimeout: time.Millisecond}
			ln, err := Listen(spec, ListenOptions{})
			if err != nil {
				t.Fatal(err)
			}
			start(t, srv, ln)
			conn := dialMany(t, ln.Addr().Network(), ln.Addr().String())
			for range asked {
				send(t, conn, frame("sts a"))
				wantNext(t, conn, frame("OK sts|a"))
			}
			send(t, conn, frame("sts a")+frame("sts b")[:3])
			wantNext(t, conn, frame("OK sts|a"))
			wantEnd(t, conn)
			testkit.Eventually(t, testkit.Hang, "the end of the connection", func() bool { return srv.Conns() == 0 })
		}
	}
}

func openDescriptors(t *testing.T) int {
	t.Helper()
	dir, err := os.ReadDir("/dev/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(dir)
}

// TestShutdownDoesNotWaitForAHandlerOnASocket: the handler of a real connection does not end. Shutdown returns when its
// context ends, and the peer sees the end without a reply.
func TestShutdownDoesNotWaitForAHandlerOnASocket(t *testing.T) {
	for _, spec := range []string{"inet:127.0.0.1:0", "unix:" + filepath.Join(t.TempDir(), "s")} {
		release, asked := make(chan struct{}), make(chan struct{}, 1)
		srv := &Server{Handler: HandlerFunc(func(context.Context, Request) Reply {
			asked <- struct{}{}
			<-release
			return OK("too late")
		})}
		ln, err := Listen(spec, ListenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		start(t, srv, ln)
		conn := dialMany(t, ln.Addr().Network(), ln.Addr().String())
		send(t, conn, frame("sts a"))
		<-asked
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := srv.Shutdown(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Shutdown: %v", err)
		}
		wantEnd(t, conn)
		close(release)
		testkit.Eventually(t, testkit.Hang, "the end of the connection", func() bool { return srv.Conns() == 0 })
	}
}
