package doctor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
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

// Facts collects the facts of this host, and those of the other instances of this Postfix. listeners and
// names are those of stsmapd's configuration.
func (p Postfix) Facts(ctx context.Context, listeners []string, names tlspolicy.MapNames) (Facts, error) {
	f, err := p.ownFacts(ctx, listeners, names)
	if err != nil {
		return f, err
	}
	for _, dir := range strings.FieldsFunc(f.Parameters["multi_instance_directories"], isListSpace) {
		other := Postfix{postconf: p.postconf, flags: []string{"-c", dir}}
		facts, err := other.ownFacts(ctx, listeners, names)
		f.Instances = append(f.Instances, Instance{
			Directory: dir, Err: err, Report: Diagnose(facts),
			Enabled: err != nil || strings.EqualFold(facts.Parameters["multi_instance_enable"], "yes"),
		})
	}
	return f, ctx.Err()
}

// ownFacts collects the facts of this instance.
func (p Postfix) ownFacts(ctx context.Context, listeners []string, names tlspolicy.MapNames) (Facts, error) {
	f := Facts{
		Listeners: listeners, MapNames: names, Bundle: findBundle(bundlePaths()),
		Answers: map[Query]Answer{}, Sockets: map[SocketPath]Socket{}, Lines: map[Setting]Place{},
		Files: map[string]File{}, Tables: map[Lookup]TableState{}, Pairs: map[KeyPair]PairState{},
		Ports: map[string]bool{},
	}
	if err := p.configuration(ctx, &f); err != nil {
		return f, err
	}
	p.readFiles(&f)
	p.readRoutes(ctx, &f)
	p.check(ctx, &f)
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
	for _, lookup := range survey.Tables {
		f.Tables[lookup] = p.search(ctx, lookup, user)
	}
	for _, pair := range survey.Pairs {
		f.Pairs[pair] = pair.load()
	}
	for _, port := range survey.Ports {
		_, err := net.DefaultResolver.LookupPort(ctx, "tcp", port)
		f.Ports[port] = err == nil
	}
	return f, ctx.Err()
}

// configuration reads main.cf and master.cf by postconf.
func (p Postfix) configuration(ctx context.Context, f *Facts) error {
	out, err := p.run(ctx, f)
	if err != nil {
		return err
	}
	f.Written = parseParameters(out)
	f.Parameters = f.Written
	f.Directory = f.Written["config_directory"]
	can := capabilitiesOf(f.Written["mail_version"])
	if can.Expand {
		if out, err = p.run(ctx, f, "-x"); err != nil {
			return err
		}
		f.Parameters = parseParameters(out)
		f.Directory = f.Parameters["config_directory"] // for -c, postconf of Postfix 3.10 prints it only here
		if out, err = p.run(ctx, f, "-d", "-x"); err != nil {
			return err
		}
		f.Defaults = parseParameters(out)
	}
	if !can.Services {
		return nil
	}
	if out, err = p.run(ctx, f, "-M"); err != nil {
		return err
	}
	f.Services = parseServices(out)
	if !can.Overrides {
		return nil
	}
	if out, err = p.run(ctx, f, "-x", "-P"); err != nil {
		return err
	}
	parseOverrides(out, f.Services)
	return nil
}

// readFiles reads where main.cf and master.cf set what, and what postfix-mta-sts-resolver did here. What cannot be read
// stays unknown.
func (p Postfix) readFiles(f *Facts) {
	main, master := filepath.Join(f.Directory, "main.cf"), filepath.Join(f.Directory, "master.cf")
	if text, err := os.ReadFile(main); err == nil {
		parseLines(main, string(text), f.Lines)
	}
	if text, err := os.ReadFile(master); err == nil {
		parseMasterLines(master, string(text), f.Lines)
	}
	for _, name := range predecessorFiles() {
		if text, err := os.ReadFile(name); err == nil {
			f.StrictZones = parseZones(string(text))
			return
		}
	}
}

// check runs `postfix check`, which only root may, and which takes part in no diagnosis where it fails to run.
func (p Postfix) check(ctx context.Context, f *Facts) {
	program := filepath.Join(filepath.Dir(p.postconf), "postfix")
	if _, err := os.Stat(program); err != nil || os.Geteuid() != 0 {
		return
	}
	_, stderr, _ := command(ctx, nil, nil, program, append(append([]string{}, p.flags...), "check")...)
	f.addWarnings(stderr)
}

// addWarnings adds the warnings and errors that a program of Postfix wrote.
func (f *Facts) addWarnings(stderr string) {
	for line := range strings.Lines(stderr) {
		for _, level := range []string{"warning: ", "error: ", "fatal: "} {
			if _, text, found := strings.Cut(strings.TrimSpace(line), level); found {
				if level == "fatal: " {
					text = level + text
				}
				f.Warnings = include(f.Warnings, text)
				break
			}
		}
	}
}

// Set makes the changes to main.cf with one run of postconf.
func (p Postfix) Set(ctx context.Context, changes []Change) error {
	args := []string{"-e"}
	for _, c := range changes {
		args = append(args, c.Parameter+"="+c.New)
	}
	_, err := p.run(ctx, &Facts{}, args...)
	return err
}

// run runs postconf and returns its standard output. It adds its warnings to the facts.
func (p Postfix) run(ctx context.Context, f *Facts, args ...string) (string, error) {
	stdout, stderr, err := command(ctx, nil, nil, p.postconf, append(append([]string{}, p.flags...), args...)...)
	if err != nil {
		return "", fmt.Errorf("run %s: %w%s", p.postconf, err, stderrText(stderr))
	}
	f.addWarnings(stderr)
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

// command runs a program, as another user if attributes says so.
func command(ctx context.Context, in io.Reader, attributes *syscall.SysProcAttr, name string, args ...string) (stdout,
	stderr string, err error) {
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	var out, complaints bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, &out, &complaints
	cmd.SysProcAttr = attributes
	cmd.WaitDelay = commandLimit // counts from the program's end too, whose output a busy host reads late
	err = cmd.Run()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return out.String(), complaints.String(), err
}

// Keys that are in no table, unless the table matches all.
const (
	probeDomain  = "stsmapd-probe.invalid"
	probeAddress = "192.0.2.1"
)

// search finds out what a table answers. smtp(8) opens its tables as root; proxymap(8), as Postfix's user.
func (p Postfix) search(ctx context.Context, lookup Lookup, user identity) TableState {
	postmap := filepath.Join(filepath.Dir(p.postconf), "postmap")
	table, proxied := strings.CutPrefix(lookup.Table, "proxy:")
	var attributes *syscall.SysProcAttr
	if proxied && user.known && os.Geteuid() == 0 && len(user.gids) > 0 {
		attributes = &syscall.SysProcAttr{
			Credential: &syscall.Credential{Uid: user.uid, Gid: user.gids[0], Groups: user.gids}}
	}
	stdout, stderr, err := command(ctx, nil, attributes, postmap,
		append(append([]string{}, p.flags...), "-q", lookup.Key, table)...)
	var exit *exec.ExitError
	switch {
	case err == nil:
		return TableState{Kind: TableMatchesAll, Value: strings.TrimSpace(stdout)}
	case !errors.As(err, &exit), strings.Contains(stderr, "Permission denied") && !proxied:
		return TableState{}
	case strings.Contains(stderr, "fatal:"):
		return TableState{Kind: TableBroken, Detail: strings.TrimPrefix(stderrText(stderr), ": ")}
	}
	return TableState{Kind: TableSelective}
}
