package shared

import (
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

func TestParseEndpoint(t *testing.T) {
	for _, c := range []struct {
		why, url string
		want     string // hosts, mode, primary, database, user:password, tls
		wrong    string // or a part of the error
	}{
		{why: "plain", url: "valkey://db.example", want: "db.example:6379"},
		{why: "redis, port, database", url: "redis://10.0.0.1:7000/5", want: "10.0.0.1:7000 db=5"},
		{why: "a slash at the end", url: "redis://10.0.0.1/", want: "10.0.0.1:6379"},
		{why: "TLS", url: "rediss://db.example", want: "db.example:6379 tls"},
		{why: "TLS too", url: "valkeys://db.example:1", want: "db.example:1 tls"},
		{why: "IPv6", url: "valkey://[2001:db8::1]:7000", want: "[2001:db8::1]:7000"},
		{why: "IPv6 without a port", url: "valkey://[2001:db8::1]", want: "[2001:db8::1]:6379"},
		{why: "user and password", url: "valkey://bob:s%40cret%2F@db.example", want: "db.example:6379 bob:s@cret/"},
		{why: "password alone", url: "valkey://:secret@db.example", want: "db.example:6379 :secret"},
		{why: "an @ in a password that should have been written %40", url: "valkey://bob:pw@1@db.example",
			want: "db.example:6379 bob:pw@1"},
		{why: "cluster", url: "valkey+cluster://a.example,b.example:7001",
			want: "a.example:6379,b.example:7001 cluster"},
		{why: "cluster over TLS", url: "rediss+cluster://a.example", want: "a.example:6379 cluster tls"},
		{why: "sentinel", url: "redis+sentinel://a.example,b.example:1/main",
			want: "a.example:26379,b.example:1 sentinel=main"},
		{why: "sentinel and database", url: "redis+sentinel://u:pw1@a.example/main/2",
			want: "a.example:26379 sentinel=main db=2 u:pw1"},
		{why: "empty", url: "", wrong: "must begin with"},
		{why: "no scheme", url: "db.example:6379", wrong: "must begin with"},
		{why: "another scheme", url: "http://db.example", wrong: `"http" is none of the schemes`},
		{why: "another mode", url: "valkey+ring://db.example", wrong: `"+ring" is neither`},
		{why: "no host", url: "valkey://", wrong: "no HOST"},
		{why: "no host before the port", url: "valkey://:6379", wrong: "no HOST"},
		{why: "no port after the colon", url: "valkey://db.example:", wrong: "no HOST"},
		{why: "port 0", url: "valkey://db.example:0", wrong: "no HOST"},
		{why: "a large port", url: "valkey://db.example:65536", wrong: "no HOST"},
		{why: "several hosts", url: "valkey://a.example,b.example", wrong: "+cluster or +sentinel"},
		{why: "an empty host", url: "valkey+cluster://a.example,", wrong: "no HOST"},
		{why: "a database of a cluster", url: "valkey+cluster://a.example/1", wrong: "no databases"},
		{why: "no primary", url: "valkey+sentinel://a.example", wrong: "name of the primary"},
		{why: "no database", url: "valkey://db.example/main", wrong: "no number"},
		{why: "options", url: "valkey://db.example?tls=true", wrong: "no options"},
		{why: "a broken password", url: "valkey://bob:se%zzcret@db.example", wrong: "password has a %"},
		{why: "a broken user", url: "valkey://b%zzob:x@db.example", wrong: "user has a %"},
		{why: "a ? in a password: not a word of it is shown", url: "valkey://bob:se?cret@db.example?x", wrong: "%3F"},
	} {
		e, err := ParseEndpoint(c.url)
		if c.wrong != "" {
			if err == nil || !strings.Contains(err.Error(), c.wrong) || strings.Contains(err.Error(), "cret") {
				t.Errorf("%s: error %v, want %q", c.why, err, c.wrong)
			}
			continue
		}
		if got := spellEndpoint(e); err != nil || got != c.want {
			t.Errorf("%s: %q, %v, want %q", c.why, got, err, c.want)
		}
		if e.password != "" && strings.Contains(e.String(), e.password) {
			t.Errorf("%s: %s holds the password", c.why, e)
		}
	}
}

func spellEndpoint(e Endpoint) string {
	text := strings.Join(e.hosts, ",")
	switch e.mode {
	case modeCluster:
		text += " cluster"
	case modeSentinel:
		text += " sentinel=" + e.master
	}
	if e.database != 0 {
		text += " db=" + string(rune('0'+e.database))
	}
	if e.user != "" || e.password != "" {
		text += " " + e.user + ":" + e.password
	}
	if e.tls {
		text += " tls"
	}
	return text
}

func TestEndpointFiles(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, c := range []struct {
		why    string
		change func(e *Endpoint)
		wrong  string
	}{
		{"no files", func(*Endpoint) {}, ""},
		{"a password", func(e *Endpoint) { e.PasswordFile = file("a", "secret\r\nmore\n") }, ""},
		{"no such file", func(e *Endpoint) { e.PasswordFile = dir + "/none" }, "shared.password_file: "},
		{"an empty one", func(e *Endpoint) { e.PasswordFile = file("b", "\nsecret") },
			"shared.password_file: the first line"},
		{"a sentinel's", func(e *Endpoint) { e.SentinelPasswordFile = dir + "/none" },
			"shared.sentinel_password_file: "},
		{"no such CA", func(e *Endpoint) { e.CAFile = dir + "/none" }, "shared.ca_file: "},
		{"a CA that is none", func(e *Endpoint) { e.CAFile = file("c", "hello") }, "holds no certificate"},
	} {
		e := mustEndpoint(t, "rediss+sentinel://a.example/main")
		c.change(&e)
		if err := e.Check(); (err != nil) != (c.wrong != "") || err != nil &&
			(!strings.Contains(err.Error(), c.wrong) || strings.Contains(err.Error(), "secret")) {
			t.Errorf("%s: %v, want %q", c.why, err, c.wrong)
		}
	}
}

// TestUnreadablePasswordFile: the error has the commands that mend it.
func TestUnreadablePasswordFile(t *testing.T) {
	err := &fs.PathError{Op: "open", Path: "/etc/stsmapd/shared-password", Err: syscall.EACCES}
	group := strconv.Itoa(os.Getegid())
	if g, err := user.LookupGroupId(group); err == nil {
		group = g.Name
	}
	for key, credential := range map[string]string{
		"password_file": "shared-password", "sentinel_password_file": "shared-sentinel-password"} {
		text := unreadable(err.Path, key, err).Error()
		for _, want := range []string{
			"shared." + key + ": open /etc/stsmapd/shared-password: permission denied",
			"chown root:" + group + " /etc/stsmapd/shared-password; chmod 0640 /etc/stsmapd/shared-password",
			"[Service] and LoadCredential=" + credential + ":/etc/stsmapd/shared-password",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("no %q in %s", want, text)
			}
		}
	}
}
