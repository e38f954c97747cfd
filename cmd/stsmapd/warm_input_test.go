package main

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/maillog"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// listLines are lines of lists; "" for those without a domain, "!" for those that are wrong.
func listLines() []struct{ why, line, want string } {
	return []struct{ why, line, want string }{
		{"a domain", "example.org", "example.org"},
		{"in capitals, with its final dot", "Example.ORG.", "example.org"},
		{"in people's script", "bücher.example", "xn--bcher-kva.example"},
		{"an address", "me@example.org", "example.org"},
		{"an address in brackets", "<me@example.org>", "example.org"},
		{"an address with an @ in its local part", `"a@b"@example.org`, "example.org"},
		{"spaces around it", " \t example.org \r", "example.org"},
		{"a comment after it", "example.org # customer 7", "example.org"},
		{"nothing", "", ""},
		{"spaces", "  \t", ""},
		{"a comment", "# example.org", ""},
		{"two domains", "example.org example.net", "!"},
		{"a name and an address", "Me <me@example.org>", "!"},
		{"an address without a domain", "me@", "!"},
		{"one label", "localhost", "!"},
		{"an address literal", "me@[192.0.2.1]", "!"},
		{"an IP address", "192.0.2.1", "!"},
		{"a URL", "https://example.org/", "!"},
		{"an underscore", "_dmarc.example.org", "!"},
		{"a zero byte", "example\x00.org", "!"},
		{"no UTF-8", "ex\xffample.org", "!"},
		{"a bracket too few", "<me@example.org", "example.org"},
		{"a policy table", "example.org secure match=mx.example.org", "example.org"},
		{"postfix-tlspol -export", "example.org                  secure match=mx.example.org servername=hostname",
			"example.org"},
		{"the same with DANE", "example.org                  dane-only", "example.org"},
		{"postfix-tlspol -dump", "example.org                       17  secure match=mx.example.org", "example.org"},
		{"a parent domain in a policy table", ".example.org secure", "!"},
		{"a number alone", "example.org 17", "!"},
		{"no policy", "example.org securely", "!"},
	}
}

func TestListLines(t *testing.T) {
	for _, c := range listLines() {
		name, err := parseListLine(c.line)
		got := name.String()
		if err != nil {
			got = "!"
			if bad := (*dnsname.Error)(nil); !errors.As(err, &bad) {
				t.Errorf("%s: %T is no *dnsname.Error", c.why, err)
			}
		}
		if got != c.want {
			t.Errorf("%s: %q is %q, want %q", c.why, c.line, got, c.want)
		}
	}
}

