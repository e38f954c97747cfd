package maillog

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// journalField writes a field as `journalctl -o export` does: in binary form what is not printable text of one line.
func journalField(out *bytes.Buffer, name, value string) {
	if !strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == '\uFFFD' }) {
		fmt.Fprintf(out, "%s=%s\n", name, value)
		return
	}
	out.WriteString(name + "\n")
	_ = binary.Write(out, binary.LittleEndian, uint64(len(value))) // a bytes.Buffer takes everything
	out.WriteString(value + "\n")
}

// asJournal writes a log of traditional lines as journalctl exports it.
func asJournal(t testing.TB, log string) string {
	t.Helper()
	var out bytes.Buffer
	for line := range strings.Lines(log) {
		h, ok := parseHeader([]byte(strings.TrimSuffix(line, "\n")))
		if !ok {
			continue // another program's: the unit leaves it out
		}
		var l Line
		h.fill(clock{zone: time.UTC, newest: noon()}, &l)
		journalField(&out, "__CURSOR", "s=0;i=1")
		journalField(&out, "__REALTIME_TIMESTAMP", fmt.Sprint(l.Time.UnixMicro()))
		journalField(&out, "_HOSTNAME", string(l.Host))
		journalField(&out, "PRIORITY", "6")
		journalField(&out, "SYSLOG_IDENTIFIER", string(h.name))
		journalField(&out, "SYSLOG_RAW", line)
		journalField(&out, "MESSAGE", string(h.text))
		journalField(&out, "_PID", string(h.pid))
		out.WriteString("\n")
	}
	return out.String()
}

// TestJournalSaysTheSame: from the journal a report is the same as from a file.
func TestJournalSaysTheSame(t *testing.T) {
	for _, name := range []string{"joins.txt", "public.txt"} {
		for _, c := range logCases(t, name) {
			if strings.HasPrefix(c.log, "??") {
				continue // the journal's times can all be read
			}
			if got := summarize(reportOf(t, asJournal(t, c.log))); got != c.want {
				t.Errorf("%s:\n%s\nwant\n%s", c.why, got, c.want)
			}
		}
	}
}

// journalTexts are exports; want are the events, and how many entries are cut.
func journalTexts() []struct {
	why, text, want string
	cut             int64
} {
	field := func(name, value string) string {
		var out bytes.Buffer
		journalField(&out, name, value)
		return out.String()
	}
	front := field("__CURSOR", "x") + field("__REALTIME_TIMESTAMP", "1795449602000000") + field("SYSLOG_IDENTIFIER",
		"postfix/smtp")
	const message = "4F0C31A2B3: to=<u@example.com>, relay=none, dsn=4.4.1, status=deferred (x)"
	const want = "to example.com by none: deferred 4.4.1"
	length := func(n uint64) string { return string(binary.LittleEndian.AppendUint64(nil, n)) }
	return []struct {
		why, text, want string
		cut             int64
	}{
		{"an entry", front + field("MESSAGE", message) + "\n", want, 0},
		{"two", strings.Repeat(front+field("MESSAGE", message)+"\n", 2), want + "\n" + want, 0},
		{"no empty line at the end", front + field("MESSAGE", message), want, 0},
		{"empty lines", "__X=1\n\n\n\n" + front + field("MESSAGE", message) + "\n\n\n", want, 0},
		{"a message in binary form", front + "MESSAGE\n" + length(uint64(len(message))) + message + "\n\n", want, 0},
		{"a message with a newline in it", front + field("MESSAGE", message[:len(message)-1]+"\ny)") + "\n", want, 0},
		{"a message that is no UTF-8", front + field("MESSAGE", message[:len(message)-1]+"\xff)") + "\n", want, 0},
		{"another field in binary form, with a line like ours in it", front + field("OTHER", "a\n\nMESSAGE=evil\n") +
			field("MESSAGE", message) + "\n", want, 0},
		{"another program", strings.ReplaceAll(front, "postfix/smtp", "evil/smtpd") + field("MESSAGE", message) + "\n",
			"", 0},
		{"no message", front + "\n", "", 0},
		{"a long field", front + field("OTHER", strings.Repeat("x", 3*readBuffer)) + field("MESSAGE", message) + "\n",
			want, 1},
		{"a long message", front + field("MESSAGE", message+strings.Repeat("x", 3*readBuffer)) + "\n", want, 1},
		{"a long message in binary form", front + field("MESSAGE", message+"\n"+strings.Repeat("x", 3*readBuffer)) +
			"\n", want, 1},
		{"cut inside a length", front + field("MESSAGE", message) + "OTHER\n\x01\x00", want, 1},
		{"cut inside a value", front + field("MESSAGE", message) + "OTHER\n" + length(100) + "x", want, 1},
		{"an absurd length", front + field("MESSAGE", message) + "OTHER\n" + length(1<<63) + "x", want, 1},
		{"a line that is no field", front + strings.Repeat("z", maxFieldName+1) + "\n" + field("MESSAGE", message) +
			"\n", want, 1},
		{"no time", "__CURSOR=x\nSYSLOG_IDENTIFIER=postfix/smtp\nMESSAGE=" + message + "\n\n", want, 0},
	}
}

