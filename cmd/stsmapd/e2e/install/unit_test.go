package install

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// exposure is the last line of systemd-analyze security.
var exposure = regexp.MustCompile(`Overall exposure level for stsmapd\.service: (\d+\.\d+)`)

// unit checks the units with this Debian's systemd.
func (m *machine) unit(t *testing.T) {
	m.verify(t, "stsmapd.service stsmapd.socket stsmapd-chroot.socket stsmapd-summary.service stsmapd-summary.timer")
	out := m.run(t, "systemd-analyze security --no-pager --offline=true /usr/lib/systemd/system/stsmapd.service")
	found := exposure.FindStringSubmatch(out)
	if found == nil {
		t.Fatalf("systemd-analyze security says:\n%s", out)
	}
	t.Logf("exposure %s", found[1])
	if level, err := strconv.ParseFloat(found[1], 64); err != nil || level > 1.1 {
		t.Errorf("the exposure is %s, more than 1.1:\n%s", found[1], out)
	}
}

// verify checks units with this Debian's systemd, and their manual pages with the machine's: the small system has no
// man.
func (m *machine) verify(t *testing.T, units string) {
	t.Helper()
	m.want(t, "systemd-analyze verify --man=no "+units+" 2>&1", "")
	for _, program := range []string{"systemd-analyze", "man"} {
		if _, err := exec.LookPath(program); err != nil {
			testkit.Missing(t, "no "+program)
		}
	}
	root := fmt.Sprintf("/proc/%d/root", m.pid)
	cmd := exec.Command("systemd-analyze", append([]string{"verify", "--man=yes", "--root=" + root},
		strings.Fields(units)...)...)
	cmd.Env = append(os.Environ(), "MANPATH="+root+"/usr/share/man")
	out, _ := cmd.CombinedOutput() // where this systemd is older, it finds other units wrong, and fails
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "stsmapd") {
			t.Errorf("%s: %s", cmd, line)
		}
	}
}
