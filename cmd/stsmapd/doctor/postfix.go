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
)

// ErrNoPostfix says that there is no postconf program. Install Postfix, or extend PATH.
var ErrNoPostfix = errors.New("no postconf program in PATH, /usr/sbin or /usr/local/sbin: is Postfix installed?")

// commandLimit is far more than postconf and postmap take.
const commandLimit = 30 * time.Second

// Postfix is an instance of Postfix on this host.
type Postfix struct {
	postconf string
	flags    []string // -c DIR
}

// FindPostfix finds the Postfix whose configuration is in this directory, "" for the usual one.
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
	return p, ErrNoPostfix
}

// Flags are those that Postfix's commands need for this instance, ready for a shell, with a space at the end if there
// are any.
func (p Postfix) Flags() string {
	var b strings.Builder
	for _, f := range p.flags {
		b.WriteString(Quote(f) + " ")
	}
	return b.String()
}

// Facts examines this host. The listeners are those of stsmapd's configuration.
func (p Postfix) Facts(ctx context.Context, listeners []string) (Facts, error) {
	f := Facts{
		Listeners: listeners, Bundle: bundle(bundles()),
		Answers: map[Call]Answer{}, Sockets: map[Reach]Socket{},
		Files: map[string]File{}, Tables: map[string]TableState{},
	}
	if err := p.configuration(ctx, &f); err != nil {
		return f, err
	}
	survey := SurveyOf(f)
	for call, answer := range askAll(ctx, survey.Calls) {
		f.Answers[call] = answer
	}
	user := lookupUser(f.Parameters["mail_owner"])
	for _, way := range survey.Sockets {
		f.Sockets[way] = user.socket(way)
	}
	for _, name := range survey.Files {
		f.Files[name] = certificates(name)
	}
	for _, name := range survey.Dirs {
		f.Files[name] = hashed(name)
	}
	for _, name := range survey.Paths {
		f.Files[name] = present(name)
	}
	for _, name := range survey.Tables {
		f.Tables[name] = p.search(ctx, name)
	}
	return f, ctx.Err()
}

// configuration reads main.cf and master.cf.
func (p Postfix) configuration(ctx context.Context, f *Facts) error {
	names := Parameters()
	out, err := p.run(ctx, names...)
	if err != nil {
		return err
	}
	f.Written = ParseParameters(out)
	f.Parameters = f.Written
	f.Directory = f.Written["config_directory"]
	can := CapabilitiesOf(f.Written["mail_version"])
	if can.Expand {
		if out, err = p.run(ctx, append([]string{"-x"}, names...)...); err != nil {
			return err
		}
		f.Parameters = ParseParameters(out)
	}
	if !can.Services {
		return nil
	}
	if out, err = p.run(ctx, "-M"); err != nil {
		return err
	}
	f.Services = ParseServices(out)
	if !can.Overrides {
		return nil
	}
	if out, err = p.run(ctx, "-x", "-P"); err != nil {
		return err
	}
	ParseOverrides(out, f.Services)
	return nil
}

// Set makes changes to main.cf, all at once.
func (p Postfix) Set(ctx context.Context, changes []Change) error {
	args := []string{"-e"}
	for _, c := range changes {
		args = append(args, c.Parameter+"="+c.New)
	}
	_, err := p.run(ctx, args...)
	return err
}

// run runs postconf and returns what it prints.
func (p Postfix) run(ctx context.Context, args ...string) (string, error) {
	stdout, stderr, err := command(ctx, p.postconf, append(append([]string{}, p.flags...), args...)...)
	if err != nil {
		return "", fmt.Errorf("run %s: %w%s", p.postconf, err, indented(stderr))
	}
	return stdout, nil
}

// indented is what a program complained of, for the end of an error.
func indented(stderr string) string {
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

// nobodysDomain is one that no table knows unless it knows all.
const nobodysDomain = "stsmapd-probe.invalid"

// search finds out how a table treats a domain that nobody has heard of.
func (p Postfix) search(ctx context.Context, table string) TableState {
	postmap := filepath.Join(filepath.Dir(p.postconf), "postmap")
	_, stderr, err := command(ctx, postmap, append(append([]string{}, p.flags...), "-q", nobodysDomain, table)...)
	var exit *exec.ExitError
	switch {
	case err == nil:
		return TableState{Kind: TableMatchesAll}
	case !errors.As(err, &exit) || strings.Contains(stderr, "Permission denied"):
		return TableState{}
	case strings.Contains(stderr, "fatal:"):
		return TableState{Kind: TableBroken, Detail: strings.TrimPrefix(indented(stderr), ": ")}
	}
	return TableState{Kind: TableSelective}
}