func TestJournal(t *testing.T) {
	for _, c := range journalTexts() {
		for _, slow := range []bool{false, true} {
			var r io.Reader = strings.NewReader(c.text)
			if slow {
				r = iotest.OneByteReader(r)
			}
			in, err := NewInput("the journal", r, noon())
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			stats, err := in.Scan(context.Background(), func(_ *Line, e Event) { got = append(got, describe(e)) })
			if strings.Join(got, "\n") != c.want || stats.Cut != c.cut || err != nil {
				t.Errorf("%s (slow: %v): %q, cut %d, %v; want %q, cut %d", c.why, slow, got, stats.Cut, err, c.want,
					c.cut)
			}
		}
	}
}

func TestJournalLine(t *testing.T) {
	text := "__REALTIME_TIMESTAMP=1795449602500000\n_PID=7\nSYSLOG_PID=101\n_HOSTNAME=mail\n" +
		"SYSLOG_IDENTIFIER=postfix-out/bulk/smtp\n" +
		"MESSAGE=connect to mx.example.com[192.0.2.1]:25: Connection refused\n\n"
	seen := 0
	scan(t, text, func(l *Line, _ Event) {
		seen++
		if l.PID != 101 || string(l.Host) != "mail" || string(l.Instance) != "postfix-out/bulk" || l.Program != SMTP ||
			!l.Time.Equal(time.UnixMicro(1795449602500000)) {
			t.Errorf("%+v", l)
		}
	})
	if seen != 1 {
		t.Errorf("%d events", seen)
	}
}

// FuzzJournal: whatever is exported, reading ends without a panic, keeps little of an entry, and is told of the whole
// input.
func FuzzJournal(f *testing.F) {
	for _, c := range journalTexts() {
		if len(c.text) < readBuffer { // long inputs make fuzzing slow
			f.Add([]byte(c.text))
		}
	}
	for _, c := range logCases(f, "joins.txt") {
		f.Add([]byte(asJournal(f, c.log)))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var e journalEntry
		r := bufio.NewReaderSize(bytes.NewReader(text), readBuffer)
		for entries := 0; ; entries++ {
			err := readJournalEntry(r, &e)
			for _, kept := range [][]byte{e.message, e.identifier, e.syslogPID, e.pid, e.host, e.micros} {
				if len(kept) > maxCutLine || cap(kept) > 2*maxCutLine {
					t.Fatalf("%d bytes kept, room for %d", len(kept), cap(kept))
				}
			}
			if err == io.EOF {
				break
			}
			if err != nil || entries > len(text) {
				t.Fatalf("entry %d: %v", entries, err)
			}
		}
		report := NewReport(Limits{Domains: 10, Waiting: 10, Processes: 10})
		scan(t, "__X=\n"+string(text), report.Add)
		checkReport(t, report)
	})
}
