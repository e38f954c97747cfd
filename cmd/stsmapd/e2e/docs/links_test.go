package docs

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// brokenLinks returns what is wrong with the links of a document, and how many links it has: each leads to a document
// and a heading of it, to a file that exists, or to another host. A page of packaging/docs, which the packages install,
// links to nothing that is not installed with it.
func brokenLinks(documents map[string]string, exists func(path string) bool, document string) (broken []string,
	links int) {
	text := documents[document]
	fail := func(link, format string, args ...any) {
		broken = append(broken, fmt.Sprintf("%s: the link %s: ", document, link)+fmt.Sprintf(format, args...))
	}
	link := regexp.MustCompile(`\]\(([^)\s]+)\)|<(?:a|img|source)\s[^>]*(?:href|src|srcset)="([^"]+)"`)
	for _, match := range link.FindAllStringSubmatch(text, -1) {
		link := match[1] + match[2]
		links++
		if strings.HasPrefix(link, "https://") {
			continue
		}
		target, section, _ := strings.Cut(link, "#")
		below := path.Join(path.Dir(document), target)
		if target == "" {
			below = document
		}
		page, isDocument := documents[below]
		const installed = "packaging/docs"
		switch {
		case !isDocument && !exists(below):
			fail(link, "there is no %s", below)
		case path.Dir(document) == installed && (path.Dir(below) != installed || path.Ext(below) != ".md"):
			fail(link, "%s is not installed with the page", below)
		case section != "" && !hasHeading(page, section):
			fail(link, "%s has no heading #%s", below, section)
		}
	}
	return broken, links
}

// hasHeading reports whether a page has the heading of a link, in the form that GitHub gives it.
func hasHeading(page, anchor string) bool {
	seen := map[string]int{}
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(page, -1) {
		name := regexp.MustCompile(`[^\pL\pN _-]`).ReplaceAllString(strings.ToLower(heading[1]), "")
		name = strings.ReplaceAll(name, " ", "-")
		seen[name]++
		if n := seen[name]; n > 1 { // GitHub numbers headings of the same text
			name = fmt.Sprintf("%s-%d", name, n-1)
		}
		if name == anchor {
			return true
		}
	}
	return false
}

// TestLinks: every link within the documents leads somewhere, to a heading too.
func TestLinks(t *testing.T) {
	tree := readTree(t)
	exists := func(path string) bool {
		_, err := os.Stat(filepath.Join(root, path))
		return err == nil
	}
	all := 0
	for document := range tree.documents {
		broken, links := brokenLinks(tree.documents, exists, document)
		all += links
		for _, problem := range broken {
			t.Error(problem)
		}
	}
	if all < 40 {
		t.Errorf("only %d links in all documents: are they still found?", all)
	}
	t.Logf("%d links", all)
}

// TestBrokenLinks: a link that leads nowhere is found.
func TestBrokenLinks(t *testing.T) {
	const page = "# One\n\n## What `it` does, and why\n\n## Again\n\n## Again\n"
	tests := []struct {
		why, document, text string
		want                string // a part of the problem; "": none
	}{
		{"a page", "README.md", "[x](packaging/docs/page.md)", ""},
		{"a page that is not there", "README.md", "[x](packaging/docs/gone.md)", "there is no packaging/docs/gone.md"},
		{"a heading", "README.md", "[x](packaging/docs/page.md#what-it-does-and-why)", ""},
		{"a heading that is not there", "README.md", "[x](packaging/docs/page.md#what-it-did)",
			"packaging/docs/page.md has no heading #what-it-did"},
		{"the second heading of a text", "README.md", "[x](packaging/docs/page.md#again-1)", ""},
		{"a third one", "README.md", "[x](packaging/docs/page.md#again-2)", "no heading #again-2"},
		{"a heading of the same page", "SECURITY.md", "[x](#rows)\n\n# Rows\n", ""},
		{"one that the page does not have", "SECURITY.md", "[x](#row)\n\n# Rows\n", "no heading #row"},
		{"a heading of what is no page", "README.md", "[x](LICENSE#mit)", "no heading #mit"},
		{"a picture", "README.md", "![x](LICENSE)", ""},
		{"a picture that is not there", "README.md", "![x](picture.svg)", "there is no picture.svg"},
		{"a picture in HTML that is not there", "README.md",
			"<picture><source media=\"dark\" srcset=\"dark.png\"><img alt=\"x\" src=\"LICENSE\"></picture>",
			"there is no dark.png"},
		{"another host", "README.md", "[x](https://example.org/#nowhere)", ""},
		{"what is not installed with a page", "packaging/docs/page.md", "[x](../../README.md)", "is not installed"},
		{"a picture, which is not either", "packaging/docs/page.md", "![x](../../LICENSE)", "is not installed"},
	}
	for _, test := range tests {
		t.Run(test.why, func(t *testing.T) {
			documents := map[string]string{"packaging/docs/page.md": page, "README.md": ""}
			documents[test.document] = test.text
			got, links := brokenLinks(documents, func(path string) bool { return path == "LICENSE" }, test.document)
			if links == 0 {
				t.Error("no link was found")
			}
			all := strings.Join(got, "")
			if len(got) > 1 || (test.want == "") != (all == "") || !strings.Contains(all, test.want) {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}
