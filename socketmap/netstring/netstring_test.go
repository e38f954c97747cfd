package netstring

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

const testMax = 20

// parseCases are the table of TestParse and the seeds of FuzzParse. A SyntaxError is given by its Offset.
var parseCases = []struct {
	in      string
	payload string
	n       int
	err     error
	why     string
}{
	{in: "5:hello,", payload: "hello", n: 8, why: "the simplest"},
	{in: "0:,", payload: "", n: 3, why: "the empty string"},
	{in: "3:a,b,", payload: "a,b", n: 6, why: "a comma in the payload"},
	{in: "4:1:x,,", payload: "1:x,", n: 7, why: "a netstring in the payload"},
	{in: "3:\x00\xff\n,", payload: "\x00\xff\n", n: 6, why: "any bytes, UTF-8 or not"},
	{in: "1:a,1:b,", payload: "a", n: 4, why: "the next frame is not read"},
	{in: "1:a,garbage", payload: "a", n: 4, why: "the bytes after the frame are not read"},
	{in: "20:01234567890123456789,", payload: "01234567890123456789", n: 24, why: "exactly the limit"},

	{in: "", err: ErrIncomplete, why: "nothing yet"},
	{in: "5", err: ErrIncomplete, why: "the length may be incomplete"},
	{in: "0", err: ErrIncomplete, why: "a single zero is the empty string's length"},
	{in: "5:", err: ErrIncomplete, why: "no payload yet"},
	{in: "5:hell", err: ErrIncomplete, why: "a part of the payload"},
	{in: "5:hello", err: ErrIncomplete, why: "the comma may still arrive"},

	{in: "21:", err: ErrTooLong, why: "one over the limit"},
	{in: "21", err: ErrTooLong, why: "more digits can only make it longer"},
	{in: "999999999999999999999:", err: ErrTooLong, why: "more than 64 bits"},
	{in: "18446744073709551617:a,", err: ErrTooLong, why: "1 if 64 bits wrapped around"},

	{in: ":a,", err: &SyntaxError{Offset: 0}, why: "no length"},
	{in: ",", err: &SyntaxError{Offset: 0}, why: "no length, no colon"},
	{in: "-1:a,", err: &SyntaxError{Offset: 0}, why: "a sign"},
	{in: "+1:a,", err: &SyntaxError{Offset: 0}, why: "a sign"},
	{in: " 1:a,", err: &SyntaxError{Offset: 0}, why: "a space in front"},
	{in: "\n", err: &SyntaxError{Offset: 0}, why: "telnet"},
	{in: "GET / HTTP/1.1\r\n", err: &SyntaxError{Offset: 0}, why: "a browser"},
	{in: "\x16\x03\x01", err: &SyntaxError{Offset: 0}, why: "TLS"},
	{in: "\xff", err: &SyntaxError{Offset: 0}, why: "not ASCII"},
	{in: "00:,", err: &SyntaxError{Offset: 1}, why: "a second encoding of the empty string"},
	{in: "007:", err: &SyntaxError{Offset: 1}, why: "leading zeros"},
	{in: "01:a,", err: &SyntaxError{Offset: 1}, why: "a leading zero"},
	{in: "1 :a,", err: &SyntaxError{Offset: 1}, why: "a space in the length"},
	{in: "1a:", err: &SyntaxError{Offset: 1}, why: "a letter in the length"},
	{in: "1:ab", err: &SyntaxError{Offset: 3}, why: "the payload is longer than its length"},
	{in: "5:hello;", err: &SyntaxError{Offset: 7}, why: "not a comma"},
	{in: "0:a,", err: &SyntaxError{Offset: 2}, why: "a payload where none was announced"},
}

func TestParse(t *testing.T) {
	for _, c := range parseCases {
		payload, n, err := Parse([]byte(c.in), testMax)
		if string(payload) != c.payload || n != c.n || !sameError(err, c.err) {
			t.Errorf("%s: Parse(%q) = %q, %d, %v; want %q, %d, %v", c.why, c.in, payload, n, err, c.payload, c.n, c.err)
		}
	}
}

// sameError compares sentinels by identity and syntax errors by their offset.
func sameError(got, want error) bool {
	var g, w *SyntaxError
	if errors.As(want, &w) {
		return errors.As(got, &g) && g.Offset == w.Offset && g.Msg != ""
	}
	return errors.Is(got, want)
}

