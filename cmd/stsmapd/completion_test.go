package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// bashCompletion is what Debian's bash-completion has every interactive bash read.
const bashCompletion = "/usr/share/bash-completion/bash_completion"

// completeInBash finds the completion script as bash does when somebody presses the tabulator key, and presses it.
const completeInBash = `
. ` + bashCompletion + `
_completion_loader stsmapd
complete -p stsmapd >&2 || exit 3
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*" COMP_TYPE=9 COMP_KEY=9
COMP_POINT=${#COMP_LINE}
__start_stsmapd
printf '%s\n' "${COMPREPLY[@]}"
`

// TestCompletion completes command lines in a real bash, where the package puts the script.
func TestCompletion(t *testing.T) {
	if _, err := os.Stat(bashCompletion); err != nil {
		testkit.Missing(t, "no bash-completion")
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "completions"), 0o755); err != nil {
		t.Fatal(err)
	}
	script, err := exec.Command("stsmapd", "completion", "bash").Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "completions", "stsmapd"), script, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		line string
		want []string
	}{
		{"cache ", []string{"export", "forget", "list", "refresh", "show"}},
		{"cache re", []string{"refresh"}},
		{"query --c", []string{"--config", "--connect", "--control"}},
	} {
		words := append([]string{"-c", completeInBash, "bash", "stsmapd"}, strings.Split(c.line, " ")...)
		cmd := exec.Command("bash", words...)
		cmd.Env = append(os.Environ(), "BASH_COMPLETION_USER_DIR="+dir)
		var complaints strings.Builder
		cmd.Stderr = &complaints
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%q: %v\n%s", c.line, err, &complaints)
		}
		var got []string
		for line := range strings.Lines(string(out)) {
			word, _, _ := strings.Cut(strings.TrimSpace(line), " ") // a description may follow
			got = append(got, strings.TrimSuffix(word, "="))
		}
		slices.Sort(got)
		if got = slices.Compact(got); !slices.Equal(got, c.want) {
			t.Errorf("stsmapd %s<tab>: %q, want %q\n%s", c.line, got, c.want, &complaints)
		}
	}
}

// TestCompletionScripts: each shell finds no fault with its script.
func TestCompletionScripts(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		t.Run(shell, func(t *testing.T) {
			script, err := exec.Command("stsmapd", "completion", shell).Output()
			if err != nil || !strings.Contains(string(script), "stsmapd") {
				t.Fatalf("stsmapd completion %s: %v\n%s", shell, err, script)
			}
			program, err := exec.LookPath(shell)
			if err != nil {
				testkit.Missing(t, "no "+shell)
			}
			cmd := exec.Command(program, "-n")
			cmd.Stdin = strings.NewReader(string(script))
			if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
				t.Errorf("%s -n: %v\n%s", shell, err, out)
			}
		})
	}
}
