package maillog

import (
	"strings"
	"testing"
)

// TestPublicReports: what people have shown of their logs in public, rewritten with example names.
func TestPublicReports(t *testing.T) {
	sources := map[string]bool{}
	for _, c := range logCases(t, "public.txt") {
		if !strings.HasPrefix(c.comment, "https://") || sources[c.comment] {
			t.Errorf("%s: the source %q is no address, or another case has it", c.why, c.comment)
		}
		sources[c.comment] = true
		if got := summarize(reportOf(t, c.log)); got != c.want {
			t.Errorf("%s (%s):\n%s\nwant\n%s", c.why, c.comment, got, c.want)
		}
		if strings.Contains(c.log, "=>") || c.lines == 0 {
			t.Errorf("%s: not a case", c.why)
		}
	}
	if len(sources) < 40 {
		t.Errorf("%d origins", len(sources))
	}
}