// maillogLines are lines of Postfix's log; "" for those that say nothing of mail to the Internet.
func maillogLines() []struct{ why, line, want string } {
	const rest = `, delay=0.5, delays=0/0/0.1/0.4, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as 4F0C)`
	return []struct{ why, line, want string }{
		{"sent",
			`Nov 23 16:00:02 mail postfix/smtp[101]: 4F0C31A2B3: to=<u@example.org>, ` +
				`relay=mx.example.org[192.0.2.1]:25` + rest, "example.org"},
		{"in RFC 3339 time",
			`2026-11-23T16:00:02.123456+00:00 mail postfix/smtp[101]: 4F0C31A2B3: to=<u@example.org>, relay=none` +
				rest, "example.org"},
		{"a long queue id", `Nov 23 16:00:02 mail postfix/smtp[101]: 4Bzq0r5hz0zJqkX: to=<u@example.org>, relay=none` +
			rest, "example.org"},
		{"another instance", `Nov 23 16:00:02 mail postfix-out/smtp[101]: 4F0C31A2B3: to=<u@example.org>, relay=none` +
			rest, "example.org"},
		{"a service with a name",
			`Nov 23 16:00:02 mail postfix/bulk/smtp[101]: 4F0C31A2B3: to=<u@example.org>, relay=none` + rest,
			"example.org"},
		{"rewritten",
			`Nov 23 16:00:02 mail postfix/smtp[101]: 4F0C31A2B3: to=<u@example.org>, ` +
				`orig_to=<v@alias.example>, relay=none` + rest, "example.org"},
		{"given up for now", `Nov 23 16:00:02 mail postfix/error[101]: 4F0C31A2B3: to=<u@example.org>, relay=none` +
			rest, "example.org"},
		{"in capitals", `Nov 23 16:00:02 mail postfix/smtp[101]: 4F0C31A2B3: to=<U@EXAMPLE.ORG>, relay=none` + rest,
			"example.org"},
		{"with SMTPUTF8", `Nov 23 16:00:02 mail postfix/smtp[101]: 4F0C31A2B3: to=<ü@bücher.example>, relay=none` +
			rest, "xn--bcher-kva.example"},
		{"a hostile local part",
			`Nov 23 16:00:02 mail postfix/smtp[101]: 4F0C31A2B3: ` +
				`to=<"a@evil.example>, relay=\"x"@example.org>, relay=none` + rest, "example.org"},
		{"a hostile reason",
			`Nov 23 16:00:02 mail postfix/smtp[101]: 4F0C31A2B3: to=<u@example.org>, relay=x, ` +
				`status=deferred (/smtp[1]: 4F0C3: to=<u@evil.example>, relay=x)`, "example.org"},
		{"an address literal", `Nov 23 16:00:02 mail postfix/smtp[101]: 4F0C31A2B3: to=<u@[192.0.2.1]>, relay=none` +
			rest, ""},
		{"no domain", `Nov 23 16:00:02 mail postfix/smtp[101]: 4F0C31A2B3: to=<root>, relay=none` + rest, ""},
		{"one label", `Nov 23 16:00:02 mail postfix/smtp[101]: 4F0C31A2B3: to=<u@localhost>, relay=none` + rest, ""},
		{"local mail", `Nov 23 16:00:02 mail postfix/local[101]: 4F0C31A2B3: to=<u@example.org>, relay=local` + rest,
			""},
		{"a mailbox", `Nov 23 16:00:02 mail postfix/virtual[101]: 4F0C31A2B3: to=<u@example.org>, relay=virtual` + rest,
			""},
		{"LMTP", `Nov 23 16:00:02 mail postfix/lmtp[101]: 4F0C31A2B3: to=<u@example.org>, relay=dovecot` + rest, ""},
		{"a refused recipient",
			`Nov 23 16:00:02 mail postfix/smtpd[101]: NOQUEUE: reject: RCPT from x[192.0.2.7]: 550; ` +
				`from=<a@b.example> to=<u@example.org> proto=ESMTP helo=<x>`, ""},
		{"the sender",
			`Nov 23 16:00:02 mail postfix/qmgr[101]: 4F0C31A2B3: from=<a@b.example>, size=321, nrcpt=1 (queue active)`,
			""},
		{"a line without an end", `Nov 23 16:00:02 mail postfix/smtp[101]: 4F0C31A2B3: to=<u@example.org`, ""},
		{"another program", `Nov 23 16:00:02 mail evil[101]: 4F0C31A2B3: to=<u@example.org>, relay=none` + rest, ""},
		{"nothing", "", ""},
	}
}

func TestMaillogLines(t *testing.T) {
	for _, c := range maillogLines() {
		var set domainSet
		scanText(t, c.line, &set)
		if got := names(set.domains); got != c.want {
			t.Errorf("%s: %q, want %q:\n%s", c.why, got, c.want, c.line)
		}
	}
}

// scanText adds the recipients' domains of a log.
func scanText(t *testing.T, text string, set *domainSet) {
	t.Helper()
	in, err := maillog.NewInput("-", strings.NewReader(text), time.Now())
	if err != nil {
		return // packed, as a fuzzer may have it
	}
	if _, err := in.Scan(t.Context(), set.addDelivery); err != nil && !strings.HasPrefix(text, "BZh") &&
		!strings.HasPrefix(text, "\x1f\x8b") {
		t.Error(err)
	}
}

