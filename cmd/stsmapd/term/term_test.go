package term

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestProgressLine(t *testing.T) {
	for _, c := range []struct {
		done, total, failed, width int
		want                       string
	}{
		{1, 3, 0, 80, "[##########....................] 1/3, 20s left"},
		{2, 3, 1, 80, "[####################..........] 2/3, 1 failed, 5s left"},
		{3, 3, 0, 80, "[##############################] 3/3"},
		{2, 3, 1, 24, "[####################.."},
		{1, 3, 0, 20, "[##########........"},
	} {
		if got := progressLine(c.done, c.total, c.failed, 10*time.Second, c.width); got != c.want {
			t.Errorf("%d of %d: %q, want %q", c.done, c.total, got, c.want)
		}
	}
}

// TestTable: columns hold what the first rows need; what is hostile stays within its cell.
func TestTable(t *testing.T) {
	var out bytes.Buffer
	table := NewTable(&out, "NAME", "VALUE", "LAST")
	for i := range sizingRows + 10 {
		name := fmt.Sprintf("n%d", i)
		if i == sizingRows+5 {
			name = strings.Repeat("long", 5)
		}
		table.Row(Painted(Red, name), Text("ü"), Text("evil\x1b[2J\nü"))
	}
	if err := table.End(); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if len(lines) != sizingRows+11 || lines[0] != "NAME  VALUE  LAST" || lines[1] != "n0    ü      evil?[2J?ü" {
		t.Errorf("%d lines: %q", len(lines), lines[:2])
	}
	if !strings.HasPrefix(lines[sizingRows+6], "longlonglonglonglong  ü") {
		t.Errorf("a long cell: %q", lines[sizingRows+6])
	}
	for _, line := range lines {
		if !utf8.ValidString(line) {
			t.Errorf("%q", line)
		}
	}
}

// TestNarrowTable: on a terminal each line fits, and no row loses anything but the middle of its name.
func TestNarrowTable(t *testing.T) {
	head := []string{"DOMAIN", "MODE", "EXPIRES", "FETCHED", "USED", "FROM", "STATE"}
	long := "a-long-name-of-a-department.of-a-university.example"
	reason := "failing since 2026-11-28 02:00: fetch: connection to 192.0.2.1:443 refused by the other side"
	for _, c := range []struct {
		columns int
		want    []string
	}{
		{200, []string{long + "  enforce", "2d ago  here  " + reason}},
		{100, []string{long + "  enforce", "\n  failing since", long + "  enforce  in 2d 3h  1d 1h ago  2d ago  " +
			"here\n"}},
		{60, []string{"a-long-n…example  enforce", "\n  failing since"}},
	} {
		var out bytes.Buffer
		table := NewTable(&out, head...)
		table.columns = c.columns
		for _, name := range []string{"a.example", long} {
			table.Row(Text(name), Text("enforce"), Text("in 2d 3h"), Text("1d 1h ago"), Text("2d ago"), Text("here"),
				Text(reason))
		}
		if err := table.End(); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(out.String()) {
			if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > c.columns {
				t.Errorf("%d columns: a line of %d: %q", c.columns, n, line)
			}
		}
		for _, want := range c.want {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%d columns: there is no %q in\n%s", c.columns, want, &out)
			}
		}
		if strings.Join(strings.Fields(out.String()), " ") == "" || strings.Count(out.String(), "refused") != 2 {
			t.Errorf("%d columns: a reason is cut:\n%s", c.columns, &out)
		}
	}
}

func TestNarrowSheet(t *testing.T) {
	var out bytes.Buffer
	s := NewSheet(&out, 8)
	s.columns = 40
	s.Line("problem", Red, "cannot write the policy store: check the disk space")
	want := "  problem   cannot write the policy\n            store: check the disk space\n"
	if out.String() != want || s.Err != nil {
		t.Errorf("%q, want %q", &out, want)
	}
}

