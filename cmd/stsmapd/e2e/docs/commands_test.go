package docs

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// run is where a command line of the documents is run.
type run struct {
	test string // a test, or a file that tests use
	text string // what runs it there, in any file of the test's package; "": the command line itself
}

// runs are the command lines of the documents that tests run, except for those of stsmapd, make and go, which
// TestCommands and cmd/stsmapd's TestCommandsInDocuments judge by themselves.
func runs() map[string]run {
	const fromRepository = `documented(t, "install.md"`
	const fromResolver, fromTLSPol = `section(t, "From postfix-mta-sts-resolver")`, `section(t, "From postfix-tlspol")`
	return map[string]run{
		"apt-get install ./stsmapd_*_amd64.deb": {"TestInstall", `apt-get install \./.*`},
		"postfix reload":                        {"TestInstall", ""},
		"postmap -q example.org socketmap:inet:127.0.0.1:8461:sts": {"TestInstall",
			`postmap -q partner.example "+byTCP`},
		"postmap -q example.com socketmap:inet:127.0.0.1:8461:sts": {"TestInstall",
			`postmap -q partner.example "+byTCP`},
		"postmap -q DOMAIN socketmap:inet:127.0.0.1:8461:sts": {"TestInstall", `postmap -q partner.example "+byTCP`},
		"postmap -q example.com socketmap:unix:/var/spool/postfix/stsmapd/socketmap:sts": {"TestMigration",
			`postmap -q partner.example "+byUnix`},
		"postqueue -f": {"TestInstall", ""},
		"postconf -e":  {"TestInstall", "postconf -e '"},
		"postconf -P":  {"TestInstall", "postconf -P smtp/unix/"},

		"mkdir -p /etc/apt/keyrings": {"TestInstall", fromRepository},
		"/usr/lib/apt/apt-helper download-file https://packages.example.com/stsmapd.asc " +
			"/etc/apt/keyrings/stsmapd.asc": {"TestInstall", fromRepository},
		"echo 'deb [signed-by=/etc/apt/keyrings/stsmapd.asc] https://packages.example.com/ stable main' " +
			">/etc/apt/sources.list.d/stsmapd.list": {"TestInstall", fromRepository},
		"apt-get update":                     {"TestInstall", fromRepository},
		"apt-get install -y stsmapd postfix": {"TestInstall", fromRepository},
		"apt-get remove stsmapd":             {"TestInstall", "apt-get -q -y remove stsmapd"},
		"apt-get purge stsmapd":              {"TestInstall", "apt-get -q -y purge stsmapd"},

		"systemctl enable --now stsmapd":                                            {"TestInstall", ""},
		"systemctl start stsmapd":                                                   {"TestInstall", ""},
		"systemctl reload stsmapd":                                                  {"TestInstall", ""},
		"systemctl restart stsmapd":                                                 {"TestInstall", ""},
		"systemctl edit stsmapd":                                                    {"TestInstall", ""},
		"systemctl edit stsmapd.socket":                                             {"TestInstall", ""},
		"systemctl edit stsmapd-summary":                                            {"TestInstall", ""},
		"systemctl enable --now stsmapd-summary.timer":                              {"TestInstall", ""},
		"systemctl start stsmapd-summary":                                           {"TestInstall", ""},
		"journalctl -u stsmapd":                                                     {"TestInstall", ""},
		"journalctl -u stsmapd-summary":                                             {"TestInstall", ""},
		"journalctl -u stsmapd -g event=shadow":                                     {"TestInstall", ""},
		"install -o root -g stsmapd -m 640 /dev/stdin /etc/stsmapd/shared-password": {"TestInstall", ""},

		"systemctl disable --now postfix-mta-sts-resolver":        {"TestMigration", fromResolver},
		"systemctl enable stsmapd":                                {"TestMigration", fromResolver},
		"systemctl disable --now postfix-tlspol.socket":           {"TestMigration", fromTLSPol},
		"systemctl disable --now postfix-tlspol.service":          {"TestMigration", fromTLSPol},
		"mkdir -p /etc/systemd/system/stsmapd.socket.d":           {"TestMigration", fromTLSPol},
		"cat >/etc/systemd/system/stsmapd.socket.d/unix.conf <<.": {"TestMigration", fromTLSPol},
		"systemctl daemon-reload":                                 {"TestMigration", fromTLSPol},
		"systemctl stop stsmapd":                                  {"TestMigration", fromTLSPol},
		"systemctl enable --now stsmapd.socket":                   {"TestMigration", fromTLSPol},
		"systemctl enable --now stsmapd-chroot.socket":            {"TestInstall", ""},
		"postfix-tlspol -export | stsmapd warm": {"TestWarmFromTLSPol",
			`warmLine(t, "postfix-tlspol")`},
		"redis-cli -u redis://127.0.0.1/0 --scan --pattern '*.*' | stsmapd warm": {"TestWarmFromRedis",
			`warmLine(t, "redis-cli")`},
		"sqlite3 /var/lib/mta-sts/cache.db 'select domain from sts_policy_cache' | stsmapd warm": {"TestWarmFromSQLite",
			`warmLine(t, "sqlite3")`},

		"ACL SETUSER stsmapd on >secret ~stsmapd:* &stsmapd:* -@all +hello +ping +get +set +del +publish +eval " +
			"+evalsha +subscribe +unsubscribe": {"TestACL", "packaging/docs/fleet.md"},
		"sendmail -d0.13 -bt </dev/null | grep -o -e _FFR_MTA_STS -e SOCKETMAP": {"TestSendmail",
			"sendmail -d0.13 -bt"},
		"go run ./cmd/stsmapd serve":          {"TestFromSource", `"run", "./cmd/stsmapd", "serve"`},
		"go mod verify":                       {"TestLicences", `"mod", "verify"`},
		"GOOS=openbsd go build ./cmd/stsmapd": {"packaging/tools/lint.sh", `GOOS=openbsd "$go" build`},
		"go generate ./packaging/man":         {"TestManPages", ""},
	}
}

