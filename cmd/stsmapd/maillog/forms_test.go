package maillog

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// logCase is a paragraph of a file in testdata: "# why", log lines, and what is wanted of them behind "=> ". Lines
// that begin with "##" are comments.
type logCase struct {
	why, comment, log, want string
	lines                   int
}

// logCases reads a file of cases. The first paragraph is its introduction.
func logCases(t testing.TB, name string) []logCase {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "\n\n")
	var cases []logCase
	for paragraph := range strings.SplitSeq(strings.TrimSpace(rest), "\n\n") {
		var c logCase
		var log, want []string
		for line := range strings.SplitSeq(paragraph, "\n") {
			if comment, ok := strings.CutPrefix(line, "## "); ok {
				c.comment = comment
			} else if why, ok := strings.CutPrefix(line, "# "); ok {
				c.why = why
			} else if result, ok := strings.CutPrefix(line, "=>"); ok {
				want = append(want, strings.TrimPrefix(result, " "))
			} else {
				log = append(log, line)
			}
		}
		c.log, c.want, c.lines = strings.Join(log, "\n")+"\n", strings.Join(want, "\n"), len(log)
		cases = append(cases, c)
	}
	return cases
}

func TestForms(t *testing.T) {
	for _, c := range logCases(t, "forms.txt") {
		if got := events(t, c.log); got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", c.why, got, c.want)
		}
	}
}

// TestReasonTexts: each text that Postfix has is in a case of a real form, and each reason has its own word.
func TestReasonTexts(t *testing.T) {
	forms, err := os.ReadFile(filepath.Join("testdata", "forms.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range reasonTexts {
		if !strings.Contains(string(forms), r.text) && r.reason != RequireTLS {
			t.Errorf("no form has %q", r.text)
		}
		if got, suspended := classify([]byte(suspendedText + r.text + " x")); got != r.reason || !suspended {
			t.Errorf("%q is %v", r.text, got)
		}
	}
	seen := map[string]bool{}
	for r := range ReasonCount {
		text, err := r.MarshalText()
		if word := string(text); err != nil || word == "" || seen[word] || strings.ToLower(word) != word {
			t.Errorf("reason %d has the word %q, seen before: %v", r, word, seen[word])
		}
		seen[string(text)] = true
	}
	if got := ReasonCount.String(); got != "Reason(18)" {
		t.Errorf("a reason that does not exist is %q", got)
	}
}