func TestSyntaxErrorIsReadable(t *testing.T) {
	for in, want := range map[string]string{
		"GET":     `netstring: byte 0: want a digit of the length, got 'G'`,
		"1\x00":   `netstring: byte 1: want a digit of the length or a colon, got '\x00'`,
		"1\xe9":   `netstring: byte 1: want a digit of the length or a colon, got 0xe9`,
		"1:a\n":   `netstring: byte 3: want a comma after the payload, got '\n'`,
		"007:abc": `netstring: byte 1: the length has a leading zero`,
	} {
		_, _, err := Parse([]byte(in), testMax)
		if err == nil || err.Error() != want {
			t.Errorf("Parse(%q): %v; want %s", in, err, want)
		}
	}
}

func TestAppendToPayloadKeepsTheNextFrame(t *testing.T) {
	buf := []byte("1:a,1:b,")
	payload, _, err := Parse(buf, testMax)
	if err != nil {
		t.Fatal(err)
	}
	_ = append(payload, "more"...)
	if string(buf) != "1:a,1:b," {
		t.Errorf("appending to the payload changed the buffer to %q", buf)
	}
}

func TestAppend(t *testing.T) {
	for _, c := range []struct {
		parts []string
		want  string
		why   string
	}{
		{nil, "0:,", "no parts: an empty payload"},
		{[]string{""}, "0:,", "as is an empty part"},
		{[]string{"hello"}, "5:hello,", "one part"},
		{[]string{"sts", " ", "example.com"}, "15:sts example.com,", "parts are joined"},
		{[]string{strings.Repeat("x", 1000)}, "1000:" + strings.Repeat("x", 1000) + ",", "a length of several digits"},
	} {
		if got := string(Append([]byte("before"), c.parts...)); got != "before"+c.want {
			t.Errorf("%s: Append(%q) = %q", c.why, c.parts, got)
		}
	}
}

func TestAppendDoesNotAllocate(t *testing.T) {
	dst := make([]byte, 0, 64)
	name, key := "sts", []byte("example.com")
	if got := testing.AllocsPerRun(100, func() {
		dst = Append(dst[:0], name, " ", "example.com")
		dst = Append(dst[:0], key)
	}); got != 0 {
		t.Errorf("%v allocations", got)
	}
}

// FuzzParse checks the round trip, the error's type and that bytes fed one at a time give what the whole gives.
func FuzzParse(f *testing.F) {
	for _, c := range parseCases {
		f.Add([]byte(c.in), testMax)
	}
	f.Add([]byte("100:"), 1<<30-1)
	f.Add([]byte("1:a,"), 0)
	f.Fuzz(func(t *testing.T, in []byte, max int) {
		max &= 1<<30 - 1 // Parse's domain
		payload, n, err := Parse(in, max)
		checkParse(t, in, max, payload, n, err)
		for end := range in {
			p, m, partial := Parse(in[:end], max)
			switch {
			case errors.Is(partial, ErrIncomplete):
				continue
			case partial == nil:
				if err != nil || m != n || !bytes.Equal(p, payload) {
					t.Fatalf("the first %d bytes give %q, all give %q, %v", end, p, payload, err)
				}
			case err == nil || partial.Error() != err.Error():
				t.Fatalf("the first %d bytes give %v, all give %v", end, partial, err)
			}
			return
		}
	})
}

func checkParse(t *testing.T, in []byte, max int, payload []byte, n int, err error) {
	var syntax *SyntaxError
	switch {
	case err == nil:
		if len(payload) > max {
			t.Fatalf("payload of %d bytes, limit %d", len(payload), max)
		}
		if again := Append(nil, payload); !bytes.Equal(again, in[:n]) {
			t.Fatalf("%q was read from %q but is written %q", payload, in[:n], again)
		}
	case payload != nil || n != 0:
		t.Fatalf("error %v comes with payload %q, n %d", err, payload, n)
	case errors.As(err, &syntax):
		if syntax.Offset < 0 || syntax.Offset >= len(in) {
			t.Fatalf("offset %d is outside of %d bytes", syntax.Offset, len(in))
		}
	case !errors.Is(err, ErrIncomplete) && !errors.Is(err, ErrTooLong):
		t.Fatalf("unexpected type of error: %v", err)
	}
}
