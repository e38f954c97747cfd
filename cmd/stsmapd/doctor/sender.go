package doctor

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// Sender is an SMTP client of master.cf that sends mail to the internet, as package trial sees it.
type Sender struct{ view view }

// Senders returns the SMTP clients that send mail to the internet.
func (f *Facts) Senders() []Sender {
	var senders []Sender
	for _, v := range viewsOf(f) {
		if v.principal {
			senders = append(senders, Sender{v})
		}
	}
	return senders
}

// Service returns the service of master.cf.
func (s Sender) Service() Service { return s.view.service }

// Value returns the value of a parameter for this service, "" if this Postfix does not know it.
func (s Sender) Value(parameter string) string { return s.view.value(parameter) }

// Certain reports whether the security level for destinations without a policy demands that they prove who they are.
func (s Sender) Certain() bool {
	level, _ := s.view.level()
	return slices.Contains([]string{"dane-only", "fingerprint", "verify", "secure"}, level)
}

// PolicyMaps returns the tables of smtp_tls_policy_maps, with another socketmap server of the same map name behind each
// that asks stsmapd. All that the other tables do, they still do.
func (s Sender) PolicyMaps(server string) string {
	var list []string
	for _, text := range splitLookupTables(s.view.value(policyMaps)) {
		list = append(list, text)
		t := parseLookupTable(text).classify(s.view.facts, []view{s.view})
		switch name := strings.Trim(t.name, " {}"); t.role {
		case roleStsmapd, roleMalformed, roleWrapped:
			list = append(list, "socketmap:"+server+":"+name)
		}
	}
	return strings.Join(list, ", ")
}

// Authorities returns the content of the file of CA certificates, nil where there is only a directory. It returns false
// where the service has neither, or one that it cannot use.
func (s Sender) Authorities() (text []byte, usable bool) {
	f := s.view.facts
	file := s.view.value(caFile)
	if file == "" {
		dir := s.view.value("smtp_tls_CApath")
		return nil, dir != "" && f.Files[f.seenOutside(s.view.service, dir)] == FileGood
	}
	file = f.beforeChroot(file)
	text, err := os.ReadFile(file)
	return text, err == nil && certificateFile(file) == FileGood
}

// AtLeast reports whether this Postfix is of this version or later.
func (f *Facts) AtLeast(major, minor int) bool { return f.version().atLeast(major, minor, 0) }

// Settings returns the lines of main.cf as `postconf -n` prints them: those that differ from Postfix's defaults, each
// parameter once.
func (p Postfix) Settings(ctx context.Context) (string, error) { return p.run(ctx, &Facts{}, "-n") }

// Run runs another program of this Postfix. It adds no flags. A signal from the terminal does not reach the program.
func (p Postfix) Run(ctx context.Context, in io.Reader, program string, args ...string) error {
	stdout, stderr, err := command(ctx, in, &syscall.SysProcAttr{Setpgid: true},
		filepath.Join(filepath.Dir(p.postconf), program), args...)
	if err != nil {
		return fmt.Errorf("run %s: %w: %s", program, err, strings.TrimSpace(stdout+stderr))
	}
	return nil
}
