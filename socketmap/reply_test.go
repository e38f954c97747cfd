package socketmap

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stsmapd/stsmapd/socketmap/netstring"
)

func TestReplyFrames(t *testing.T) {
	for _, c := range []struct {
		reply Reply
		want  string
		why   string
	}{
		{OK("secure match=example.com"), "27:OK secure match=example.com,", "status, space, data"},
		{OK(""), "3:OK ,", "an empty value is valid"},
		{OK("a,b:c\x00\xff"), "10:OK a,b:c\x00\xff,", "values are sent unchanged"},
		{NotFound(), "9:NOTFOUND ,", "Postfix wants the space"},
		{Temp("DNS timed out"), "18:TEMP DNS timed out,", "a reason"},
		{Timeout("too slow"), "16:TIMEOUT too slow,", "a reason"},
		{Perm("unknown map"), "16:PERM unknown map,", "a reason"},
		{Hangup(), "", "nothing is sent"},
		{Temp(""), "24:TEMP no reason was given,", "a reply always has a reason"},
		{Reply{}, "24:TEMP no reason was given,", "a reply that was never set must not let mail out"},
		{Perm("two\r\nlines\tand a NUL\x00"), "26:PERM two  lines and a NUL ,", "no control characters in a log"},
		{Perm("mx \u202egpj.exe"), "16:PERM mx ?gpj.exe,", "no direction marks in a log"},
		{Perm("not \xff UTF-8"), "16:PERM not ? UTF-8,", "no invalid UTF-8 in a log"},
		{Perm("bücher.example"), "20:PERM bücher.example,", "letters of every script are kept"},
	} {
		got := string(c.reply.AppendTo([]byte("before")))
		if got != "before"+c.want {
			t.Errorf("%s: %v is sent as %q, want %q", c.why, c.reply, got, c.want)
		}
	}
}

func TestReplyNeverExceedsTheLimit(t *testing.T) {
	for _, c := range []struct {
		reply  Reply
		status Status
		frame  int // bytes; 0: anything up to the limit
		why    string
	}{
		{OK(strings.Repeat("x", MaxData)), StatusOK, maxReplyFrame, "the longest value"},
		{OK(strings.Repeat("x", MaxData+1)), StatusTemp, 0, "one byte more defers the mail"},
		{OK(strings.Repeat("x", 10*maxReplyFrame)), StatusTemp, 0, "as do many more"},
		{Temp(strings.Repeat("x", maxReplyFrame)), StatusTemp, 0, "reasons are cut"},
		{Perm(strings.Repeat("\x00", maxReplyFrame)), StatusPerm, 0, "cleaning does not make reasons longer"},
	} {
		frame := len(c.reply.AppendTo(nil))
		if c.reply.Status() != c.status || frame > maxReplyFrame || (c.frame != 0 && frame != c.frame) {
			t.Errorf("%s: status %v, frame of %d bytes", c.why, c.reply.Status(), frame)
		}
	}
	if got, want := OK(strings.Repeat("x", MaxData+1)).Data(), fmt.Sprint(MaxData+1); !strings.Contains(got, want) {
		t.Errorf("the reason %q does not say that there are %s bytes", got, want)
	}
}

func TestReasonsAreCut(t *testing.T) {
	for _, c := range []struct {
		in, want, why string
	}{
		{strings.Repeat("x", 1000), strings.Repeat("x", 1000), "fits"},
		{strings.Repeat("x", 1001), strings.Repeat("x", 997) + "...", "the cut shows"},
		{strings.Repeat("x", 996) + "€uro, and so on", strings.Repeat("x", 996) + "...", "no half characters"},
		{strings.Repeat("\x80", 2000), strings.Repeat("?", 994) + "...",
			"the search for the start of a character is bounded"},
	} {
		if got := Temp(c.in).Data(); got != c.want {
			t.Errorf("%s: got %d bytes %q", c.why, len(got), got)
		}
	}
}

