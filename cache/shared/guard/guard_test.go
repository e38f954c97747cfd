package guard

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestFrames: each type of RESP passes only in its correct form.
func TestFrames(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", maxBulk)
	for _, c := range []struct {
		why, frame string
		refused    string // a part of the reason; "": the frame passes
	}{
		{"a simple string", "+OK\r\n", ""},
		{"an empty simple string", "+\r\n", ""},
		{"an error", "-NOSCRIPT No matching script.\r\n", ""},
		{"a line that ends in LF alone: the library would cut off a byte", "+OK\n", "CR LF"},
		{"nothing but LF: the library would cut before the line", "\n", "no type"},
		{"CR inside a line", "+a\rb\r\n", "no value"},
		{"the longest line", "+" + strings.Repeat("x", maxLine-2) + "\r\n", ""},
		{"a line without end: the library would buffer it", "+" + strings.Repeat("x", maxLine), "line of more than"},

		{"a string", "$5\r\na\r\nbc\r\n", ""},
		{"an empty string", "$0\r\n\r\n", ""},
		{"RESP2's null", "$-1\r\n", ""},
		{"the largest string", fmt.Sprintf("$%d\r\n%s\r\n", maxBulk, long), ""},
		{"one byte more", fmt.Sprintf("$%d\r\n", maxBulk+1), "no value has more"},
		{"the library would allocate 10 GB", "$10000000000\r\n", "no value has more"},
		{"the library would panic in make", "$-5\r\n", "no length"},
		{"minus zero", "$-0\r\n", "no length"},
		{"nothing after minus: the library reads 0", "$-\r\n", "no length"},
		{"no length", "$\r\n", "no length"},
		{"a length with a sign", "$+5\r\nabcde\r\n", "no length"},
		{"a length in letters", "$five\r\n", "no length"},
		{"a length that overflows int64: the library's would be negative", "$9223372036854775809\r\n", "no length"},
		{"a streamed string: the library would grow with each chunk", "$?\r\n;4\r\nabcd\r\n;0\r\n", "no length"},
		{"a chunk on its own", ";4\r\nabcd\r\n", "no type"},
		{"a string that is longer than it says: the library would skip two bytes, whatever they are",
			"$1\r\nabc\r\n", "does not end there"},
		{"a blob error", "!21\r\nSYNTAX invalid syntax\r\n", ""},
		{"a blob error of negative length", "!-1\r\n", "no length"},
		{"a large blob error", "!2000000000\r\n", "no value has more"},
		{"a verbatim string", "=7\r\ntxt:abc\r\n", ""},
		{"a verbatim string of negative length", "=-1\r\n", "no length"},
		{"a large verbatim string", "=2000000000\r\n", "no value has more"},

		{"an integer", ":-42\r\n", ""},
		{"no integer", ":4x\r\n", "no value"},
		{"an integer of nothing", ":\r\n", "no value"},
		{"an integer of more than 64 bits", ":9223372036854775808\r\n", "no value"},
		{"an integer without end", ":" + strings.Repeat("1", 40), "line of more than"},
		{"a null", "_\r\n", ""},
		{"a null with something: the library would be out of step", "_x\r\n", "no value"},
		{"true", "#t\r\n", ""},
		{"false", "#f\r\n", ""},
		{"neither: the library would be out of step", "#true\r\n", "no value"},
		{"a double", ",-1.5e3\r\n", ""},
		{"infinity", ",inf\r\n", ""},
		{"no double", ",one\r\n", "no value"},
		{"a big number", "(-3492890328409238509324850943850943825024385\r\n", "line of more than"},
		{"a big number of a size that anybody needs", "(-34928903284092385093\r\n", ""},
		{"no big number", "(x\r\n", "no value"},

		{"an array", "*2\r\n:1\r\n$1\r\na\r\n", ""},
		{"an empty array", "*0\r\n", ""},
		{"RESP2's null array", "*-1\r\n", ""},
		{"the library would panic in make", "*-5\r\n", "no length"},
		{"the library would allocate 80 GB", "*2000000000\r\n", "no reply has more"},
		{"a streamed array: the library would collect until it ends", "*?\r\n:1\r\n.\r\n", "no length"},
		{"an end on its own: the library takes it for null", ".\r\n", "no type"},
		{"a map", "%1\r\n+proto\r\n:3\r\n", ""},
		{"an empty map", "%0\r\n", ""},
		{"a map of negative size", "%-1\r\n", "no length"},
		{"a map whose size doubled overflows", "%4611686018427387905\r\n", "no reply has more"},
		{"a map of half the values that fit", fmt.Sprintf("%%%d\r\n", maxValues/2+1), "more than 65536 values"},
		{"a set", "~1\r\n:1\r\n", ""},
		{"a set of negative size", "~-1\r\n", "no length"},
		{"a large set", "~2000000000\r\n", "no reply has more"},
		{"an attribute: no command of ours asks for one, and the library reads on for as many as come",
			"|1\r\n+a\r\n:1\r\n:1\r\n", "attribute"},
		{"an attribute of negative size", "|-1\r\n", "attribute"},
		{"a push inside an array", "*1\r\n>2\r\n+message\r\n+a\r\n", "push inside"},
		{"arrays in each other, as deep as any", strings.Repeat("*1\r\n", maxDepth) + ":1\r\n", ""},
		{"deeper: the library would use up the stack", strings.Repeat("*1\r\n", maxDepth+1) + ":1\r\n",
			"in each other"},
		{"many arrays that are small, each in the last", strings.Repeat("*16384\r\n", 5), "more than 65536 values"},
		{"strings that are large together",
			"*3\r\n" + strings.Repeat(fmt.Sprintf("$%d\r\n%s\r\n", maxBulk-20, long[20:]), 3), "frame of more than"},
		{"lines that are large together",
			"*200\r\n" + strings.Repeat("+"+strings.Repeat("x", maxLine-2)+"\r\n", 200), "frame of more than"},

		{"HTTP", "HTTP/1.1 400 Bad Request\r\n", "no type"},
		{"TLS", "\x15\x03\x01\x00\x02\x02\x46", "no type"},
	} {
		t.Run(c.why, func(t *testing.T) {
			t.Parallel()
			got := judge(t, commands("HELLO 3"), []byte(c.frame))
			if c.refused == "" && (got.violation != "" || got.delivered != c.frame) {
				t.Errorf("%.60q: %.200q, %s", c.frame, got.delivered, got.violation)
			}
			if c.refused != "" && (!strings.Contains(got.violation, c.refused) || got.delivered != "") {
				t.Errorf("%.60q: %.200q, %q; want %q", c.frame, got.delivered, got.violation, c.refused)
			}
		})
	}
}

