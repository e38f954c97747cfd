package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/config"
)

// documents are the pages for administrators, by their paths.
func documents(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for _, pattern := range []string{"../../*.md", "../../packaging/docs/*.md"} {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			t.Fatalf("no documents in %s: %v", pattern, err)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			texts[name] = string(text)
		}
	}
	return texts
}

// commandInText finds a command line of stsmapd: a line of a block, behind a prompt, a pipe or a path, or words marked
// as code.
var commandInText = regexp.MustCompile("(?m)(?:^    (?:[^#\n]*(?:/|[$|] ))?|`)stsmapd ([^`#|;&\n]*)")

// placeholders are the marks of what a reader may leave out or fills in.
var placeholders = strings.NewReplacer("[", "", "]", "", "…", "", "...", "", "'", "")

// exists returns an error if there is no such command, or it has no such flag.
func exists(words []string) error {
	root := newRoot(io.Discard, io.Discard)
	root.InitDefaultHelpCmd()
	cmd, rest, err := root.Find(words)
	if err != nil {
		return err
	}
	if err := cmd.ParseFlags(rest); err != nil {
		return err
	}
	if cmd.HasSubCommands() && cmd.Flags().NArg() > 0 {
		return fmt.Errorf("%s has no command %s", cmd.CommandPath(), cmd.Flags().Arg(0))
	}
	return nil
}

// TestCommandsInDocuments: each command line of stsmapd in a document names a command and flags that exist.
func TestCommandsInDocuments(t *testing.T) {
	for _, wrong := range []string{"chekc example.org", "cache lst", "check --nosuch example.org"} {
		if exists(strings.Fields(wrong)) == nil {
			t.Errorf("stsmapd %s passes", wrong)
		}
	}
	found := 0
	for name, text := range documents(t) {
		for _, m := range commandInText.FindAllStringSubmatch(text, -1) {
			words := strings.Fields(placeholders.Replace(m[1]))
			if len(words) == 0 || !regexp.MustCompile(`^(--)?[a-z]+$`).MatchString(words[0]) {
				continue
			}
			found++
			if err := exists(words); err != nil {
				t.Errorf("%s: stsmapd %s: %v", name, m[1], err)
			}
		}
	}
	if found < 100 {
		t.Errorf("%d command lines in all documents: are they still found?", found)
	}
}

// blocks returns the indented blocks of a document.
func blocks(text string) []string {
	var found []string
	for _, part := range regexp.MustCompile(`(?m)(?:^(?:    .*)?\n)+`).FindAllString(text, -1) {
		if part = strings.Trim(regexp.MustCompile(`(?m)^    `).ReplaceAllString(part, ""), "\n"); part != "" {
			found = append(found, part)
		}
	}
	return found
}

// TestSettingsInDocuments: the settings that a document shows are valid.
func TestSettingsInDocuments(t *testing.T) {
	isSettings := regexp.MustCompile(`^(?:# /etc/stsmapd/stsmapd\.toml|\[(?:shared|dns|\[override\])\])\n`)
	found := 0
	for name, text := range documents(t) {
		for _, block := range blocks(text) {
			if !isSettings.MatchString(block) {
				continue
			}
			found++
			block, _, _ = strings.Cut(block, "\n\n") // then come commands or a line of main.cf
			file := filepath.Join(t.TempDir(), "stsmapd.toml")
			if err := os.WriteFile(file, []byte(block+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := config.Load(file); err != nil {
				t.Errorf("%s: %v\n%s", name, err, block)
			}
		}
	}
	if found < 6 {
		t.Errorf("%d blocks of settings in all documents: are they still found?", found)
	}
}

// TestScreenInReadme: the screen of check in README.md is a part of what check prints, as its golden file has it.
func TestScreenInReadme(t *testing.T) {
	golden, err := os.ReadFile("check/testdata/good.txt")
	if err != nil {
		t.Fatal(err)
	}
	_, screen, ok := strings.Cut(documents(t)["../../README.md"], "    $ stsmapd check example.org\n")
	if !ok {
		t.Fatal("README.md has no screen of check")
	}
	lines, shown := strings.Split(string(golden), "\n"), 0
	for line := range strings.Lines(screen) {
		line, ok := strings.CutPrefix(strings.TrimRight(line, "\n"), "    ")
		if !ok && line != "" {
			break
		}
		if line == "" || line == "…" {
			continue
		}
		i := slices.Index(lines, line)
		if i < 0 {
			t.Fatalf("%q is not in the golden file behind what README.md has before it", line)
		}
		lines = lines[i+1:]
		shown++
	}
	if shown < 10 {
		t.Errorf("the screen has %d lines", shown)
	}
}
