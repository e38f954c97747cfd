package man

import (
	"fmt"
	"strings"
)

// Settings returns the page of a configuration file, made from its text: comments, and below each the setting that it
// describes, commented out, with its default. about is the text of the section DESCRIPTION.
func Settings(file string, section int, about, text string) string {
	p := newPage(file, section, "settings of stsmapd")
	p.section("DESCRIPTION")
	p.prose(about)
	p.section("SETTINGS")
	var comment []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch sentence, isComment := strings.CutPrefix(line, "# "); {
		case isComment:
			comment = append(comment, sentence)
		case line == "":
			comment = nil // a comment that describes no setting is not in the page
		case strings.HasPrefix(strings.TrimPrefix(line, "#"), "["):
			fmt.Fprintf(p, ".SS %s\n", escape(strings.TrimPrefix(line, "#")))
			if comment != nil {
				p.prose(strings.Join(comment, "\n"))
			}
			comment = nil
		default:
			p.item(strings.TrimPrefix(line, "#"), strings.Join(comment, "\n"))
			comment = nil
		}
	}
	p.section("SEE ALSO")
	p.line("stsmapd(8)")
	return p.String()
}