const (
	hello      = "%2\r\n+proto\r\n:3\r\n+version\r\n+8.1\r\n"
	hello2     = "*4\r\n+proto\r\n:2\r\n+version\r\n+8.1\r\n"
	watching   = ">3\r\n+subscribe\r\n+news\r\n:1\r\n"
	watching2  = "*3\r\n+subscribe\r\n+news\r\n:1\r\n"
	published  = ">3\r\n+message\r\n+news\r\n+text\r\n"
	published2 = "*3\r\n+message\r\n+news\r\n+text\r\n"
)

// event returns an event of a sentinel.
func event(channel, text string) string {
	return fmt.Sprintf(">3\r\n+message\r\n+%s\r\n$%d\r\n%s\r\n", channel, len(text), text)
}

// TestDialogue: replies are counted as the library does, and have the form that it expects.
func TestDialogue(t *testing.T) {
	t.Parallel()
	const sentinels = "SUBSCRIBE +sentinel +slave -sdown +sdown +switch-master +reboot"
	unsubscribed := strings.Repeat(">3\r\n+unsubscribe\r\n+sentinel\r\n:0\r\n", 6)
	subscribed := strings.Repeat(">3\r\n+subscribe\r\n+sentinel\r\n:1\r\n", 6)
	for _, c := range []struct {
		why      string
		commands []string
		stream   string
		refused  string // "": it passes
	}{
		{"a reply for each command", []string{"HELLO 3", "GET a", "GET b"}, hello + "_\r\n$1\r\nx\r\n", ""},
		{"a reply before any command", nil, "+OK\r\n", "no command asked for"},
		{"one reply too many: the library would panic",
			[]string{"HELLO 3", "GET a"}, hello + "+a\r\n+b\r\n", "no command asked for"},
		{"messages do not count",
			[]string{"HELLO 3", "SUBSCRIBE news", "GET a"}, hello + watching + published + "_\r\n" + published, ""},
		{"a confirmation that is the reply, and a second",
			[]string{"HELLO 3", "SUBSCRIBE news"}, hello + watching + watching, "confirmed"},
		{"a confirmation without a subscription: the library would panic",
			[]string{"HELLO 3"}, hello + watching, "confirmed"},
		{"a confirmation instead of a reply: the library would panic",
			[]string{"HELLO 3", "GET a"}, hello + watching, "confirmed"},
		{"a confirmation before an earlier reply",
			[]string{"HELLO 3", "GET a", "SUBSCRIBE news"}, hello + watching, "confirmed"},
		{"a confirmation of a kind that nobody asked for",
			[]string{"HELLO 3", "SUBSCRIBE news"}, hello + ">3\r\n+ssubscribe\r\n+a\r\n:1\r\n", "ssubscribe"},
		{"a subscription refused", []string{"HELLO 3", "SUBSCRIBE news"}, hello + "-NOPERM\r\n", ""},
		{"QUEUED: the library would panic",
			[]string{"HELLO 3", "SUBSCRIBE news"}, hello + "+QUEUED\r\n", "confirms no subscription"},
		{"QUEUED as an error: it would too",
			[]string{"HELLO 3", "SUBSCRIBE news"}, hello + "-QUEUED\r\n", "confirms no subscription"},
		{"a subscription answered by a null",
			[]string{"HELLO 3", "SUBSCRIBE news"}, hello + "_\r\n", "confirms no subscription"},
		{"a subscription that the engine ends",
			[]string{"HELLO 3", "SUBSCRIBE news"}, hello + watching + ">3\r\n+unsubscribe\r\n+news\r\n:0\r\n", ""},
		{"a message without a text",
			[]string{"HELLO 3"}, hello + ">3\r\n+message\r\n+news\r\n:1\r\n", "without channel or text"},
		{"a short message", []string{"HELLO 3"}, hello + ">2\r\n+message\r\n+news\r\n", "without channel or text"},

		{"several channels are confirmed one by one",
			[]string{"HELLO 3", sentinels, "PING"}, hello + subscribed + "+PONG\r\n", ""},
		{"one more than that", []string{"HELLO 3", sentinels, "PING"}, hello + subscribed + watching, "confirmed"},
		{"an end among confirmations, which the library would count as one",
			[]string{"HELLO 3", sentinels}, hello + watching + unsubscribed, "while it is confirmed"},
		{"UNSUBSCRIBE with the library's PING",
			[]string{"HELLO 3", "UNSUBSCRIBE a", "PING", sentinels}, hello + unsubscribed + "+PONG\r\n" + subscribed,
			""},
		{"UNSUBSCRIBE refused",
			[]string{"HELLO 3", "UNSUBSCRIBE a", "PING", "GET a"}, hello + "-NOPERM\r\n+PONG\r\n_\r\n", ""},
		{"and then no PONG: the library would panic",
			[]string{"HELLO 3", "UNSUBSCRIBE a", "PING"}, hello + "-NOPERM\r\n+OK\r\n", "PING after UNSUBSCRIBE"},
		{"UNSUBSCRIBE answered by what the library takes for a PONG, and PING by one too many",
			[]string{"HELLO 3", "UNSUBSCRIBE a", "PING"}, hello + "-BUSY\r\n-BUSY\r\n", "ends no subscription"},
		{"UNSUBSCRIBE answered by QUEUED",
			[]string{"HELLO 3", "UNSUBSCRIBE a", "PING"}, hello + "-QUEUED\r\n", "ends no subscription"},
		{"UNSUBSCRIBE answered by a word",
			[]string{"HELLO 3", "UNSUBSCRIBE a", "PING"}, hello + "+OK\r\n", "ends no subscription"},
		{"PONG before PING", []string{"HELLO 3", "UNSUBSCRIBE a"}, hello + "+PONG\r\n", "PONG before PING"},

		{"RESP2: arrays are replies", []string{"HELLO 3", "HELLO 2", "EVALSHA a"},
			"-ERR unknown command 'HELLO'\r\n" + hello2 + "*2\r\n:1\r\n$-1\r\n", ""},
		{"RESP2: arrays are messages where the connection is for subscriptions",
			[]string{"HELLO 2", "SUBSCRIBE news", "PING"},
			hello2 + watching2 + published2 + "*2\r\n+pong\r\n+\r\n" + published2, ""},
		{"RESP2: after AUTH too",
			[]string{"AUTH a", "HELLO 2", "SUBSCRIBE news"}, "+OK\r\n" + hello2 + watching2 + published2, ""},
		{"RESP2: one reply too many",
			[]string{"HELLO 2", "SUBSCRIBE news"}, hello2 + watching2 + "+OK\r\n", "no command asked for"},
		{"RESP2: one confirmation too many: the library would panic",
			[]string{"HELLO 2", "SUBSCRIBE news"}, hello2 + watching2 + watching2, "confirmed"},
		{"RESP2: a message before there is a subscription", []string{"HELLO 2", "SELECT 1"}, hello2 + published2,
			"no message"},
		{"RESP2: an array that is nothing: the library would drop it",
			[]string{"HELLO 2", "SUBSCRIBE news"}, hello2 + "*2\r\n:1\r\n:2\r\n", "no message"},

		{"MOVED with an address", []string{"HELLO 3", "GET a"}, hello + "-MOVED 1 127.0.0.1:1\r\n", ""},
		{"MOVED without: the library would panic", []string{"HELLO 3", "GET a"}, hello + "-MOVED 1\r\n", "MOVED"},
		{"ASK without", []string{"HELLO 3", "GET a"}, hello + "-ASKING\r\n", "ASK"},
		{"REDIRECT without, as a blob error", []string{"HELLO 3", "GET a"}, hello + "!8\r\nREDIRECT\r\n", "REDIRECT"},
		{"ROLE", []string{"HELLO 3", "ROLE"}, hello + "*1\r\n+master\r\n", ""},
		{"an empty ROLE: the library would panic", []string{"HELLO 3", "ROLE"}, hello + "*0\r\n", "ROLE is empty"},
		{"an empty set", []string{"HELLO 3", "role"}, hello + "~0\r\n", "ROLE is empty"},
		{"a primary", []string{"HELLO 3", "SENTINEL GET-MASTER-ADDR-BY-NAME a"}, hello + "*2\r\n+::1\r\n+1\r\n", ""},
		{"none", []string{"HELLO 3", "SENTINEL GET-MASTER-ADDR-BY-NAME a"}, hello + "_\r\n", ""},
		{"a primary without a port: the library would panic",
			[]string{"HELLO 3", "SENTINEL GET-MASTER-ADDR-BY-NAME a"}, hello + "*1\r\n+::1\r\n",
			"without host or port"},
		{"sentinels", []string{"HELLO 3", "SENTINEL SENTINELS a"},
			hello + "*2\r\n%1\r\n+ip\r\n+::1\r\n*4\r\n+ip\r\n+::2\r\n+port\r\n+1\r\n", ""},
		{"a new sentinel",
			[]string{"HELLO 3", sentinels}, hello + subscribed + event("+sentinel", "sentinel x ::1 1 @ a ::1 2"), ""},
		{"an event that is cut short: the library would panic",
			[]string{"HELLO 3", sentinels}, hello + subscribed + event("+sentinel", "sentinel x ::1"), "of 3 words"},
		{"a switch that is cut short",
			[]string{"HELLO 3", sentinels}, hello + subscribed + event("+switch-master", "a ::1 1 ::2"), "of 4 words"},
		{"a reboot that is cut short",
			[]string{"HELLO 3", sentinels}, hello + subscribed + event("+reboot", "master"), "of 1 words"},
		{"more events than the library can hold while it asks", []string{"HELLO 3", sentinels},
			hello + subscribed + strings.Repeat(event("+reboot", "slave x ::1 1"), maxEvents+1), "more than 16 events"},
	} {
		t.Run(c.why, func(t *testing.T) {
			t.Parallel()
			got := judge(t, commands(c.commands...), []byte(c.stream))
			if c.refused == "" && (got.violation != "" || got.delivered != c.stream) {
				t.Errorf("%q, %s", got.delivered, got.violation)
			}
			if c.refused != "" && !strings.Contains(got.violation, c.refused) {
				t.Errorf("%q, %q; want %q", got.delivered, got.violation, c.refused)
			}
			if !strings.HasPrefix(c.stream, got.delivered) {
				t.Errorf("%q was delivered", got.delivered)
			}
		})
	}
}

