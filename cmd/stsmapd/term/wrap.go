package term

import (
	"strings"
	"unicode/utf8"
)

// Columns returns the width of the terminal w, and 80 if w is not a terminal.
func Columns(w any) int {
	if width := Width(w); width > 0 {
		return width
	}
	return 80
}

// Wrap breaks a text at spaces into lines of at most width characters; a longer word is on a line of its own. A width
// of 0 or less leaves the text in one line.
func Wrap(text string, width int) []string {
	if width <= 0 {
		return []string{text}
	}
	var lines []string
	line, length := "", 0
	for word := range strings.SplitSeq(text, " ") {
		n := utf8.RuneCountInString(word)
		switch {
		case length == 0:
			line, length = word, n
		case length+1+n > width:
			lines = append(lines, line)
			line, length = word, n
		default:
			line, length = line+" "+word, length+1+n
		}
	}
	return append(lines, line)
}

// Short returns a name, with its start and its end alone if it is longer than limit characters, which must be 3 or
// more.
func Short(name string, limit int) string {
	if utf8.RuneCountInString(name) <= limit {
		return name
	}
	r := []rune(name)
	end := (limit - 1) / 2
	return string(r[:limit-1-end]) + "…" + string(r[len(r)-end:])
}
