package config

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// kinds are one value of each kind that TOML has, beside texts that no setting takes.
func kinds() map[string]string {
	return map[string]string{
		"a number": "-7", "a fraction": "1.5", "a truth": "true", "a day": "2027-01-31", "a time": "07:32:00",
		"a list": `[7]`, "a list of lists": `[["a"]]`, "a table": `{ a = 1 }`, "infinity": "inf",
		"a text": `"\u001b[2J no such value\u0000"`, "a large number": "9000000000000000000",
		"an empty text": `""`, "an empty list": "[]",
	}
}

// accepts are the kinds of values that are right for a setting.
func accepts(key string) string {
	switch key {
	case "dns.trust_ad", "fetch.allow_private_addresses":
		return "a truth"
	case "dns.servers":
		return "an empty list"
	case "override.until":
		return "a day"
	case "socket_group", "state_dir", "control", "control_group", "metrics", "tlsrpt_socket", "fetch.ca_file",
		"shared.url", "shared.password_file", "shared.sentinel_password_file", "shared.ca_file", "shared.name",
		"override.reason":
		return "an empty text"
	}
	return ""
}

// TestEveryWrongValue: each setting with a wrong value of each kind. The error is one line with file, line, the key as
// the file spells it, what was read and what is valid, and has nothing of Go.
func TestEveryWrongValue(t *testing.T) {
	c, office := Defaults(), []setting{(&mapName{name: "office"}).setting()}
	ofGo := regexp.MustCompile(`struct|main\.|config\.|toml|\[\]string|int64|float64|map\[|interface|slog|strconv|` +
		`LocalDate|nil|%!|errKind`)
	for _, s := range slices.Concat(c.settings(), (&override{}).settings(), office) {
		for kind, value := range kinds() {
			if accepts(s.key) == kind {
				continue
			}
			err := fileError(t, oneSetting(s.key, value))
			if err == nil {
				t.Errorf("%s = %s (%s) is accepted", s.key, value, kind)
				continue
			}
			msg := err.Error()
			prefix := fmt.Sprintf("a.conf:3: %s is ", s.key)
			if s.key == "shared.url" && kind == "a text" {
				prefix = "a.conf:3: shared.url: "
			}
			if !strings.HasPrefix(msg, prefix) || !strings.Contains(msg, " must be ") {
				t.Errorf("%s = %s (%s):\n%s", s.key, value, kind, msg)
			}
			if ofGo.MatchString(msg) || strings.ContainsAny(msg, "\n\x1b\x00") || len(msg) > 400 {
				t.Errorf("%s = %s (%s), in words of Go, or too long:\n%s", s.key, value, kind, msg)
			}
			if _, example, ok := strings.Cut(msg, "such as "); !ok && strings.Count(msg, `"`) < 4 &&
				!strings.Contains(msg, "true or false") {
				t.Errorf("%s: no example: %s (%s)", s.key, msg, example)
			}
		}
	}
}

// TestExamplesAreValid: the example of each error text is one that the setting accepts.
func TestExamplesAreValid(t *testing.T) {
	c, office := Defaults(), []setting{(&mapName{name: "office"}).setting()}
	example := regexp.MustCompile(`such as (\[.*?"\]|"[^"]*"|[0-9-]+)`)
	for _, s := range slices.Concat(c.settings(), (&override{}).settings(), office) {
		text := s.want
		if text == "" {
			text = s.value.want()
		}
		m := example.FindStringSubmatch(text)
		if m == nil {
			continue
		}
		value := strings.Replace(m[1], "SCHEME", "valkey", 1)
		if err := fileError(t, oneSetting(s.key, value)); err != nil && !strings.Contains(err.Error(), "is missing") &&
			!strings.Contains(err.Error(), "only action") {
			t.Errorf("%s: %v", s.key, err)
		}
	}
}

// oneSetting is a file with one setting, in its third line.
func oneSetting(key, value string) string {
	table, name, ok := strings.Cut(key, ".")
	switch {
	case !ok:
		return fmt.Sprintf("# settings\n\n%s = %s\n", key, value)
	case table == overrideTable:
		return fmt.Sprintf("# settings\n[[override]]\n%s = %s\n", name, value)
	}
	return fmt.Sprintf("# settings\n[%s]\n%s = %s\n", table, name, value)
}