// TestNoise: pushes that the library ignores are dropped.
func TestNoise(t *testing.T) {
	t.Parallel()
	noise := ">2\r\n+invalidate\r\n_\r\n" + event("+sdown", "slave") + ">1\r\n+tracking-redir-broken\r\n" + ">0\r\n"
	got := judge(t, commands("HELLO 3", "GET a"), []byte(noise+hello+noise+noise+"+a\r\n"+noise))
	if want := (verdict{delivered: hello + "+a\r\n"}); got != want {
		t.Errorf("%+v", got)
	}
}

// TestSentinelsAreBounded: the library remembers each sentinel that the engine names.
func TestSentinelsAreBounded(t *testing.T) {
	t.Parallel()
	var list strings.Builder
	fmt.Fprintf(&list, "*%d\r\n", maxSentinels+1)
	for i := range maxSentinels + 1 {
		fmt.Fprintf(&list, "*4\r\n+ip\r\n+::1\r\n+port\r\n+%d\r\n", i)
	}
	got := judge(t, commands("HELLO 3", "SENTINEL SENTINELS a"), []byte(hello+list.String()))
	if !strings.Contains(got.violation, errTooMany.Error()) {
		t.Errorf("%+v", got)
	}
}

// TestAnnouncementsTakeNoMemory: announced bytes that do not arrive are not allocated, and the space of a large frame
// is freed.
func TestAnnouncementsTakeNoMemory(t *testing.T) {
	t.Parallel()
	large := fmt.Sprintf("$%d\r\n%s\r\n", maxBulk, strings.Repeat("x", maxBulk))
	p := &pieces{rest: [][]byte{fmt.Appendf(nil, "$%d\r\n", maxBulk)}}
	c := newGuarded(t, p, commands("GET a"))
	if _, err := c.Read(make([]byte, 100)); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if cap(c.space) > readSize {
		t.Errorf("%d bytes for a frame that was only announced", cap(c.space))
	}
	p = &pieces{rest: [][]byte{[]byte(large), []byte(":1\r\n"), []byte(":1\r\n")}}
	c = newGuarded(t, p, commands("GET a", "GET b", "GET c"))
	if _, err := io.Copy(io.Discard, onlyReader{c}); err != nil {
		t.Fatal(err)
	}
	if cap(c.space) > readSize {
		t.Errorf("%d bytes are kept", cap(c.space))
	}
}

