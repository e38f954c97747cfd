package dnsclient

import (
	"encoding/binary"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/stsmapd/stsmapd/resolver/dnsclient/dnstest"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// packReply returns the header and question of a packed reply, followed by the bytes of count answers.
func packReply(packed []byte, count int, records ...byte) []byte {
	end := headerLen
	for packed[end] != 0 {
		end += int(packed[end]) + 1
	}
	m := append([]byte{}, packed[:end+5]...) // the root label, type and class
	binary.BigEndian.PutUint16(m[6:], uint16(count))
	binary.BigEndian.PutUint16(m[8:], 0)
	binary.BigEndian.PutUint16(m[10:], 0)
	return append(m, records...)
}

// txtRecord returns a TXT record without its owner's name.
func txtRecord(data ...byte) []byte {
	return append([]byte{0, byte(dns.TypeTXT), 0, dns.ClassINET, 0, 0, 0, 60, byte(len(data) >> 8), byte(len(data))},
		data...)
}

// pointer returns the pointer of a compressed name to an offset.
func pointer(to int) []byte { return []byte{0xc0 | byte(to>>8), byte(to)} }

// TestCompressionTricks: names whose pointers lead to no name. Parsing one must end, and none is an answer.
func TestCompressionTricks(t *testing.T) {
	good := txtRecord(append([]byte{12}, "v=STSv1; id=x"[:12]...)...)
	for _, tc := range []struct {
		why     string
		records func(at int) []byte // at: the offset where they begin
	}{
		{"a pointer to itself", func(at int) []byte { return append(pointer(at), good...) }},
		{"two pointers to each other",
			func(at int) []byte { return append(append(pointer(at+2), pointer(at)...), good...) }},
		{"a label before a pointer to it",
			func(at int) []byte { return append(append([]byte{1, 'a'}, pointer(at)...), good...) }},
		{"a pointer past the end", func(int) []byte { return append(pointer(0x3fff), good...) }},
		{"a pointer forward, to a label that never ends", func(at int) []byte {
			return append(append(pointer(at+2+len(good)), good...), 63)
		}},
		{"half a pointer", func(int) []byte { return []byte{0xc0} }},
		{"a reserved kind of label", func(int) []byte { return append([]byte{0x80, 0}, good...) }},
		{"another", func(int) []byte { return append([]byte{0x40, 0}, good...) }},
		{"a chain of a thousand pointers", func(at int) []byte {
			chain := pointer(headerLen)
			for i := range 1000 {
				chain = append(chain, pointer(at+2*i)...)
			}
			return append(append(chain, pointer(at+2000)...), good...)
		}},
		{"a name that grows past 255 bytes by its pointer", func(at int) []byte {
			long := strings.Repeat("\x3f"+strings.Repeat("a", 63), 3)
			name := append([]byte(long), pointer(at)...)
			return append(append([]byte(long), 0), append(name, good...)...)
		}},
		{"data longer than the message", func(int) []byte {
			return append(pointer(headerLen), 0, byte(dns.TypeTXT), 0, dns.ClassINET, 0, 0, 0, 60, 0xff, 0xff, 1, 'a')
		}},
		{"a string longer than its data",
			func(int) []byte { return append(pointer(headerLen), txtRecord(200, 'v', '=')...) }},
		{"an alias that points to itself", func(at int) []byte {
			return append(pointer(headerLen), 0, byte(dns.TypeCNAME), 0, dns.ClassINET, 0, 0, 0, 60, 0, 2,
				0xc0|byte((at+12)>>8), byte(at+12))
		}},
	} {
		t.Run(tc.why, func(t *testing.T) {
			c, srv := newTestClient(t, zoneOne)
			srv.On(asked, dns.TypeTXT, dnstest.Raw(func(packed []byte) []byte {
				return packReply(packed, 1, tc.records(len(packReply(packed, 0)))...)
			}))
			got, err := c.TXT(t.Context(), asked)
			checkKind(t, err, Malformed)
			if len(got.Records) > 0 || srv.Total() != 3 {
				t.Errorf("got %+v after %d questions", got, srv.Total())
			}
		})
	}
}

// TestManyRecords: for an answer of the largest size, the records kept and the work are bounded.
func TestManyRecords(t *testing.T) {
	record := append(pointer(headerLen), txtRecord(3, 'a', 'b', 'c')...)
	for _, tc := range []struct {
		why     string
		records int
		data    func(i int) []byte
		want    int
	}{
		{"a hundred", 100, func(i int) []byte { return []byte{2, byte(i), byte(i >> 8)} }, 100},
		{"as many as fit", 60_000 / len(record), func(i int) []byte { return []byte{3, 0, byte(i), byte(i >> 8)} },
			maxRecords},
		{"as many, all alike", 60_000 / len(record), func(int) []byte { return []byte{3, 'a', 'b', 'c'} }, 1},
		{"as many, all empty", 60_000 / len(record), func(int) []byte { return []byte{0, 0, 0, 0} }, 1},
		{"a few large ones", 230, func(i int) []byte { return append([]byte{255, byte(i)}, make([]byte, 254)...) },
			maxRecords},
	} {
		t.Run(tc.why, func(t *testing.T) {
			c, srv := newTestClient(t, zoneOne)
			srv.On(asked, dns.TypeTXT, func(q *dnstest.Query) {
				if q.Net == "udp" {
					dnstest.Truncate(q)
					return
				}
				var records []byte
				for i := range tc.records {
					records = append(append(records, pointer(headerLen)...), txtRecord(tc.data(i)...)...)
				}
				dnstest.Raw(func(packed []byte) []byte { return packReply(packed, tc.records, records...) })(q)
			})
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			watch, begin := testkit.StartWatch(t), time.Now()
			got, err := c.TXT(t.Context(), asked)
			took := time.Since(begin)
			runtime.ReadMemStats(&after)
			if err != nil || len(got.Records) != tc.want {
				t.Errorf("got %d records, %v, want %d", len(got.Records), err, tc.want)
			}
			// The number includes the server's allocations.
			if n := after.TotalAlloc - before.TotalAlloc; n > 32<<20 || took > watch.Limit(10*time.Second) {
				t.Errorf("%d bytes allocated, in %v", n, took)
			}
		})
	}
}

// TestLateAnswer: an answer that arrives after the timeout is ignored and does not affect the next question.
func TestLateAnswer(t *testing.T) {
	srv := dnstest.New(t, dnstest.Config{Zone: zoneOne, Strict: true})
	release := make(chan struct{})
	late := dnstest.Hold(release, dnstest.Records(asked+" TXT late"))
	srv.On(asked, dns.TypeTXT, late, dnstest.Answer)
	c := newClient(t, Config{Servers: []string{srv.Addr()}, Timeout: mediumTimeout, Attempts: 20})
	for range 2 {
		got, err := c.TXT(t.Context(), asked)
		check(t, got, err, answerOne)
		if release != nil {
			close(release)
			release = nil
		}
	}
}

// rawServer answers each question by UDP with an empty truncated message, and calls f with the question that then
// arrives by TCP. It ends with the test.
func rawServer(t *testing.T, f func(c net.Conn, question []byte, done <-chan struct{})) (addr string) {
	t.Helper()
	srv, err := dnstest.Start(dnstest.Config{}) // finds a port that is free for UDP and TCP
	if err != nil {
		t.Fatal(err)
	}
	addr = srv.Addr()
	if err := srv.Close(); err != nil {
		t.Fatal(err)
	}
	pc, err := net.ListenPacket("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	done := make(chan struct{})
	t.Cleanup(func() {
		close(done)
		pc.Close()
		l.Close()
		serving.Wait()
	})
	serving.Go(func() {
		buf := make([]byte, 4096)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			buf[2] |= 0x82 // a response, truncated
			binary.BigEndian.PutUint16(buf[10:], 0)
			_, _ = pc.WriteTo(packReply(buf[:n], 0), from)
		}
	})
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer c.Close()
				question := make([]byte, 512)
				n, err := c.Read(question)
				if err == nil {
					f(c, question[:n], done)
				}
			})
		}
	})
	return addr
}