// fileError is the error for a file with this text, which is named a.conf in it.
func fileError(t *testing.T, text string) error {
	t.Helper()
	file := filepath.Join(t.TempDir(), "a.conf")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Load(file)
	if bad, ok := err.(*Error); ok {
		bad.File = filepath.Base(bad.File)
	}
	return err
}

// TestErrorTexts: what an administrator reads.
func TestErrorTexts(t *testing.T) {
	const servers = `a list of IP addresses, such as ["192.0.2.53", "[2001:db8::1]:53"], or [] for those of ` +
		`/etc/resolv.conf`
	for _, tc := range []struct{ why, text, want string }{
		{"an unknown key", "log_level = \"debug\"\n[dns]\ntimeot = \"3s\"\n",
			`a.conf:3: unknown setting "dns.timeot"; do you mean dns.timeout?`},
		{"a key in the wrong table", "ca_file = \"/x\"\n", `a.conf:1: unknown setting "ca_file"; do you mean ` +
			`fetch.ca_file?`},
		{"nothing like it", "nonsense = 1\n", `a.conf:1: unknown setting "nonsense"`},
		{"an unknown table", "[dsn]\n", `a.conf:1: unknown setting "dsn"; do you mean dns?`},
		{"a text for a list", "listen = \"inet:127.0.0.1:8461\"\n",
			`a.conf:1: listen is "inet:127.0.0.1:8461", must be a list of "inet:HOST:PORT" or "unix:/PATH", ` +
				`such as ["inet:127.0.0.1:8461"]`},
		{"an address", "listen = [\"tcp:1\"]\n",
			`a.conf:1: listen is ["tcp:1"]: "tcp:1": it begins with neither inet: nor unix:; must be a list of ` +
				`"inet:HOST:PORT" or "unix:/PATH", such as ["inet:127.0.0.1:8461"]`},
		{"a level of other programs", "log_level = \"warning\"\n",
			`a.conf:1: log_level is "warning", must be "debug", "info", "warn" or "error"`},
		{"a number for a time", "[dns]\n timeout = 3\n",
			`a.conf:2: dns.timeout is 3, must be a time from 100ms to 10s, such as "3s"`},
		{"a dotted key", "dns.timeout = 3\n",
			`a.conf:1: dns.timeout is 3, must be a time from 100ms to 10s, such as "3s"`},
		{"an inline table", "\ndns = { attempts = 99 }\n",
			`a.conf:2: dns.attempts is 99, must be a number from 1 to 10, such as 3`},
		{"together", "[dns]\ntimeout = \"10s\"\nattempts = 4\n",
			`a.conf:3: dns.timeout is "10s" and dns.attempts is 4: a lookup could take 40s; both must be lower, ` +
				`such as "3s" and 3, as Postfix waits no longer than 100s and a lookup may take 30s`},
		{"no unit", "[fetch]\ntimeout = \"30\"\n", `a.conf:2: fetch.timeout is "30", must be a time from 1s to ` +
			`45s, such as "30s"`},
		{"metrics without a host", "metrics = \":9461\"\n",
			`a.conf:1: metrics is ":9461": it has no host, and the page has no password: for all addresses of ` +
				`this host ` +
				`write "0.0.0.0:9461" or "[::]:9461"; must be "HOST:PORT", such as "127.0.0.1:9461", or "" for none`},
		{"metrics as listen has it", "metrics = \"inet:127.0.0.1:9461\"\n",
			`a.conf:1: metrics is "inet:127.0.0.1:9461": it is written without "inet:"; must be "HOST:PORT", such as ` +
				`"127.0.0.1:9461", or "" for none`},
		{"an unknown transport", "[dns]\ntransport = \"tls\"\n",
			`a.conf:2: dns.transport is "tls", must be "auto" or "tcp"`},
		{"no network", "[fetch]\nallow_private_addresses = [\"fd00::/96\", \"fd00::/129\"]\n",
			`a.conf:2: fetch.allow_private_addresses is ["fd00::/96", "fd00::/129"]: "fd00::/129" is no network; ` +
				`must be true or false, without quotes, or a list of networks, such as ["fd00:64::/96", "10.0.0.0/8"]`},
		{"a name for a server", "[dns]\nservers = [\"ns.example\"]\n",
			`a.conf:2: dns.servers is ["ns.example"], must be ` + servers},
		{"a scalar for a table", "dns = 3\n", `a.conf:1: dns is 3, must be a table: [dns]`},
		{"an array for a table", "[[dns]]\n", `a.conf:1: dns is [a table], must be a table: [dns]`},
		{"a feature of a map name", "[maps]\noffice = \"sts+strickt\"\n", `a.conf:2: maps.office is "sts+strickt", ` +
			`must be "sts", or "sts" with more of +dane +tlsrpt +strict +defer +nosni +shadow, such as "sts+strict"`},
		{"a name for a name", "[maps]\noffice = \"postfix\"\n", `a.conf:2: maps.office is "postfix", ` +
			`must be "sts", or "sts" with more of +dane +tlsrpt +strict +defer +nosni +shadow, such as "sts+strict"`},
		{"another meaning for a list", "[maps]\n\n\"sts+dane\" = \"sts\"\n",
			`a.conf:3: maps has the name "sts+dane": the meaning of sts, and of names that begin with sts+, ` +
				`cannot be changed; choose another`},
		{"a name that Postfix splits", "[maps]\n\"my office\" = \"sts\"\n",
			`a.conf:2: maps has the name "my office": it is not 1 to 100 printable ASCII characters without spaces, ` +
				`commas, colons and braces, as Postfix's main.cf can hold them; choose another`},
		{"a list for the table", "maps = [\"office\"]\n", `a.conf:1: maps is ["office"], must be a table: [maps]`},
		{"a table for a setting", "[listen]\n", `a.conf:1: listen is a table, must be a list of "inet:HOST:PORT" or ` +
			`"unix:/PATH", such as ["inet:127.0.0.1:8461"]`},
		{"an override in single brackets", "[override]\ndomain = \"a.example\"\n",
			`a.conf:1: override is a table, must be in double brackets: [[override]]`},
		{"an action", "[[override]]\ndomain = \"b.example\"\naction = \"enfroce\"\n",
			`a.conf:3: override.action is "enfroce", must be "ignore", "strict" or "enforce"`},
		{"hosts with another action", "[[override]]\ndomain = \"b.example\"\naction = \"ignore\"\nmx = " +
			"[\"a.b\"]\n[dns]\n",
			`a.conf:1: override.mx is ["a.b"], which only action "enforce" may have: action is "ignore" ` +
				`(domain = "b.example")`},
		{"no hosts", "\n[[override]]\ndomain = \"b.example\"\naction = \"enforce\"\n",
			`a.conf:2: override.mx is missing: action "enforce" needs a list of host names, "*." before one for ` +
				`the names ` +
				`below it, such as ["mail.partner.example"] (domain = "b.example")`},
		{"no domain", "[[override]]\naction = \"enforce\"\n",
			`a.conf:1: override.domain is missing, must be a domain, such as "partner.example", or ` +
				`".partner.example" for ` +
				`every name below it`},
		{"two for a domain", "[[override]]\ndomain = \"b.example\"\naction = \"ignore\"\n" +
			"[[override]]\ndomain = \"B.example\"\naction = \"strict\"\n",
			`a.conf:5: override.domain is "B.example", which has an override in line 2 already: remove one`},
		{"a key twice", "log_level = \"info\"\nlog_level = \"info\"\n",
			"a.conf:2: no valid TOML at column 1: key log_level is already defined"},
		{"permissions without quotes", "socket_mode = 0666\n",
			`a.conf:1: no valid TOML at column 15: integers cannot have leading zeroes; permissions need quotes, ` +
				`such as "0666"`},
		{"no TOML", "log_level = \"info\"\n[dns\n",
			"a.conf:2: no valid TOML at column 5: expected ']' to close table name"},
		{"no quotes", "log_level = debug\n",
			`a.conf:1: no valid TOML at column 13: unexpected character U+0064 'd' at start of value; a text needs ` +
				`quotes, such as "info"`},
		{"a password", "[shared]\nurl = \"valkey://bob:secret@a.example,b.example\"\n",
			`a.conf:2: shared.url: several hosts need +cluster or +sentinel in the scheme; must be ` +
				`"SCHEME://HOST:PORT", ` +
				`such as "valkeys://cache.example.com:6379", or "" for none`},
	} {
		err := fileError(t, tc.text)
		if err == nil || err.Error() != tc.want {
			t.Errorf("%s:\n%v\nwant\n%s", tc.why, err, tc.want)
		}
	}
}
