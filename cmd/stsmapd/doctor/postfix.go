package doctor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/stsmapd/stsmapd/socketmap/tlspolicy"
)

// errNoPostfix says that there is no postconf program.
var errNoPostfix = errors.New("no postconf program in PATH, /usr/sbin or /usr/local/sbin: is Postfix installed?")

// commandLimit is how long postconf and postmap may take.
const commandLimit = 30 * time.Second

// Postfix is an instance of Postfix on this host.
type Postfix struct {
	postconf string
	flags    []string // -c DIR
}

// FindPostfix returns the Postfix whose configuration is in directory, "" for the default one.
func FindPostfix(directory string) (Postfix, error) {
	// sbin is not in everybody's PATH
	return findPostfix(directory, []string{"postconf", "/usr/sbin/postconf", "/usr/local/sbin/postconf"})
}

func findPostfix(directory string, programs []string) (Postfix, error) {
	p := Postfix{postconf: "postconf"}
	if directory != "" {
		absolute, err := filepath.Abs(directory)
		if err != nil {
			return p, err
		}
		p.flags = []string{"-c", absolute}
	}
	for _, name := range programs {
		if found, err := exec.LookPath(name); err == nil {
			p.postconf = found
			return p, nil
		}
	}
	return p, errNoPostfix
}

// Flags returns the flags of Postfix's commands for this instance, quoted for a shell, each followed by a space.
func (p Postfix) Flags() string {
	var b strings.Builder
	for _, f := range p.flags {
		b.WriteString(quote(f) + " ")
	}
	return b.String()
}

// Facts collects the facts of this host. listeners and names are those of stsmapd's configuration.
func (p Postfix) Facts(ctx context.Context, listeners []string, names tlspolicy.MapNames) (Facts, error) {
	f := Facts{
		Listeners: listeners, MapNames: names, Bundle: findBundle(bundlePaths()),
		Answers: map[Query]Answer{}, Sockets: map[SocketPath]Socket{},
		Files: map[string]File{}, Tables: map[string]TableState{},
	}
	if err := p.configuration(ctx, &f); err != nil {
		return f, err
	}
	survey := surveyOf(f)
	for call, answer := range queryAll(ctx, survey.Queries) {
		f.Answers[call] = answer
	}
	user := lookupUser(f.Parameters["mail_owner"])
	for _, way := range survey.Sockets {
		f.Sockets[way] = user.socket(way)
	}
	for _, name := range survey.Files {
		f.Files[name] = certificateFile(name)
	}
	for _, name := range survey.Dirs {
		f.Files[name] = certificateDir(name)
	}
	for _, name := range survey.Paths {
		f.Files[name] = statFile(name)
	}
	for _, name := range survey.Tables {
		f.Tables[name] = p.search(ctx, name)
	}
	return f, ctx.Err()
}

// configuration reads main.cf and master.cf.
func (p Postfix) configuration(ctx context.Context, f *Facts) error {
	names := parameterNames()
	out, err := p.run(ctx, names...)
	if err != nil {
		return err
	}
	f.Written = parseParameters(out)
	f.Parameters = f.Written
	f.Directory = f.Written["config_directory"]
	can := capabilitiesOf(f.Written["mail_version"])
	if can.Expand {
		if out, err = p.run(ctx, append([]string{"-x"}, names...)...); err != nil {
			return err
		}
		f.Parameters = parseParameters(out)
	}
	if !can.Services {
		return nil
	}
	if out, err = p.run(ctx, "-M"); err != nil {
		return err
	}
	f.Services = parseServices(out)
	if !can.Overrides {
		return nil
	}
	if out, err = p.run(ctx, "-x", "-P"); err != nil {
		return err
	}
	parseOverrides(out, f.Services)
	return nil
}

// Set makes the changes to main.cf with one run of postconf.
func (p Postfix) Set(ctx context.Context, changes []Change) error {
	args := []string{"-e"}
	for _, c := range changes {
		args = append(args, c.Parameter+"="+c.New)
	}
	_, err := p.run(ctx, args...)
	return err
}

// run runs postconf and returns its standard output.
func (p Postfix) run(ctx context.Context, args ...string) (string, error) {
	stdout, stderr, err := command(ctx, p.postconf, append(append([]string{}, p.flags...), args...)...)
	if err != nil {
		return "", fmt.Errorf("run %s: %w%s", p.postconf, err, stderrText(stderr))
	}
	return stdout, nil
}

// stderrText returns the messages of a program, without warnings, for the end of an error.
func stderrText(stderr string) string {
	var b strings.Builder
	for line := range strings.Lines(stderr) {
		if !strings.Contains(line, "warning:") {
			b.WriteString(": " + strings.TrimSpace(line))
		}
	}
	return b.String()
}

func command(ctx context.Context, name string, args ...string) (stdout, stderr string, err error) {
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	var out, complaints bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.Stdout, cmd.Stderr = &out, &complaints
	cmd.WaitDelay = time.Second
	err = cmd.Run()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return out.String(), complaints.String(), err
}

// probeDomain is a domain that is in no table, unless the table matches all.
const probeDomain = "stsmapd-probe.invalid"

// search finds out how a table treats an unknown domain.
func (p Postfix) search(ctx context.Context, table string) TableState {
	postmap := filepath.Join(filepath.Dir(p.postconf), "postmap")
	_, stderr, err := command(ctx, postmap, append(append([]string{}, p.flags...), "-q", probeDomain, table)...)
	var exit *exec.ExitError
	switch {
	case err == nil:
		return TableState{Kind: TableMatchesAll}
	case !errors.As(err, &exit) || strings.Contains(stderr, "Permission denied"):
		return TableState{}
	case strings.Contains(stderr, "fatal:"):
		return TableState{Kind: TableBroken, Detail: strings.TrimPrefix(stderrText(stderr), ": ")}
	}
	return TableState{Kind: TableSelective}
}
