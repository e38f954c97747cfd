package man

import (
	"regexp"
	"strings"
)

// FromMarkdown returns a document, up to its first second-level heading, as a section for Commands: a table becomes
// items, and code, emphasis and links lose their marks.
func FromMarkdown(title, text string) string {
	_, text, _ = strings.Cut(text, "\n") // its heading
	text, _, _ = strings.Cut(text, "\n## ")
	listed := regexp.MustCompile(`\n(- |\d+\. )`)
	out := "\n# " + title + "\n\n"
	for _, paragraph := range strings.Split(strings.Trim(text, "\n"), "\n\n") {
		switch {
		case strings.HasPrefix(paragraph, "|"):
			out += items(paragraph)
		case strings.HasPrefix(paragraph, "<!--"), strings.HasPrefix(paragraph, "!["):
		case strings.HasPrefix(paragraph, "    "):
			out += paragraph + "\n\n"
		default:
			for _, one := range strings.Split(listed.ReplaceAllString(paragraph, "\n\n$1"), "\n\n") {
				out += plain(one) + "\n\n"
			}
		}
	}
	return out
}

// items returns the rows of a table as items: the first cell and, below it, the others.
func items(table string) (out string) {
	for i, row := range strings.Split(table, "\n") {
		if i < 2 { // the head, and the line below it
			continue
		}
		row = regexp.MustCompile(`,(\S)`).ReplaceAllString(row, ", $1") // a list without spaces cannot be broken
		cells := strings.Split(strings.Trim(row, "| "), " | ")
		out += plain(cells[0]) + ":\n\t" + plain(strings.Join(cells[1:], "; ")) + "\n\n"
	}
	return out
}

// plain returns a paragraph without marks, in lines that do not begin with a space.
func plain(text string) string {
	text = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`).ReplaceAllString(text, "$1")
	text = strings.NewReplacer("`", "", "**", "").Replace(text)
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = strings.TrimSpace(line)
	}
	return strings.Join(lines, "\n")
}