type onlyReader struct{ io.Reader }

// TestWriteRefusesNonCommands: Write fails for bytes that are not a command.
func TestWriteRefusesNonCommands(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"GET a\r\n", "*0\r\n", "*1\r\n+GET\r\n", "*1\n", "*x\r\n", strings.Repeat("*", maxNumber+1)} {
		c := &conn{Conn: &pieces{}}
		if _, err := c.Write([]byte(text)); !errors.Is(err, errNoCommand) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestDialIsBounded: after a violation a host has a pause, longer each time; connections to a host are limited in rate.
func TestDialIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := New(func(*Violation) {})
		reason := errors.New("noise")
		for i, want := range []time.Duration{1, 2, 4, 8, 10, 10} {
			if err := g.admit("a:1"); err != nil {
				t.Fatalf("%d: %v", i, err)
			}
			_ = g.recordViolation("a:1", reason)
			<-time.After(want*time.Second - time.Millisecond)
			if err := g.admit("a:1"); !errors.Is(err, reason) {
				t.Errorf("%d: after almost %d s: %v", i, want, err)
			}
			if err := g.admit("b:1"); i == 0 && err != nil {
				t.Errorf("another host: %v", err)
			}
			<-time.After(time.Millisecond)
		}
		<-time.After(2*maxPause + time.Second)
		_ = g.recordViolation("a:1", reason)
		<-time.After(minPause)
		if err := g.admit("a:1"); err != nil {
			t.Errorf("the first violation for some time: %v", err)
		}
		for i := range 2 * dialBurst {
			if err := g.admit("c:1"); (err == nil) != (i < dialBurst) {
				t.Errorf("connection %d at once: %v", i, err)
			}
		}
		<-time.After(time.Second)
		if err := g.admit("c:1"); err != nil {
			t.Errorf("a second later: %v", err)
		}
		refused := 0
		for i := range 2 * maxHosts {
			if err := g.admit(net.JoinHostPort("many.example", fmt.Sprint(i))); errors.Is(err, errTooMany) {
				refused++
			}
		}
		if len(g.hosts) > maxHosts || refused < maxHosts {
			t.Errorf("%d hosts, %d refused", len(g.hosts), refused)
		}
		<-time.After(2 * maxPause)
		if err := g.admit("late.example:1"); err != nil {
			t.Errorf("after some time: %v", err)
		}
	})
}