func TestWords(t *testing.T) {
	for _, c := range []struct {
		n          int
		noun, want string
	}{
		{0, "policy", "0 policies"}, {1, "fetch", "1 fetch"}, {2, "fetch", "2 fetches"}, {2, "day", "2 days"},
		{2, "key", "2 keys"}, {2, "refresh", "2 refreshes"},
		{2, "address", "2 addresses"}, {1, "policy", "1 policy"}, {12, "domain", "12 domains"},
	} {
		if got := Plural(c.n, c.noun); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
	for _, c := range []struct {
		name  string
		limit int
		want  string
	}{{"short.example", 20, "short.example"}, {"abcdefghij", 10, "abcdefghij"}, {"abcdefghijk", 7, "abc…ijk"},
		{"äöüßéèêë", 5, "äö…êë"}, {"abcdefgh", 6, "abc…gh"}} {
		if got := Short(c.name, c.limit); got != c.want {
			t.Errorf("%q in %d: %q, want %q", c.name, c.limit, got, c.want)
		}
	}
}

func TestNearest(t *testing.T) {
	words := []string{"cache", "check", "config", "query", "serve", "--listen"}
	for _, c := range []struct{ word, want string }{
		{"chekc", "check"}, {"srve", "serve"}, {"conf", "config"}, {"--lisen", "--listen"}, {"frobnicate", ""},
		{"CACHE", "cache"},
	} {
		if got := Nearest(c.word, words); got != c.want {
			t.Errorf("%s: %q, want %q", c.word, got, c.want)
		}
	}
}

// TestRow: label, mark and text stand in columns; what is hostile or long stays within its own.
func TestRow(t *testing.T) {
	rows := func(s Sheet) string {
		var out bytes.Buffer
		s.out, s.width = &out, 8
		s.Row("record", OK, "one two three four five six")
		s.Row("a label that is long", Fail, "evil\x1b[2J")
		s.Row("", Note, "x")
		s.Row("blank", NoMark, "")
		return out.String()
	}
	want := "record  ok   one two three four five\n             six\na label that is long\n        FAIL evil?[2J\n" +
		"        note x\nblank\n"
	if got := rows(Sheet{columns: 37}); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	coloured := rows(Sheet{columns: 37, colours: true})
	for _, want := range []string{"\x1b[32mok   \x1b[0mone", "\x1b[31mFAIL \x1b[0mevil", "\x1b[33mnote \x1b[0mx"} {
		if !strings.Contains(coloured, want) {
			t.Errorf("%q is not in %q", want, coloured)
		}
	}
}

// TestParagraph: on a narrow terminal each line of words fits, no word is lost, and a colour takes no place.
func TestParagraph(t *testing.T) {
	text := strings.Repeat("mail to domains with TLSA records waits ", 6)
	for _, head := range []string{"", "  cure: ", "error dane-not-done: "} {
		var screens [2]bytes.Buffer
		for i, colours := range []bool{false, true} {
			s := Sheet{out: &screens[i], columns: 40, colours: colours}
			s.Paragraph(Red, head, 6, text)
		}
		plain, coloured := screens[0].String(), screens[1].String()
		if got := strings.NewReplacer("\x1b[31m", "", "\x1b[0m", "").Replace(coloured); got != plain {
			t.Errorf("%q: without its colours it is %q, want %q", head, got, plain)
		}
		if head != "" && !strings.HasPrefix(coloured, "\x1b[31m"+head+"\x1b[0mmail") {
			t.Errorf("%q: no colour in %q", head, coloured)
		}
		for line := range strings.Lines(plain) {
			if line = strings.TrimSuffix(line, "\n"); len(line) > 40 {
				t.Errorf("%q: a line of %d: %q", head, len(line), line)
			}
		}
		if got, want := strings.Fields(plain), strings.Fields(head+text); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", head, got, want)
		}
	}
}

// TestTableBegin: with widths that are known, each row is written as it comes; on a terminal the last column has what
// room there is, and a name is cut.
func TestTableBegin(t *testing.T) {
	for _, c := range []struct {
		columns int
		want    []string
	}{
		{0, []string{"NAME          MARK  TEXT\n", "a-name-that-is-long.example  ok    one two three four five six\n"}},
		{45, []string{"NAME          MARK  TEXT\n", "a-name…ample  ok    one two three four five\n" +
			"                    six\n"}},
	} {
		var out bytes.Buffer
		table := NewTable(&out, "NAME", "MARK", "TEXT")
		table.columns = c.columns
		table.Begin(12, 4)
		for i, row := range [][]Cell{nil, {Text("a-name-that-is-long.example"), OK.Cell(),
			Text("one two three four five six")}} {
			if row != nil {
				table.Row(row...)
			}
			if err := table.End(); err != nil || out.String() != c.want[i] {
				t.Errorf("%d columns, row %d: %q, %v, want %q", c.columns, i, out.String(), err, c.want[i])
			}
			out.Reset()
		}
	}
}

func TestWaiting(t *testing.T) {
	var out bytes.Buffer
	l := &Waiting{out: &out}
	l.Clear()
	l.Show("looking up \x1b[2J")
	l.Clear()
	l.Clear()
	if got, want := out.String(), "\r\x1b[Klooking up ?[2J …\r\x1b[K"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	none := NewWaiting(&out)
	none.Show("x")
	none.Clear()
	if none != nil || strings.Contains(out.String(), "x") {
		t.Errorf("%q is shown where there is no terminal", out.String())
	}
}

func TestParseSpan(t *testing.T) {
	const day = 24 * time.Hour
	for text, want := range map[string]time.Duration{
		"7d": 7 * day, "36500d": 36500 * day, "36h": 36 * time.Hour, "90m": 90 * time.Minute,
	} {
		if got, err := ParseSpan(text); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "d", "0d", "-1d", "-5m", "0s", "7", "1.5d", "36501d", "99999999999d",
		"soon"} {
		if got, err := ParseSpan(text); err == nil {
			t.Errorf("%q is taken for %v", text, got)
		}
	}
}
