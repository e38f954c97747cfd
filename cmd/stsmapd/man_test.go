package main

import (
	"errors"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/stsmapd/stsmapd/packaging/man"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// Paths of the manual pages and the commented configuration file.
const (
	manDir       = "../../packaging/man"
	settingsFile = "../../packaging/stsmapd.toml"
)

const aboutSettings = "/etc/stsmapd/stsmapd.toml, or the file that --config names, is in TOML (https://toml.io). " +
	"Every setting is optional, and so is the file; an unknown key is an error. The values shown are the defaults. " +
	"SIGHUP reloads the file; if it is wrong, the old settings stay in force, and the log says why."

// update makes TestManPages write the pages: go generate ./packaging/man.
var update = flag.Bool("update", false, "rewrite the manual pages and the golden parts of scripts")

// TestManPages: the manual pages say what the commands' help and the commented configuration file say.
func TestManPages(t *testing.T) {
	more, settings := readFile(t, filepath.Join(manDir, "stsmapd.txt")), readFile(t, settingsFile)
	for _, section := range []struct{ title, file string }{
		{"HOW IT DECIDES", "decides.md"}, {"MONITORING", "monitoring.md"}, {"A FLEET OF HOSTS", "fleet.md"},
	} {
		more += man.FromMarkdown(section.title, readFile(t, filepath.Join("../../packaging/docs", section.file)))
	}
	pages := man.Commands(newRoot(io.Discard, io.Discard), more)
	pages["stsmapd.toml.5"] = man.Settings("stsmapd.toml", 5, aboutSettings, settings)
	if *update {
		for name, text := range pages {
			if err := os.WriteFile(filepath.Join(manDir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	there, err := filepath.Glob(filepath.Join(manDir, "*.[0-9]"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range there {
		name := filepath.Base(file)
		if pages[name] == "" {
			t.Errorf("%s is the page of no command: remove it", name)
		} else if readFile(t, file) != pages[name] {
			t.Errorf("%s does not say what stsmapd says: run `go generate ./packaging/man`", name)
		}
		delete(pages, name)
	}
	for name := range pages {
		t.Errorf("%s is missing: run `go generate ./packaging/man`", name)
	}
}

// TestConfigurationPage: packaging/docs/configuration.md has the commented configuration file.
func TestConfigurationPage(t *testing.T) {
	const file = "../../packaging/docs/configuration.md"
	page := `# Configuration

No file is needed. /etc/stsmapd/stsmapd.toml, or the file that --config names, is in TOML; an unknown key is an error.
SIGHUP reads it again, and the CA roots with it; listeners (those of metrics and the control socket too), the store and
[shared] stay as they are. A wrong file keeps the old settings, and the log says why. This page is made of the file that
the packages install, in which every setting is commented out and has its default.

`
	for line := range strings.Lines(readFile(t, settingsFile)) {
		page += strings.TrimRight("    "+line, " \n") + "\n"
	}
	if *update {
		if err := os.WriteFile(file, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if readFile(t, file) != page {
		t.Errorf("%s does not say what stsmapd.toml says: run `go generate ./packaging/man`", file)
	}
}

// TestExamples: each command has examples, whose command lines are right.
func TestExamples(t *testing.T) {
	n := 0
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
		if name := cmd.Name(); cmd.HasAvailableSubCommands() || name == "version" || name == "help" ||
			cmd.Parent().Name() == "completion" {
			return
		}
		if cmd.Example == "" {
			t.Errorf("%s has no examples", cmd.CommandPath())
		}
		for line := range strings.Lines(cmd.Example) {
			n++
			if err := checkExample(cmd, line); err != nil {
				t.Errorf("%s: %s: %v", cmd.CommandPath(), line, err)
			}
		}
	}
	walk(newRoot(io.Discard, io.Discard))
	if n < 20 {
		t.Errorf("only %d examples", n)
	}
}

// checkExample parses a command line of cmd, up to what the shell does with the output.
func checkExample(cmd *cobra.Command, line string) error {
	line = regexp.MustCompile(` [|>&].*`).ReplaceAllString(line, "")
	of, args, err := newRoot(io.Discard, io.Discard).Find(strings.Fields(line)[1:])
	switch {
	case err != nil:
		return err
	case of.CommandPath() != cmd.CommandPath():
		return errors.New("an example of another command")
	}
	if err := of.ParseFlags(args); err != nil {
		return err
	}
	return of.ValidateArgs(of.Flags().Args())
}

// TestManPagesRender: man shows each page without a warning.
func TestManPagesRender(t *testing.T) {
	program, err := exec.LookPath("man")
	if err != nil {
		testkit.Missing(t, "no man")
	}
	pages, err := filepath.Glob(filepath.Join(manDir, "*.[0-9]"))
	if err != nil || len(pages) < 10 {
		t.Fatalf("only %d manual pages: %v", len(pages), err)
	}
	for _, page := range pages {
		cmd := exec.Command(program, "--warnings", "-E", "UTF-8", "-l", "-Tutf8", page)
		cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "MANROFFSEQ=", "MANWIDTH=80")
		var complaints strings.Builder
		cmd.Stderr = &complaints
		shown, err := cmd.Output()
		if err != nil || complaints.Len() > 0 || len(shown) < 500 {
			t.Errorf("%s: %v, %d bytes shown, %s", page, err, len(shown), &complaints)
		}
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
