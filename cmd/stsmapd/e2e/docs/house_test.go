package docs

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestHouse runs packaging/tools/house.sh, the part of `make lint` that checks the rules of CONTRIBUTING.md, on small
// modules: one that keeps the rules, and others that break one of them.
func TestHouse(t *testing.T) {
	const module = "github.com/stsmapd/stsmapd"
	imports := func(name string, paths ...string) string {
		text := "package " + name + "\n"
		for _, path := range paths {
			text += fmt.Sprintf("\nimport _ %q\n", module+"/"+path)
		}
		return text
	}
	good := map[string]string{
		"go.mod":                      "module " + module + "\n\ngo 1.25\n",
		"README.md":                   "| " + strings.Repeat("a table is as wide as it is ", 10) + "|\n",
		"resolver/dnsname/dnsname.go": imports("dnsname"),
		"resolver/dnsname/name_test.go": imports("dnsname", "resolver/testkit") + "\n// " +
			strings.Repeat("ä", 117) + "\n",
		"resolver/testkit/testkit.go":      imports("testkit"),
		"resolver/resolver.go":             imports("resolver", "resolver/dnsname"),
		"cache/cache.go":                   imports("cache", "resolver", "resolver/dnsname"),
		"cmd/stsmapd/main.go":              imports("main", "cache", "resolver") + "\nfunc main() {}\n",
		"cmd/stsmapd/e2e/torture/doc.go":   imports("torture", "cache", "resolver/testkit"),
		"cmd/stsmapd/e2e/fleet/fleet.go":   imports("fleet") + "\n// The world and its hosts.\n",
		"socketmap/tlspolicy/tlspolicy.go": imports("tlspolicy", "resolver"),
	}
	for i := range 21 { // no product
		good[fmt.Sprintf("cmd/stsmapd/e2e/world/w%d.go", i)] = imports("world")
	}
	tests := []struct {
		why   string
		files map[string]string // in addition to the good ones, or in their place
		want  string            // a line of the output; "": none
	}{
		{why: "all rules are kept"},
		{"an arrow turned round: resolver imports cache",
			map[string]string{"resolver/resolver.go": imports("resolver", "cache"), "cache/cache.go": imports("cache")},
			"resolver/resolver.go:3: imports cache; resolver may import only resolver/..."},
		{"an arrow turned round, in a test",
			map[string]string{"resolver/dnsname/name_test.go": imports("dnsname_test", "resolver/dnsname", "cache")},
			"resolver/dnsname/name_test.go:5: imports cache; resolver/dnsname may import nothing of ours"},
		{"an arrow turned round, and the old one left: a cycle",
			map[string]string{"resolver/resolver.go": imports("resolver", "cache")}, "import cycle not allowed"},
		{"a product that imports what is for tests",
			map[string]string{"resolver/resolver.go": imports("resolver", "resolver/testkit")},
			"resolver/resolver.go:3: imports resolver/testkit; resolver may import only resolver/..."},
		{"a folder that has no place in the house", map[string]string{"resolver/extra/extra.go": imports("extra")},
			"resolver/extra: packaging/tools/house.sh has no line for this folder"},
		{"a package at the top", map[string]string{"top.go": imports("stsmapd")}, ".: no Go file stands at the top"},
		{"too many files", numbered("cache/c%d.go", 20, imports("cache")), "cache: 21 product files; at most 20"},
		{"a package in disguise", numbered("cache/disk_%d.go", 5, imports("cache")),
			"cache/disk_*: 5 files share a prefix; such files are a package"},
		{"a long file", map[string]string{"cache/long.go": imports("cache") + strings.Repeat("\n", 399)},
			"cache/long.go:400: 400 lines; fewer than 400"},
		{"a long function", map[string]string{
			"cache/long.go": imports("cache") + "\nfunc f() {\n" + strings.Repeat("\t_ = 0\n", 59) + "}\n"},
			"cache/long.go:3: a function of 61 lines; at most 60"},
		{"a type with many methods", map[string]string{"cache/many.go": imports("cache") + "\ntype list[V any] []V\n" +
			methods(16)}, "cache/many.go:5: type cache.list has 16 methods; at most 15"},
		{"a long line, for tabs", map[string]string{
			"cache/long_test.go": imports("cache") + "\nvar _ = []int{\n" + strings.Repeat("\t", 30) + "1,\n}\n"},
			"cache/long_test.go:4: 122 columns; at most 120"},
		{"a long line of prose", map[string]string{"README.md": strings.Repeat("word ", 25) + "\n"},
			"README.md:1: 125 columns; at most 120"},
		{"init", map[string]string{"cache/init.go": imports("cache") + "\nfunc init() {}\n"},
			"cache/init.go:3: func init; what a package needs is passed to it"},
		{"a test that sleeps", map[string]string{
			"cache/sleep_test.go": "package cache\n\nimport \"time\"\n\nfunc f() { time.Sl" + "eep(1) }\n"},
			"cache/sleep_test.go:5: time.Sleep; a test polls with a deadline, or uses synctest"},
		{"a word to avoid", map[string]string{"README.md": "Then it begins " + "an" + "ew.\n"},
			"README.md:1: \"an" + "ew\"; say: again"},
		{"a term that is gone, in an identifier",
			map[string]string{"cache/cache.go": imports("cache") + "\nvar new" + "Ros" + "ter int\n"},
			"cache/cache.go:3: \"Ros" + "ter\"; say: nameservers"},
		{"the world, where it is no test's", map[string]string{"README.md": "It tells the wo" + "rld.\n"},
			"README.md:1: \"the wo" + "rld\"; say: what is meant: hosts, the network, other domains"},
	}
	for _, test := range tests {
		t.Run(test.why, func(t *testing.T) {
			files := maps.Clone(good)
			maps.Copy(files, test.files)
			got, err := house(t, files)
			if test.want == "" {
				if err != nil {
					t.Errorf("%v:\n%s", err, got)
				}
				return
			}
			if err == nil || !strings.Contains(got, test.want) {
				t.Errorf("%v; %q is not in:\n%s", err, test.want, got)
			}
			if lines := strings.Count(got, "\n"); lines != 2 && !strings.Contains(got, "cycle") {
				t.Errorf("more than one problem:\n%s", got)
			}
		})
	}
}

// house runs the check on a module of these files, and returns what it prints.
func house(t *testing.T, files map[string]string) (string, error) {
	t.Helper()
	dir := t.TempDir()
	script, err := os.ReadFile(filepath.Join(root, "packaging/tools/house.sh"))
	if err != nil {
		t.Fatal(err)
	}
	files["packaging/tools/house.sh"] = string(script)
	for path, text := range files {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command("sh", filepath.Join(dir, "packaging/tools/house.sh")).CombinedOutput()
	return string(out), err
}

// numbered returns n files of the same text, whose names are made by a format.
func numbered(format string, n int, text string) map[string]string {
	files := map[string]string{}
	for i := range n {
		files[fmt.Sprintf(format, i)] = text
	}
	return files
}

// methods returns n methods of the type list, as source.
func methods(n int) string {
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, "\nfunc (l *list[V]) m%d() {}\n", i)
	}
	return text.String()
}
