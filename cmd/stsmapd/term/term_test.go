package term

import (
	"bytes"
	"fmt"
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
		{2, "key", "2 keys"}, {2, "address", "2 addresses"}, {1, "policy", "1 policy"}, {12, "domain", "12 domains"},
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