// otherWords are texts between backquotes that look like a command line and are none: rows of the table of `make
// torture`, answers, reasons of Sendmail, arguments, and programs of other daemons that migration.md sets beside ours.
func otherWords() []string {
	return []string{"kill -9", "writes fail", "store truncated", "state directory removed", "options trust-ad",
		"options use-vc", "options rotate", "check --maillog", "cache show", "secure match=… servername=hostname",
		"mail to example.org would be delivered, verified", `lookup error for "DOMAIN"`,
		"other side does not support STARTTLS", "authentication failed", "not listed in SANs", "not found in",
		"mta-sts-query DOMAIN", "postfix-tlspol -query", "postfix-tlspol -export"}
}

// judge says what is wrong with a command line of a document; "": nothing.
func (l commandLine) judge(tree tree, makefile, bench string, all map[string]run) string {
	words := strings.Fields(l.text)
	for len(words) > 1 && regexp.MustCompile(`^[A-Z]+=`).MatchString(words[0]) {
		words = words[1:]
	}
	where, known := all[l.text]
	switch {
	case known:
		return tree.isRun(l.text, where)
	case l.example:
		return ""
	case words[0] == "stsmapd":
		return ""
	case words[0] == "make" && !strings.HasPrefix(words[1], "-"):
		return judgeMake(words[1:], makefile)
	case words[0] == "go" && len(words) > 2:
		return tree.judgeGo(words[1:])
	case words[0] == "build/bench":
		return judgeFlags(words[1:], bench)
	}
	return "no test runs it, by the table in this test, and the document does not call it an example"
}

// isRun says why a command line is not run where the table says; "": it is.
func (tree tree) isRun(line string, where run) string {
	text := where.text
	if text == "" {
		text = line
	}
	source, ok := tree.inPackageOf[where.test]
	if strings.Contains(where.test, "/") {
		file, err := os.ReadFile(filepath.Join(root, where.test))
		source, ok = string(file), err == nil
	}
	switch {
	case !ok:
		return "there is no " + where.test
	case !strings.Contains(source, text):
		return fmt.Sprintf("%s, or its package, has no %q", where.test, text)
	}
	return ""
}

// judgeMake judges the target and the variables of make, by the Makefile and the scripts that it runs.
func judgeMake(words []string, makefile string) string {
	if !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(words[0]) + `:`).MatchString(makefile) {
		return "the Makefile has no such target"
	}
	for _, word := range words[1:] {
		if name, _, ok := strings.Cut(word, "="); ok && !regexp.MustCompile(`\$[({]?`+name+`\b`).MatchString(makefile) {
			return "the Makefile has no " + name
		}
	}
	return ""
}

// judgeGo judges a command of go that names a package: the package is there, and has the tests that are named.
func (tree tree) judgeGo(words []string) string {
	var packages []string
	for i, word := range words {
		kind := map[string]string{"-run": "Test", "-bench": "Benchmark"}[word]
		if kind != "" && words[i+1] != "'^$'" {
			named := regexp.MustCompile("^" + kind + ".*" + strings.TrimPrefix(words[i+1], kind))
			if !slices.ContainsFunc(slices.Collect(maps.Keys(tree.tests)), named.MatchString) {
				return "there is no " + kind + " with " + words[i+1]
			}
		}
		if folder, ok := strings.CutPrefix(word, "./"); ok && folder != "..." {
			packages = append(packages, folder)
			if !tree.packages[folder] {
				return "there is no package " + folder
			}
		}
	}
	if len(packages) == 0 && words[0] != "test" {
		return "no test runs it"
	}
	return ""
}

