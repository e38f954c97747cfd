package docs

import (
	"regexp"
	"strings"
)

// commandLine is a command line of a document.
type commandLine struct {
	text    string
	example bool // the document calls it an example: no test runs it
}

// isExample finds the word that marks commands as examples, and no name such as partner.example or example.org.
var isExample = regexp.MustCompile(`(?:^|[^.@/\w-])[Ee]xamples?(?:[^.\w-]|\.(?:\s|$))`)

// notCommand finds what stands in a block or between backquotes and is no command: comments, settings, lines of logs.
var notCommand = regexp.MustCompile(`^(?:[#[\]]|dnl |define\(|FEATURE\(|-|\S+:(?:\s|$)|[a-z][\w.]* ?= ?)`)

// comment finds a comment behind a command.
var comment = regexp.MustCompile(`\s+# .*$`)

// commandLines returns the command lines of a document: those of blocks, and those between backquotes that have more
// than one word. Commands of a block, or of a paragraph, a list's item or a table's row, are examples if the paragraph
// before the block, or the text itself, has the word.
func commandLines(text string) []commandLine {
	var all []commandLine
	before, screen := "", false
	for _, part := range regexp.MustCompile(`\n(?:[ \t]*\n)+`).Split("\n"+text, -1) {
		part = strings.Trim(part, "\n")
		if !strings.HasPrefix(part, "    ") {
			before, screen = part, false
			for _, unit := range regexp.MustCompile(`\n(?:- |\| |\d+\. )`).Split(part, -1) {
				for _, line := range inline(unit) {
					all = append(all, commandLine{line, isExample.MatchString(unit)})
				}
			}
			continue
		}
		block := regexp.MustCompile(`(?m)^    `).ReplaceAllString(part, "")
		screen = screen || strings.HasPrefix(block, "$ ")
		for _, line := range ofBlock(block, screen) {
			all = append(all, commandLine{line, isExample.MatchString(before)})
		}
	}
	return all
}

// inline returns the command lines between backquotes in a text. Headings have none.
func inline(text string) (lines []string) {
	if strings.HasPrefix(text, "#") {
		return nil
	}
	for _, span := range regexp.MustCompile("``[^`]*`[^`]*`[^`]*``|`([^`]+)`").FindAllStringSubmatch(text, -1) {
		line := strings.Join(strings.Fields(span[1]), " ")
		looksLike := regexp.MustCompile(`^(?:[A-Z]+=\S+ )*[a-z./][\w./+-]* `).MatchString(line)
		if looksLike && !notCommand.MatchString(line) && !strings.HasSuffix(line, "…") {
			lines = append(lines, line)
		}
	}
	return lines
}

// ofBlock returns the command lines of a block: of a screen those behind a prompt; else all, unless the block is
// settings, a picture, or the like.
func ofBlock(block string, screen bool) (lines []string) {
	if screen {
		for _, line := range regexp.MustCompile(`(?m)^\$ (.*)$`).FindAllStringSubmatch(block, -1) {
			lines = append(lines, line[1])
		}
		return lines
	}
	if strings.Contains(block, "------>") {
		return nil
	}
	block = strings.ReplaceAll(block, "\\\n", "")
	block = regexp.MustCompile(`(?s)<<(\S+)\n.*?\n\.(\n|$)`).ReplaceAllString(block, "<<$1\n")
	for line := range strings.Lines(block) {
		line = strings.TrimSpace(comment.ReplaceAllString(strings.TrimRight(line, "\n"), ""))
		if len(lines) == 0 && notCommand.MatchString(line) {
			return nil
		}
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	return lines
}
