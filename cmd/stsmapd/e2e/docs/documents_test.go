// Package docs tests that what the documents say of the tree is true, that the tree keeps the rules of CONTRIBUTING.md,
// and which licences the binary is under.
package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = "../../../.."

// tree is what the documents may name.
type tree struct {
	documents map[string]string // the text of each .md file, by its path below root
	packages  map[string]bool   // the folders with Go files, by their paths below root
	base      map[string]bool   // the names of all files, without their folders
	tests     map[string]bool   // the names of all Test and Fuzz functions
}

func readTree(t *testing.T) tree {
	t.Helper()
	found := tree{documents: map[string]string{}, packages: map[string]bool{}, base: map[string]bool{},
		tests: map[string]bool{}}
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); name == ".git" || path == filepath.Join(root, "build") {
				return fs.SkipDir
			}
			return nil
		}
		below, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		below = filepath.ToSlash(below)
		found.base[d.Name()] = true
		if strings.HasSuffix(path, ".go") {
			found.packages[filepath.Dir(below)] = true
		}
		if !strings.HasSuffix(path, ".md") && !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if strings.HasSuffix(path, ".md") {
			found.documents[below] = string(text)
			return nil
		}
		for _, name := range declared.FindAllSubmatch(text, -1) {
			found.tests[string(name[1])] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestNames: what a document names is there: files it links to, files, tests, and targets of the Makefile.
func TestNames(t *testing.T) {
	tree := readTree(t)
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	least := map[string]int{ // of the names found, by document: the patterns still match what is written
		"SECURITY.md": 90, "CONTRIBUTING.md": 80, "README.md": 15,
		"packaging/docs/fleet.md": 2, "packaging/docs/migration.md": 1, "packaging/docs/README.md": 12,
		"packaging/docs/promises.md": 10,
	}
	for document := range least {
		if _, ok := tree.documents[document]; !ok {
			t.Errorf("%s is not there", document)
		}
	}
	for document, text := range tree.documents {
		t.Run(document, func(t *testing.T) {
			found := 0
			check := func(kind, pattern string, is func(name string) bool) {
				for _, name := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
					found++
					if !is(name[1]) {
						t.Errorf("%s: there is no such %s", name[1], kind)
					}
				}
			}
			exists := func(path string) bool {
				matches, err := filepath.Glob(path)
				return err == nil && len(matches) > 0
			}
			check("link", `\]\(([\w./-]+)[#)]`, func(name string) bool {
				return exists(filepath.Join(root, filepath.Dir(document), name))
			})
			check("path", `(?m)(?:^|[^\w./-]|\./)((?:resolver|socketmap|cache|cmd|packaging|\.ci)/[\w./*-]*)`,
				func(name string) bool { return exists(filepath.Join(root, strings.TrimRight(name, "./"))) })
			check("file", "`([\\w-]+\\.(?:go|sh|md))`", func(name string) bool { return tree.base[name] })
			check("test", `\b((?:Test|Fuzz)[A-Z]\w+)`, func(name string) bool { return tree.tests[name] })
			check("target", "(?m)(?:`|^    )make ([a-z][a-z0-9-]*)", func(name string) bool {
				return regexp.MustCompile(`(?m)^` + name + `:`).Match(makefile)
			})
			if found < least[document] {
				t.Errorf("only %d names were found", found)
			}
			t.Logf("%d names", found)
		})
	}
}

// TestPackages: CONTRIBUTING.md's table of packages names each folder that has Go files.
func TestPackages(t *testing.T) {
	tree := readTree(t)
	for folder := range tree.packages {
		if !strings.Contains(tree.documents["CONTRIBUTING.md"], "`"+folder+"`") {
			t.Errorf("%s is not in the table of CONTRIBUTING.md", folder)
		}
	}
	if len(tree.packages) < 30 {
		t.Errorf("only %d packages: %v", len(tree.packages), tree.packages)
	}
}

// TestPagesAreInstalled: the pages of packaging/docs, which the packages carry, link to each other and to nothing that
// is not installed; the manual pages name no file of the source. README.md fits on a few screens.
func TestPagesAreInstalled(t *testing.T) {
	tree := readTree(t)
	links := 0
	for document, text := range tree.documents {
		if filepath.Dir(document) != "packaging/docs" {
			continue
		}
		if !strings.Contains(tree.documents["packaging/docs/README.md"], "]("+filepath.Base(document)+")") &&
			filepath.Base(document) != "README.md" {
			t.Errorf("the index packaging/docs/README.md does not have %s", document)
		}
		for _, link := range regexp.MustCompile(`\]\(([^)]+)\)`).FindAllStringSubmatch(text, -1) {
			target, section, _ := strings.Cut(link[1], "#")
			page, ok := tree.documents["packaging/docs/"+target]
			if target == "" {
				page, ok = text, true
			}
			switch links++; {
			case strings.HasPrefix(link[1], "https://"):
			case !ok:
				t.Errorf("%s: the link %s leads to no page that is installed", document, link[1])
			case section != "" && !hasHeading(page, section):
				t.Errorf("%s: %s: there is no such heading", document, link[1])
			}
		}
	}
	if links < 15 {
		t.Errorf("only %d links", links)
	}
	manual, err := filepath.Glob(filepath.Join(root, "packaging/man/*.[58]"))
	if err != nil || len(manual) < 10 {
		t.Fatalf("%d manual pages: %v", len(manual), err)
	}
	for _, page := range manual {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		shown := regexp.MustCompile(`(?m)^\.\\".*$`).ReplaceAll(text, nil)
		if found := regexp.MustCompile(`packaging/|[A-Z]+\.md|\w+\.go\b`).Find(shown); found != nil {
			t.Errorf("%s names %s, which is not installed", filepath.Base(page), found)
		}
	}
	if lines := strings.Count(tree.documents["README.md"], "\n"); lines > 150 {
		t.Errorf("README.md has %d lines, at most 150", lines)
	}
}

// hasHeading reports whether a page has the heading of a link, in the form that GitHub gives it.
func hasHeading(page, anchor string) bool {
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(page, -1) {
		name := regexp.MustCompile(`[^a-z0-9 _-]`).ReplaceAllString(strings.ToLower(heading[1]), "")
		if strings.ReplaceAll(name, " ", "-") == anchor {
			return true
		}
	}
	return false
}

// TestSymptoms: what troubleshooting.md says that Postfix logs, Postfix logs: each heading is in the collection of its
// log lines.
func TestSymptoms(t *testing.T) {
	var lines string
	for _, name := range []string{"forms.txt", "joins.txt", "public.txt"} {
		text, err := os.ReadFile(filepath.Join(root, "cmd/stsmapd/maillog/testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		lines += string(text)
	}
	symptoms := regexp.MustCompile("(?m)^### `(.*)`$").FindAllStringSubmatch(
		readTree(t).documents["packaging/docs/troubleshooting.md"], -1)
	if len(symptoms) < 15 {
		t.Errorf("only %d symptoms", len(symptoms))
	}
	for _, symptom := range symptoms {
		pattern := regexp.QuoteMeta(symptom[1])
		for _, name := range []string{"DOMAIN", "MX:25", "MX", "REASON"} {
			pattern = strings.ReplaceAll(pattern, "'"+name+"'", `\S+`)
			pattern = regexp.MustCompile(`\b`+name+`\b`).ReplaceAllString(pattern, `\S+`)
		}
		if !regexp.MustCompile(pattern).MatchString(lines) {
			t.Errorf("no line of Postfix's has %q", symptom[1])
		}
	}
}
