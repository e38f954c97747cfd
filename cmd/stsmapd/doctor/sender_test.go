package doctor

import (
	"os"
	"path/filepath"
	"testing"
)

// TestSenderPolicyMaps: the other server is asked behind stsmapd, and all other tables stay where they are.
func TestSenderPolicyMaps(t *testing.T) {
	const other = "socketmap:inet:127.0.0.1:99:"
	ours := "socketmap:" + defaultServer + ":"
	for value, want := range map[string]string{
		ours + "sts":                         ours + "sts, " + other + "sts",
		"hash:/a, " + ours + "sts+dane":      "hash:/a, " + ours + "sts+dane, " + other + "sts+dane",
		ours + "sts static:may":              ours + "sts, " + other + "sts, static:may",
		"pipemap:{hash:/a, " + ours + "sts}": "pipemap:{hash:/a, " + ours + "sts}, " + other + "sts",
		"socketmap:127.0.0.1:8461:sts":       "socketmap:127.0.0.1:8461:sts, " + other + "sts",
		ours + "sts+strict, " + ours + "sts": ours + "sts+strict, " + other + "sts+strict, " + ours + "sts, " + other +
			"sts",
		"hash:/a": "hash:/a",
		"":        "",
	} {
		f := soundHost("3.7.11").maps(value).Facts
		if got := f.Senders()[0].PolicyMaps("inet:127.0.0.1:99"); got != want {
			t.Errorf("%s: %q, want %q", value, got, want)
		}
	}
}

// TestSenderAuthorities: what is usable is what the diagnosis does not complain of.
func TestSenderAuthorities(t *testing.T) {
	dir := t.TempDir()
	bundle, empty := filepath.Join(dir, "bundle"), filepath.Join(dir, "empty")
	const text = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
	for name, text := range map[string]string{bundle: text, empty: "x"} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		why, file, dir string
		state          File
		want           string
		usable         bool
	}{
		{why: "a file", file: bundle, want: text, usable: true},
		{why: "a file and a directory that is not there", file: bundle, dir: "/gone", want: text, usable: true},
		{why: "a file without a certificate", file: empty, dir: "/certs", state: FileGood, want: "x"},
		{why: "no such file", file: filepath.Join(dir, "gone")},
		{why: "a directory in the chroot", dir: "/certs", state: FileGood, usable: true},
		{why: "a directory that is not in the chroot", dir: "/certs", state: FileMissing},
		{why: "nothing"},
	} {
		f := soundHost("3.7.11").Facts
		f.Parameters[caFile], f.Parameters["smtp_tls_CApath"] = c.file, c.dir
		f.Files["/var/spool/postfix"+c.dir] = c.state
		got, usable := f.Senders()[0].Authorities()
		if usable != c.usable || string(got) != c.want {
			t.Errorf("%s: %q, %v", c.why, got, usable)
		}
	}
}