// TestHalfAnswers: a server that has sent a part of an answer by TCP has no more time than one that sends nothing.
func TestHalfAnswers(t *testing.T) {
	wait := func(c net.Conn, done <-chan struct{}) {
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			_, _ = c.Read(make([]byte, 1)) // returns when the client closes
		}()
		select {
		case <-gone:
		case <-done:
			c.Close()
			<-gone
		}
	}
	flood := func(frame func(question []byte) []byte) func(net.Conn, []byte, <-chan struct{}) {
		return func(c net.Conn, question []byte, _ <-chan struct{}) {
			f := frame(question)
			for {
				if _, err := c.Write(f); err != nil {
					return
				}
			}
		}
	}
	for _, tc := range []struct {
		why  string
		f    func(net.Conn, []byte, <-chan struct{})
		kind Kind
	}{
		{"half a length", func(c net.Conn, _ []byte, done <-chan struct{}) { c.Write([]byte{2}); wait(c, done) },
			Timeout},
		{"a length and no more",
			func(c net.Conn, _ []byte, done <-chan struct{}) { c.Write([]byte{2, 0}); wait(c, done) }, Timeout},
		{"half an answer", func(c net.Conn, q []byte, done <-chan struct{}) { c.Write(q[:len(q)/2]); wait(c, done) },
			Timeout},
		{"half an answer, then the end", func(c net.Conn, q []byte, _ <-chan struct{}) { c.Write(q[:len(q)/2]) },
			Network},
		{"byte by byte", func(c net.Conn, _ []byte, done <-chan struct{}) {
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			for b := []byte{0xff}; ; b = []byte{1} {
				if _, err := c.Write(b); err != nil {
					return
				}
				select {
				case <-tick.C:
				case <-done:
					return
				}
			}
		}, Timeout},
		{"endless empty messages", flood(func([]byte) []byte { return []byte{0, 0} }), Timeout},
		{"endless messages with another id", flood(func(q []byte) []byte {
			f := append([]byte{}, q...)
			f[2], f[4] = f[2]^0xff, f[4]|0x80
			return f
		}), Timeout},
	} {
		t.Run(tc.why, func(t *testing.T) {
			t.Parallel()
			c := newClient(t, Config{Servers: []string{rawServer(t, tc.f)}, Timeout: mediumTimeout, Attempts: 2})
			watch, begin := testkit.StartWatch(t), time.Now()
			_, err := c.TXT(t.Context(), asked)
			checkKind(t, err, tc.kind)
			if took, limit := time.Since(begin), watch.Limit(10*time.Second); took > limit {
				t.Errorf("took %v, may take %v", took, limit)
			}
		})
	}
}

// TestForgersFlood: endless forged packets neither extend the timeout nor keep the true answer out.
func TestForgersFlood(t *testing.T) {
	flood := func(n int, then dnstest.Hook) dnstest.Hook {
		return func(q *dnstest.Query) {
			for i := range n {
				m := q.Reply.Copy()
				m.Id += uint16(1 + i%65535)
				m.Answer = dnstest.RRs(fmt.Sprintf("%s TXT forged%d", asked, i))
				raw, err := m.Pack()
				if err != nil {
					panic(err)
				}
				q.SendRaw(raw)
			}
			then(q)
		}
	}
	srv := dnstest.New(t, dnstest.Config{Zone: zoneOne, Strict: true})
	// Packets beyond the socket's buffer may push out the true answer; the next attempt gets it.
	srv.On(asked, dns.TypeTXT, flood(20_000, dnstest.Answer), flood(50, dnstest.Answer))
	c := newClient(t, Config{Servers: []string{srv.Addr()}, Timeout: 2 * time.Second, Attempts: 20})
	got, err := c.TXT(t.Context(), asked)
	check(t, got, err, answerOne)
}
