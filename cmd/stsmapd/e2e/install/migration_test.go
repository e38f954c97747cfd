package install

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// section returns the blocks of code in a section of migration.md.
func section(t *testing.T, heading string) []string {
	t.Helper()
	_, text, found := strings.Cut(readText(t, "../../../../packaging/docs/migration.md"), "\n## "+heading+"\n")
	if !found {
		t.Fatalf("migration.md has no section %q", heading)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	var blocks []string
	inside := false
	for line := range strings.Lines(text) {
		code, ok := strings.CutPrefix(line, "    ")
		if ok && !inside {
			blocks = append(blocks, "")
		}
		if inside = ok; ok {
			blocks[len(blocks)-1] += code
		}
	}
	return blocks
}

// follow does what blocks of migration.md say. Those for main.cf are left out: the test asks by postmap.
func (m *machine) follow(t *testing.T, blocks []string) {
	t.Helper()
	did := 0
	for _, block := range blocks {
		switch {
		case strings.HasPrefix(block, "# /etc/stsmapd/stsmapd.toml\n"):
			m.configure(t, block)
		case strings.Contains(block, "systemctl "):
			m.run(t, "set -e\n"+block)
			did++
		}
	}
	if did == 0 {
		t.Errorf("no commands in %q", blocks)
	}
}

// configure writes the settings of the tests, with these lines before them.
func (m *machine) configure(t *testing.T, lines string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(m.shared, "stsmapd.toml"), []byte(lines+settings), 0o644); err != nil {
		t.Fatal(err)
	}
	m.run(t, "cp /test/stsmapd.toml /etc/stsmapd/stsmapd.toml")
}

// otherDaemons makes units with the names of those of the other daemons, which hold their ports.
const otherDaemons = `cd /etc/systemd/system
cat >postfix-mta-sts-resolver.service <<'.'
[Service]
ExecStart=/usr/bin/perl -MIO::Socket::INET -e '$$s = IO::Socket::INET->new(LocalAddr => "127.0.0.1", \
  LocalPort => 8461, Listen => 9, ReuseAddr => 1) || die; sleep 1 while 1'
[Install]
WantedBy=multi-user.target
.
cat >postfix-tlspol.service <<'.'
[Service]
ExecStart=/bin/sleep infinity
[Install]
WantedBy=multi-user.target
.
cat >postfix-tlspol.socket <<'.'
[Socket]
ListenStream=127.0.0.1:8642
[Install]
WantedBy=sockets.target
.
systemctl daemon-reload
systemctl enable --now postfix-mta-sts-resolver postfix-tlspol.socket postfix-tlspol.service`

// TestMigration does what migration.md says, on a system where units of both other daemons run.
func TestMigration(t *testing.T) {
	p := shared(t)
	m := boot(t, "debian-12-base")
	m.run(t, otherDaemons)
	testkit.Eventually(t, testkit.Hang, "the other daemons to listen", func() bool {
		out, _ := m.try("grep -c -e :210D -e :21C2 /proc/net/tcp")
		return strings.TrimSpace(out) == "2"
	})
	m.copy(t, p.file(t, "*_"+runtime.GOARCH+".deb"), "stsmapd.deb")
	m.run(t, "apt-get -q -y install /test/stsmapd.deb postfix")
	m.configure(t, "")
	tlspol := section(t, "From postfix-tlspol")
	for _, step := range []struct {
		name string
		do   func(*testing.T)
	}{
		{"from postfix-mta-sts-resolver", func(t *testing.T) {
			m.follow(t, section(t, "From postfix-mta-sts-resolver"))
			m.want(t, "systemctl is-enabled stsmapd; systemctl is-active stsmapd", "enabled\nactive")
			m.want(t, "postmap -q partner.example socketmap:inet:127.0.0.1:8461:postfix", partner)
		}},
		{"from postfix-tlspol", func(t *testing.T) {
			m.follow(t, tlspol[:len(tlspol)-1])
			m.want(t, "systemctl is-active postfix-tlspol.socket postfix-tlspol.service || true", "inactive\ninactive")
			m.answers(t, "inet:127.0.0.1:8642")
		}},
		{"a UNIX socket by listen", func(t *testing.T) { m.forbidden(t) }},
		{"a UNIX socket by the drop-in", func(t *testing.T) {
			m.follow(t, tlspol[len(tlspol)-1:])
			m.answers(t, "unix:/run/postfix-tlspol/tlspol.sock")
			m.answers(t, "inet:127.0.0.1:8461")
		}},
		{"Postfix in a chroot", func(t *testing.T) {
			m.follow(t, section(t, "Postfix in a chroot"))
			m.want(t, "postmap -q partner.example "+byUnix, partner)
		}},
	} {
		if !t.Run(step.name, step.do) {
			t.Logf("the journal after step %q:\n%s", step.name, m.journal())
		}
	}
}

// answers checks that stsmapd answers there, and knows postfix-tlspol's map name: under that name it looks for TLSA
// records, which fails for want of a DNS server.
func (m *machine) answers(t *testing.T, server string) {
	t.Helper()
	m.want(t, "postmap -q partner.example socketmap:"+server+":sts", partner)
	out, err := m.try("postmap -q partner.example socketmap:" + server + ":QUERY")
	if err == nil || !strings.Contains(out, "DANE: cannot look up the MX hosts' TLSA records") {
		t.Errorf("QUERY at %s: %v\n%s", server, err, out)
	}
}

// forbidden tries UNIX sockets by `listen`, which the sandbox of the unit forbids: the error names the drop-in.
func (m *machine) forbidden(t *testing.T) {
	m.run(t, "mkdir -p /run/postfix-tlspol")
	for path, why := range map[string]string{
		"/run/postfix-tlspol/tlspol.sock": "permission denied", "/usr/tlspol.sock": "read-only file system"} {
		m.configure(t, "listen = [\"unix:"+path+"\"]\n")
		m.fails(t, "the sandbox forbids it", "systemctl restart stsmapd")
		m.run(t, "systemctl stop stsmapd")
		said := false
		for line := range strings.Lines(m.journal()) {
			said = said || strings.Contains(line, path) && strings.Contains(line, why) &&
				strings.Contains(line, "systemctl edit stsmapd.socket")
		}
		if !said {
			t.Errorf("unix:%s: no line has %q and the drop-in:\n%s", path, why, m.journal())
		}
	}
	m.configure(t, "")
}
