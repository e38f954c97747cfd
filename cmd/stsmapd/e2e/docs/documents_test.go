// Package docs tests that what the documents say of the tree is true, that the tree keeps the rules of CONTRIBUTING.md,
// and which licences the binary is under.
package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

const root = "../../../.."

// tree is what the documents may name.
type tree struct {
	documents map[string]string // the text of each .md file, by its path below root
	packages  map[string]bool   // the folders with Go files, by their paths below root
	base      map[string]bool   // the names of all files, without their folders
	tests     map[string]bool   // the names of all Test, Fuzz and Benchmark functions
	// the files of tests of the package that a test stands in, by the test's name
	inPackageOf map[string]string
}

// readOnce reads the tree for all tests.
var readOnce = sync.OnceValues(func() (tree, error) {
	found := tree{documents: map[string]string{}, packages: map[string]bool{}, base: map[string]bool{},
		tests: map[string]bool{}, inPackageOf: map[string]string{}}
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w+)\(`)
	texts, testsOf := map[string]string{}, map[string][]string{} // by package
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
		texts[filepath.Dir(below)] += string(text)
		for _, name := range declared.FindAllSubmatch(text, -1) {
			found.tests[string(name[1])] = true
			testsOf[filepath.Dir(below)] = append(testsOf[filepath.Dir(below)], string(name[1]))
		}
		return nil
	})
	for folder, names := range testsOf {
		for _, name := range names {
			found.inPackageOf[name] += texts[folder]
		}
	}
	return found, err
})

func readTree(t *testing.T) tree {
	t.Helper()
	found, err := readOnce()
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestNames: what a document names is there: files, tests, and targets of the Makefile.
func TestNames(t *testing.T) {
	tree := readTree(t)
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	least := map[string]int{ // of the names found, by document: the patterns still match what is written
		"SECURITY.md": 90, "CONTRIBUTING.md": 80, "README.md": 3, "packaging/docs/fleet.md": 2,
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

// TestPagesAreInstalled: the index has each page of packaging/docs, which the packages carry; the manual pages name no
// file of the source. README.md fits on a few screens.
func TestPagesAreInstalled(t *testing.T) {
	tree := readTree(t)
	for document := range tree.documents {
		if filepath.Dir(document) != "packaging/docs" {
			continue
		}
		if !strings.Contains(tree.documents["packaging/docs/README.md"], "]("+filepath.Base(document)+")") &&
			filepath.Base(document) != "README.md" {
			t.Errorf("the index packaging/docs/README.md does not have %s", document)
		}
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
