package usage

import "testing"

// TestFitted: prose and items are broken at the width of the terminal, and lines to paste are not.
func TestFitted(t *testing.T) {
	for _, c := range []struct{ why, text, want string }{
		{"prose is one paragraph, however it is written", "one two three four\nfive six seven eight nine",
			"one two three four five six\nseven eight nine"},
		{"paragraphs stay apart", "one\n\ntwo", "one\n\ntwo"},
		{"an item's text hangs beside its name", "Codes:\n  0  it works, or it will work soon\n  1  no",
			"Codes:\n  0  it works, or it will\n     work soon\n  1  no"},
		{"lines below an item's text continue it", "  mode  enforce,\n        testing or none at all",
			"  mode  enforce, testing or\n        none at all"},
		{"a command is not broken", "    stsmapd cache export --postfix >/etc/postfix/mta-sts",
			"    stsmapd cache export --postfix >/etc/postfix/mta-sts"},
		{"a column that is too narrow is not broken", "      --name  what is said of it here, at length",
			"      --name  what is said of it here, at length"},
		{"the end of line stays", "one\n", "one\n"},
	} {
		if got := fitted(c.text, 28); got != c.want {
			t.Errorf("%s: %q, want %q", c.why, got, c.want)
		}
	}
}