// TestInputs: whole inputs, with what is wrong about them.
func TestInputs(t *testing.T) {
	const tooLong = 64 << 10
	long := strings.Repeat("x", tooLong)
	for _, c := range []struct{ why, text, want, complaints string }{
		{"each once, in order", "b.example\na.example\nB.example\n", "b.example a.example", ""},
		{"no last newline", "b.example\na.example", "b.example a.example", ""},
		{"as Windows writes it", "\xef\xbb\xbfb.example\r\na.example\r\n", "b.example a.example", ""},
		{"numbers of lines", "b.example\n\n#\nx y\na.example\n-.example\n", "b.example a.example", "4 6"},
		{"a line that is too long", "b.example\n" + long + long + long + "\na.example\n", "b.example a.example", "2"},
		{"a long comment", "b.example #" + long + "\na.example\n", "b.example a.example", ""},
		{"a domain, far behind", strings.Repeat(" ", tooLong) + "b.example\na.example\n", "a.example", ""},
		{"nothing", "", "", ""},
	} {
		for _, packed := range []bool{false, true} {
			var set domainSet
			var lines []string
			text := []byte(c.text)
			if packed {
				text = pack(t, c.text)
			}
			in, err := maillog.NewInput("f", iotest.HalfReader(bytes.NewReader(text)), time.Now())
			if err != nil {
				t.Fatal(err)
			}
			err = set.readList(in, func(e *lineError) { lines = append(lines, fmt.Sprint(e.line)) })
			if err != nil {
				t.Errorf("%s: %v", c.why, err)
			}
			if got := names(set.domains); got != c.want || strings.Join(lines, " ") != c.complaints ||
				set.bad != len(lines) {
				t.Errorf("%s (packed: %v): %q, complaints about lines %v, want %q and %q", c.why, packed, got, lines,
					c.want, c.complaints)
			}
		}
	}
	var set domainSet
	broken := errors.New("input/output error")
	in, err := maillog.NewInput("f", io.MultiReader(strings.NewReader("b.example\n"), iotest.ErrReader(broken)),
		time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := set.readList(in, nil); !errors.Is(err, broken) || names(set.domains) != "b.example" {
		t.Errorf("a failing disk: %v", err)
	}
	_, err = maillog.NewInput("-", strings.NewReader("\x1f\x8bgarbage that is no gzip"), time.Now())
	if !errors.Is(err, gzip.ErrHeader) {
		t.Errorf("not packed with gzip after all: %v", err)
	}
}

func pack(t *testing.T, text string) []byte {
	t.Helper()
	var out bytes.Buffer
	half := len(text) / 2
	for _, part := range []string{text[:half], text[half:]} { // as logrotate's concatenated files are
		w := gzip.NewWriter(&out)
		if _, err := io.WriteString(w, part); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

func names(domains []dnsname.Name) string {
	texts := make([]string, len(domains))
	for i, d := range domains {
		texts[i] = d.String()
	}
	return strings.Join(texts, " ")
}

// FuzzWarmInput: whatever is in a file, only host names come out of it, each once, and each wrong line is told of.
func FuzzWarmInput(f *testing.F) {
	for _, c := range listLines() {
		f.Add([]byte(c.line + "\n"))
	}
	for _, c := range maillogLines() {
		f.Add([]byte(c.line + "\n" + c.line))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var list, log domainSet
		told := 0
		in, err := maillog.NewInput("f", bytes.NewReader(text), time.Now())
		if err != nil || bytes.HasPrefix(text, []byte("BZh")) || bytes.HasPrefix(text, []byte("\x1f\x8b")) {
			return // packed, as a fuzzer may have it
		}
		if err := list.readList(in, func(e *lineError) {
			told++
			if bad := (*dnsname.Error)(nil); !errors.As(e.err, &bad) || len(e.Error()) > 1000 {
				t.Errorf("%T, %d bytes", e.err, len(e.Error()))
			}
		}); err != nil {
			t.Error(err)
		}
		scanText(t, string(text), &log)
		lines := bytes.Count(text, []byte("\n")) + 1
		if list.bad != told || len(list.domains)+told > lines || len(log.domains) > lines {
			t.Errorf("%d lines: %d domains, %d wrong, told of %d; %d of the log", lines, len(list.domains), list.bad,
				told, len(log.domains))
		}
		for _, domains := range [][]dnsname.Name{list.domains, log.domains} {
			seen := map[dnsname.Name]bool{}
			for _, d := range domains {
				if again, err := dnsname.Parse(d.String()); err != nil || again != d || seen[d] {
					t.Errorf("%q: %v, seen before: %v", d, err, seen[d])
				}
				seen[d] = true
			}
		}
	})
}