func TestRepliesCompare(t *testing.T) {
	all := []Reply{OK("a"), OK("b"), Temp("a"), Timeout("a"), Perm("a"), NotFound(), Hangup(), {}}
	for i, a := range all {
		for j, b := range all {
			if (a == b) != (i == j) {
				t.Errorf("%v == %v is %v", a, b, a == b)
			}
		}
	}
	if got := OK("a").String(); got != "OK a" {
		t.Errorf("String() = %q", got)
	}
}

func TestStatusString(t *testing.T) {
	for status, want := range map[Status]string{
		StatusOK: "OK", StatusNotFound: "NOTFOUND", StatusTemp: "TEMP", StatusTimeout: "TIMEOUT", StatusPerm: "PERM",
		StatusHangup: "HANGUP", Status(99): "Status(99)",
	} {
		if got := status.String(); got != want {
			t.Errorf("Status(%d).String() = %q, want %q", status, got, want)
		}
	}
}

// parseReplyCases are the table of TestParseReply and the seeds of FuzzParseReply; a nil want is an error.
var parseReplyCases = []struct {
	in   string
	want *Reply
	why  string
}{
	{"OK value with spaces", &Reply{status: StatusOK, data: "value with spaces"}, "only the first space counts"},
	{"OK ", &Reply{status: StatusOK, data: ""}, "an empty value"},
	{"OK", &Reply{status: StatusOK, data: ""}, "the space may be missing"},
	{"NOTFOUND ", &Reply{status: StatusNotFound}, "as stsmapd sends it"},
	{"NOTFOUND", &Reply{status: StatusNotFound}, "as other servers may send it"},
	{"TEMP slow\n", &Reply{status: StatusTemp, data: "slow "}, "reasons are cleaned here too, for the terminal"},
	{"TIMEOUT slow", &Reply{status: StatusTimeout, data: "slow"}, "a reason"},
	{"PERM never", &Reply{status: StatusPerm, data: "never"}, "a reason"},
	{"", nil, "no status"},
	{"ok value", nil, "statuses are upper case"},
	{"HANGUP ", nil, "never on the wire"},
	{"250 OK", nil, "another protocol"},
	{"OK " + strings.Repeat("x", MaxData+1), nil, "longer than a Reply can be"},
}

func TestParseReply(t *testing.T) {
	for _, c := range parseReplyCases {
		got, err := parseReply([]byte(c.in))
		var bad *replyError
		switch {
		case c.want == nil && !errors.As(err, &bad):
			t.Errorf("%s: parseReply(%.40q) = %v, %v; want a *replyError", c.why, c.in, got, err)
		case c.want != nil && (err != nil || got != *c.want):
			t.Errorf("%s: parseReply(%.40q) = %v, %v; want %v", c.why, c.in, got, err, *c.want)
		}
	}
}

func FuzzParseReply(f *testing.F) {
	for _, c := range parseReplyCases {
		f.Add([]byte(c.in))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		reply, err := parseReply(in)
		if err != nil {
			var bad *replyError
			if !errors.As(err, &bad) {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		frame := reply.AppendTo(nil)
		payload, n, err := netstring.Parse(frame, maxReplyPayload)
		if err != nil || n != len(frame) || n > maxReplyFrame {
			t.Fatalf("%v makes the frame %q: %v", reply, frame, err)
		}
		if again, err := parseReply(payload); err != nil || again.Status() != reply.Status() ||
			again.Data() != reply.Data() {
			t.Fatalf("%v is read back as %v, %v", reply, again, err)
		}
	})
}

// FuzzReason checks that a reason of any bytes becomes one printable line.
func FuzzReason(f *testing.F) {
	f.Add("plain")
	f.Add("\x00\x1b[31m\u2028\u202e\xff")
	f.Add(strings.Repeat("€", 500))
	f.Fuzz(func(t *testing.T, in string) {
		got := Perm(in).Data()
		if got == "" || len(got) > maxReason || !utf8.ValidString(got) ||
			strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Fatalf("%q became %q", in, got)
		}
	})
}