// judgeFlags judges the flags of cmd/bench.
func judgeFlags(words []string, source string) string {
	for _, word := range words {
		if name, ok := strings.CutPrefix(word, "-"); ok && !strings.Contains(source, `"`+name+`"`) {
			return "cmd/bench has no flag " + word
		}
	}
	return ""
}

// TestCommands: each command line of a document is run by a test that is named here, or the document calls it an
// example.
func TestCommands(t *testing.T) {
	tree := readTree(t)
	texts := map[string]string{}
	for _, pattern := range []string{"Makefile", "packaging/tools/*.sh", "cmd/bench/main.go"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			texts[pattern] += string(text)
		}
	}
	makefile := texts["Makefile"] + texts["packaging/tools/*.sh"]
	all, unused, found := runs(), runs(), 0
	for document, text := range tree.documents {
		for _, line := range commandLines(text) {
			if slices.Contains(otherWords(), line.text) {
				continue
			}
			found++
			delete(unused, line.text)
			if problem := line.judge(tree, makefile, texts["cmd/bench/main.go"], all); problem != "" {
				t.Errorf("%s: `%s`: %s", document, line.text, problem)
			}
		}
	}
	for line := range unused {
		t.Errorf("no document has `%s`, which the table has", line)
	}
	if found < 250 {
		t.Errorf("only %d command lines: are they still found?", found)
	}
	t.Logf("%d command lines", found)
}

// TestUnmarkedCommands: a command line that no test runs is found in each place, unless the document calls it an
// example.
func TestUnmarkedCommands(t *testing.T) {
	tree := tree{packages: map[string]bool{"cmd/x": true}, tests: map[string]bool{"TestKnown": true},
		inPackageOf: map[string]string{"TestKnown": `run("mailq -v")`}}
	all := map[string]run{"mailq -v": {"TestKnown", ""}, "mailq -x": {"TestKnown", ""}, "mailq -y": {"TestGone", ""}}
	tests := []struct {
		why, text string
		want      []string // the commands that are at fault
	}{
		{"a block", "Then:\n\n    rm -r /x\n    rm -r \\\n        /y   # all of it\n",
			[]string{"rm -r /x", "rm -r /y"}},
		{"a block that is an example", "Then, for example:\n\n    rm -r /x\n", nil},
		{"a domain is no mark", "For partner.example and example.org:\n\n    rm -r /x\n", []string{"rm -r /x"}},
		{"the mark is not for the next block", "Then, for example:\n\n    rm -r /x\n\nAnd\n\n    rm -r /y\n",
			[]string{"rm -r /y"}},
		{"a screen", "So:\n\n    $ rm -r /x\n    it says mailq -z\n\n    and this\n", []string{"rm -r /x"}},
		{"text in a file", "So:\n\n    cat >/x <<.\n    rm -r /x\n    .\n    rm -r /y\n",
			[]string{"cat >/x <<.", "rm -r /y"}},
		{"settings", "So:\n\n    # /etc/stsmapd/stsmapd.toml\n    listen = [\"inet:127.0.0.1:8462\"]\n\n    rm -r /x\n",
			[]string{"rm -r /x"}},
		{"prose", "Call `rm -r\n/x` or `mailq`, with `a = 1` or `warning: x`.", []string{"rm -r /x"}},
		{"prose that is an example", "Call `rm -r /x`, for example.", nil},
		{"a row", "| a | `rm -r /x` |\n| for example | `rm -r /y` |\n", []string{"rm -r /x"}},
		{"a heading of a log line", "### `status=deferred (x)`\n\n### `lookup error x`", nil},
		{"commands that a test runs, or not", "`mailq -v`, `mailq -x`, `mailq -y`", []string{"mailq -x", "mailq -y"}},
		{"make", "`make a B=1`, `make b`, `C=1 make a`, `make a C=1`", []string{"make b", "make a C=1"}},
		{"go", "`go test -run Known ./cmd/x`, `go test ./cmd/y`, `go test -run Gone ./cmd/x`, `go vet -x y`",
			[]string{"go test ./cmd/y", "go test -run Gone ./cmd/x", "go vet -x y"}},
		{"cmd/bench", "`build/bench -only x`, `build/bench -all x`", []string{"build/bench -all x"}},
	}
	for _, test := range tests {
		t.Run(test.why, func(t *testing.T) {
			var got []string
			for _, line := range commandLines(test.text) {
				if line.judge(tree, "a:\n\techo $(B)\n", `"only"`, all) != "" {
					got = append(got, line.text)
				}
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}
