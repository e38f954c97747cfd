package socketmap

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/stsmapd/stsmapd/resolver/testkit"
	"github.com/stsmapd/stsmapd/socketmap/netstring"
)

// conversations are the table of TestConversations and the seeds of FuzzConversation.
var conversations = []struct {
	sent, answered, why string
}{
	{frame("sts example.com"), frame("OK sts|example.com"), "a question and its answer"},
	{frame("sts unknown"), frame("NOTFOUND "), "the space after NOTFOUND"},
	{frame("sts [mail.example.com]:587"), frame("OK sts|[mail.example.com]:587"), "the key is not interpreted"},
	{frame("sts a key with spaces "), frame("OK sts|a key with spaces "),
		"the map name ends at the first space, the key at the end"},
	{frame("sts "), frame("OK sts|"), "an empty key is passed to the handler"},
	{frame(" example.com"), frame("OK |example.com"), "as is an empty map name"},
	{frame("sts \xff\xfe\x00,"), frame("OK sts|\xff\xfe\x00,"), "a key is bytes, not UTF-8"},
	{frame("sts " + strings.Repeat("k", 9996)), frame("OK sts|" + strings.Repeat("k", 9996)), "exactly 10,000 bytes"},
	{frame("sts a") + frame("sts unknown") + frame("sts b"), frame("OK sts|a") + frame("NOTFOUND ") + frame("OK sts|b"),
		"pipelined: answered in order"},

	{frame("example.com") + frame("sts a"),
		frame("PERM the request has no space: want a map name, a space and a key") + frame("OK sts|a"),
		"no space: refused, but the frame is valid"},
	{"0:," + frame("sts a"),
		frame("PERM the request has no space: want a map name, a space and a key") + frame("OK sts|a"),
		"empty: the same"},

	{frame("sts a") + "10001:sts",
		frame("OK sts|a") + frame("PERM request too long: map name, space and key have at most 10000 bytes"),
		"too long: refused before the payload arrives; the request before it is answered"},
	{"999999999999999999999:" + frame("sts a"),
		frame("PERM request too long: map name, space and key have at most 10000 bytes"),
		"far too long: nothing after it is read"},
	{"007:sts a.b," + frame("sts a"), frame("PERM malformed request: netstring: byte 1: the length has a leading zero"),
		"leading zeros: no second spelling"},
	{"GET / HTTP/1.1\r\n\r\n", frame("PERM malformed request: netstring: byte 0: want a digit of the length, got 'G'"),
		"a browser"},
	{"5:sts a;" + frame("sts a"),
		frame("PERM malformed request: netstring: byte 7: want a comma after the payload, got ';'"),
		"no comma: the next frame cannot be found"},

	{frame("sts a") + frame("sts hangup") + frame("sts b"), frame("OK sts|a"),
		"a hangup sends nothing and closes the connection; earlier replies are sent"},
	{frame("DUMP") + frame("sts b"), frame("PERM not here"),
		"a last reply: the connection ends, for a client that is not Postfix"},
	{frame("sts a") + frame("sts panic") + frame("sts b"), frame("OK sts|a"), "as does a panic"},
	{frame("sts a") + "15:sts exam", frame("OK sts|a"),
		"the peer closes inside a request: no reply to a part of a request"},
	{"", "", "the peer sends nothing"},
}

func TestConversations(t *testing.T) {
	for _, c := range conversations {
		if got := play(echo, c.sent).written.String(); got != c.answered {
			t.Errorf("%s: to %.60q the answer is %.200q, want %.200q", c.why, c.sent, got, c.answered)
		}
		if got := play(echo, strings.Split(c.sent, "")...).written.String(); got != c.answered {
			t.Errorf("%s: to %.60q, byte by byte, the answer is %.200q, want %.200q", c.why, c.sent, got, c.answered)
		}
	}
}

// FuzzConversation checks that any bytes give valid replies, and the same ones however the bytes are cut.
func FuzzConversation(f *testing.F) {
	for _, c := range conversations {
		f.Add([]byte(c.sent), 3)
	}
	f.Fuzz(func(t *testing.T, sent []byte, size int) {
		whole := play(echo, string(sent)).written.Bytes()
		size = min(max(size, 1+len(sent)/100), 10_000) // few enough chunks to be fast
		var chunks []string
		for rest := string(sent); rest != ""; {
			n := min(size, len(rest))
			chunks, rest = append(chunks, rest[:n]), rest[n:]
		}
		if cut := play(echo, chunks...).written.Bytes(); !bytes.Equal(cut, whole) {
			t.Fatalf("in chunks of %d the answer is %q, whole it is %q", size, cut, whole)
		}
		for len(whole) > 0 {
			payload, n, err := netstring.Parse(whole, maxReplyPayload)
			if err != nil {
				t.Fatalf("broken reply %q: %v", whole, err)
			}
			if _, err := parseReply(payload); err != nil {
				t.Fatalf("reply %q: %v", payload, err)
			}
			whole = whole[n:]
		}
	})
}