// FuzzPieces: the verdict does not depend on how the stream is cut into pieces.
func FuzzPieces(f *testing.F) {
	written := commands("HELLO 3", "SUBSCRIBE news other", "GET a", "UNSUBSCRIBE news", "PING", "ROLE",
		"SENTINEL GET-MASTER-ADDR-BY-NAME a", "SENTINEL SENTINELS a", "GET b")
	for _, s := range []string{
		hello, watching, published, published2, "$5\r\nabcde\r\n", "*-5\r\n", "$10000000000\r\n", "+PONG\r\n",
		"*2\r\n%1\r\n+ip\r\n+a\r\n~1\r\n(12\r\n", event("+sentinel", "a b c d"), "-MOVED\r\n", "|1\r\n",
		"_\r\n#t\r\n,1.5\r\n!1\r\na\r\n=4\r\ntxt:\r\n"} {
		f.Add([]byte(hello+s), []byte{1})
		f.Add([]byte(s), []byte{2, 3, 1})
	}
	resp2 := commands("HELLO 2", "SUBSCRIBE news", "PING")
	f.Add([]byte(hello2+watching2+published2), []byte{3})
	f.Fuzz(func(t *testing.T, stream, cuts []byte) {
		for _, text := range []string{written, resp2} {
			whole := judge(t, text, slices.Clone(stream))
			if parts := judge(t, text, cut(stream, cuts)...); parts != whole {
				t.Errorf("in pieces %+v, whole %+v", parts, whole)
			}
			if len(whole.delivered) > len(stream) {
				t.Errorf("%d bytes of %d", len(whole.delivered), len(stream))
			}
		}
	})
}

// cut cuts a stream into pieces with the lengths of cuts, repeatedly.
func cut(stream, cuts []byte) [][]byte {
	if len(cuts) == 0 {
		cuts = []byte{1}
	}
	var all [][]byte
	rest := slices.Clone(stream)
	for i := 0; len(rest) > 0; i++ {
		n := min(int(cuts[i%len(cuts)])+1, len(rest))
		all, rest = append(all, rest[:n:n]), rest[n:]
	}
	return all
}
