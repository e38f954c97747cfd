package install

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// editor is an editor for `systemctl edit`: it writes the lines of /test/lines into the file, the last argument.
const editor = "#!/bin/sh\nfor file; do :; done\ncat /test/lines >\"$file\"\n"

// documents runs commands of the documents that no other step runs, as typed; cmd/stsmapd/e2e/docs names them.
func (m *machine) documents(t *testing.T) {
	m.fails(t, "a shadow has no policy", "postmap -q partner.example "+byTCP+"+shadow")
	for _, c := range []struct{ command, want string }{
		{"journalctl -u stsmapd", "event=ready"},
		{"journalctl -u stsmapd -g event=shadow", "domain=partner.example"},
		{"systemctl start stsmapd-summary", ""},
		{"journalctl -u stsmapd-summary", "policies in the store"},
		{"postqueue -f", ""},
	} {
		testkit.Eventually(t, testkit.Hang, c.command+" to print "+c.want, func() bool { // the journal may be late
			out, err := m.try(c.command)
			return err == nil && strings.Contains(out, c.want)
		})
	}
	m.run(t, "echo secret | install -o root -g stsmapd -m 640 /dev/stdin /etc/stsmapd/shared-password")
	m.want(t, "stat -c '%a %U:%G' /etc/stsmapd/shared-password && cat /etc/stsmapd/shared-password",
		"640 root:stsmapd\nsecret")
	for command, lines := range map[string]string{
		"systemctl edit stsmapd":         "[Service]\nLoadCredential=shared-password:/etc/stsmapd/shared-password\n",
		"systemctl edit stsmapd-summary": "[Service]\nEnvironment=MAILTO=postmaster@example.com\n",
		"systemctl edit stsmapd.socket":  "[Socket]\nListenStream=127.0.0.1:5461\n",
	} {
		m.edit(t, command, lines)
	}
	m.run(t, "rm -r /etc/systemd/system/stsmapd*.d /etc/stsmapd/shared-password; systemctl daemon-reload")
}

// edit runs a `systemctl edit` and writes these lines in its editor: systemd reads them.
func (m *machine) edit(t *testing.T, command, lines string) {
	t.Helper()
	for name, text := range map[string]string{"editor": editor, "lines": lines} {
		if err := os.WriteFile(filepath.Join(m.shared, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// It wants a terminal.
	m.run(t, "SYSTEMD_EDITOR=/test/editor script -q -e -c '"+command+"' /dev/null </dev/null")
	unit := command[strings.LastIndex(command, " ")+1:]
	if out := m.run(t, "systemctl cat "+unit); !strings.Contains(out, lines) {
		t.Errorf("after %s the unit is\n%s", command, out)
	}
}

// readme returns the indented lines of a section of README.md, without the prompt of those that are commands, with a
// domain in place of example.org.
func readme(t *testing.T, section, domain string) (lines []string) {
	t.Helper()
	_, text, _ := strings.Cut(readText(t, "../../../../README.md"), "\n## "+section+"\n")
	text, _, _ = strings.Cut(text, "\n## ")
	for line := range strings.Lines(text) {
		if line, ok := strings.CutPrefix(line, "    "); ok {
			line = strings.TrimPrefix(strings.TrimSpace(line), "$ ")
			lines = append(lines, strings.ReplaceAll(line, "example.org", domain))
		}
	}
	return lines
}
