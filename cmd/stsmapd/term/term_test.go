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