func TestRepliesAreBatchedOnlyBehindWholeRequests(t *testing.T) {
	q := frame("sts example.com")
	for _, c := range []struct {
		chunks []string
		writes int
		why    string
	}{
		{[]string{q, q, q}, 3, "one request in one read"},
		{[]string{q + q + q}, 1, "three in one read: one write"},
		{[]string{q + q + q[:5], q[5:]}, 2,
			"two and a part: the two replies do not wait for the rest of the third request"},
	} {
		if s := play(echo, c.chunks...); s.writes != c.writes ||
			s.written.String() != strings.Repeat(frame("OK sts|example.com"), 3) {
			t.Errorf("%s: %d writes of %q, want %d", c.why, s.writes, s.written.String(), c.writes)
		}
	}
	long := HandlerFunc(func(context.Context, Request) Reply { return OK(strings.Repeat("x", 3_000)) })
	if s := play(long, strings.Repeat("2:a ,", 100)); s.writes < 50 {
		t.Errorf("300 kB of replies to questions sent together went out in %d writes: memory is not bounded", s.writes)
	}
}

func TestWholeRequestsSetNoReadDeadline(t *testing.T) {
	q := frame("sts example.com")
	if s := play(echo, q, q, q+q, q); s.readDeadlines != 0 {
		t.Errorf("%d read deadlines for whole requests, want none", s.readDeadlines)
	}
	if s := play(echo, q[:3], q[3:5], q[5:], q); s.readDeadlines != 2 {
		t.Errorf("%d read deadlines for a request in three parts, want 2: one set, one cleared", s.readDeadlines)
	}
	if s := play(echo, q+q[:3], q[3:]+q[:3], q[3:], q); s.readDeadlines != 3 {
		t.Errorf("%d read deadlines for two requests with a break inside, want 3: one for each, one cleared",
			s.readDeadlines)
	}
}

func TestBuffersStaySmall(t *testing.T) {
	long := frame("sts " + strings.Repeat("k", 9_000))
	s := play(echo, long, frame("sts a"))
	if s.largestRead > maxRequestFrame {
		t.Errorf("a read buffer of %d bytes, more than the longest request", s.largestRead)
	}
	if s.lastRead != startBuffer {
		t.Errorf("after a long request the idle buffer has %d bytes, want %d", s.lastRead, startBuffer)
	}
	s = play(echo, "9999:") // announces a payload and does not send it
	if s.largestRead > startBuffer {
		t.Errorf("an announcement alone made the buffer %d bytes", s.largestRead)
	}
	s = play(echo, "9999:", strings.Repeat("x", 600))
	if s.largestRead > 2*600 {
		t.Errorf("600 bytes of an announced 9,999 made the buffer %d bytes", s.largestRead)
	}
}

func TestBufferIsFullAtItsLimit(t *testing.T) {
	var b buffer
	src := strings.NewReader(strings.Repeat("x", 5_000))
	for range 100 {
		if err := b.fill(src, 1_000); err != nil {
			if !errors.Is(err, errBufferFull) || len(b.unread()) != 1_000 {
				t.Fatalf("%v with %d bytes", err, len(b.unread()))
			}
			return
		}
	}
	t.Fatal("a full buffer still reads")
}

func TestMalformedIsLoggedOnceAMinute(t *testing.T) {
	var log testkit.Log
	srv := &Server{Handler: echo, Logger: log.Logger()}
	srv.init()
	for range 100 {
		srv.addConn(&script{chunks: []string{"GET / HTTP/1.1\r\n"}}, false).serve(srv.ctx)
	}
	if n := log.Events("socketmap_malformed"); n != 1 {
		t.Errorf("%d log lines for 100 malformed requests within a minute, want 1:\n%s", n, log.String())
	}
	for _, want := range []string{"level=WARN", "peer=local", `begins="GET / HTTP/1.1\r\n"`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %s in\n%s", want, log.String())
		}
	}
	if srv.Conns() != 0 {
		t.Errorf("%d connections are left", srv.Conns())
	}
}

func TestPanicIsLogged(t *testing.T) {
	var log testkit.Log
	srv := &Server{Handler: echo, Logger: log.Logger()}
	srv.init()
	srv.addConn(&script{chunks: []string{frame("sts panic")}}, false).serve(srv.ctx)
	for _, want := range []string{"event=socketmap_panic", "the handler fell over", "sts panic", "helpers_test.go"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %q in\n%s", want, log.String())
		}
	}
}
