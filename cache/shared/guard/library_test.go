package guard

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/stsmapd/stsmapd/cache/shared/enginetest"
)

// libraryOptions returns the options of a client in each mode, with limits short enough for a fuzzer. KeepAlive is as
// long as stsmapd's: the library starts the timer of its pings before it reads from the connection, and a ping that
// comes in between reads beside it.
func libraryOptions(mode byte) valkey.ClientOption {
	opt := valkey.ClientOption{
		InitAddress: []string{"127.0.0.1:6379"}, DisableCache: true, DisableRetry: true, AlwaysPipelining: true,
		PipelineMultiplex: -1,
		ClientSetInfo:     valkey.DisableClientSetInfo, ConnWriteTimeout: 20 * time.Millisecond, RingScaleEachConn: 4,
		Dialer:            net.Dialer{Timeout: 20 * time.Millisecond, KeepAlive: time.Second},
		ForceSingleClient: mode%3 == 0,
	}
	switch mode % 3 {
	case 1:
		opt.ClusterOption.ShardsRefreshInterval = time.Second
		opt.ClusterOption.MaxMovedRedirections = 2
	case 2:
		opt.Sentinel = valkey.SentinelOption{MasterSet: "a", Dialer: opt.Dialer}
	}
	return opt
}

// exercise uses a client as stsmapd does, with a hostile engine behind the guard.
func exercise(t testing.TB, mode byte, at int, noise string) {
	engine := &enginetest.Hostile{At: func(i int, _ []string) bool { return i >= at }, Noise: noise}
	g := New(func(*Violation) {})
	var engines sync.WaitGroup
	opt := libraryOptions(mode)
	opt.DialCtxFn = func(_ context.Context, address string, _ *net.Dialer, _ *tls.Config) (net.Conn, error) {
		if err := g.admit(address); err != nil {
			return nil, err
		}
		here, there := net.Pipe()
		engines.Go(func() { engine.Serve(there) })
		return g.wrap(here, address), nil
	}
	defer engines.Wait()
	client, err := valkey.NewClient(opt)
	if client == nil {
		t.Log(err)
		return
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Millisecond)
	defer cancel()
	var uses sync.WaitGroup
	uses.Go(func() {
		_ = client.Receive(ctx, client.B().Subscribe().Channel("news").Build(), func(valkey.PubSubMessage) {})
	})
	lua := valkey.NewLuaScript("return 1")
	for range 3 {
		uses.Go(func() { _ = client.Do(ctx, client.B().Get().Key("k").Build()).Error() })
		uses.Go(func() { _, _ = lua.Exec(ctx, client, []string{"k"}, []string{"v"}).ToArray() })
	}
	uses.Wait()
}

// hostile has bytes that end a process with the library alone, by a panic or by the use of memory.
var hostile = []string{
	"+a\r\n+b\r\n", "$-5\r\n", "*-5\r\n", "*2000000000\r\n", "$10000000000\r\n", "%-1\r\n", "~-7\r\n", "|-1\r\n",
	"!-5\r\n", "=-5\r\n", ">-2\r\n",
	"%4611686018427387905\r\n", "$9223372036854775809\r\n", "$?\r\n;-4\r\n", "|2000000000\r\n",
	">3\r\n+subscribe\r\n+news\r\n:1\r\n",
	"+QUEUED\r\n", "-QUEUED\r\n", "-MOVED\r\n", "-MOVED 1\r\n", "-ASK\r\n", "*0\r\n", "~0\r\n", "*1\r\n+master\r\n",
	"-BUSY\r\n", "-BUSY\r\n-BUSY\r\n",
	"-NOPERM\r\n+OK\r\n", "+PONG\r\n", "+PONG\r\n+PONG\r\n", ">3\r\n+message\r\n+\r\n+\r\n",
	strings.Repeat(">3\r\n+subscribe\r\n+sentinel\r\n:1\r\n", 6) +
		event("+sentinel", "x") + event("+switch-master", "a") + event("+reboot", "master"),
	strings.Repeat("*1\r\n", 1000), "-ERR unknown command 'HELLO'\r\n", "*2\r\n+proto\r\n:2\r\n",
}

// TestLibrary: behind the guard, the hostile bytes do not end the process, in each mode and after each command. A panic
// would be in a goroutine of the library and end the test.
func TestLibrary(t *testing.T) {
	t.Parallel()
	for mode := range byte(3) {
		for at := range 8 {
			t.Run(fmt.Sprintf("mode %d, command %d", mode, at), func(t *testing.T) {
				t.Parallel()
				for _, noise := range hostile {
					exercise(t, mode, at, noise)
				}
			})
		}
	}
}

// FuzzLibrary: no bytes of an engine end the process.
func FuzzLibrary(f *testing.F) {
	for i, noise := range hostile {
		f.Add(byte(i), byte(i), noise)
	}
	f.Fuzz(func(t *testing.T, mode, at byte, noise string) { exercise(t, mode, int(at%8), noise) })
}
