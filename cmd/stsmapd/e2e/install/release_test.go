package install

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// otherUser is the id of a user other than the one that runs the tests.
const otherUser = 12345

// product is what `make release` makes of a copy of the source.
type product struct {
	source, release string
	later           string // of the shared product: a Debian package of the same with a later version
}

// errNoGit means that the source is not in a git repository and so has no version. The test is skipped.
var errNoGit = errors.New("the source is no git repository")

// released is the product that all tests share.
var released = sync.OnceValues(func() (product, error) {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		return product{}, err
	}
	source := filepath.Join(dir, "source")
	root, err := filepath.Abs("../../../..")
	if err != nil {
		return product{}, err
	}
	if err := copySource(root, source); err != nil {
		return product{}, err
	}
	if err := makeKey(dir); err != nil {
		return product{}, err
	}
	p, err := makeRelease(source)
	if err != nil {
		return p, err
	}
	if err := p.command("make", "image"); err != nil {
		return p, err
	}
	p.later = filepath.Join(dir, "later.deb")
	return p, p.upgrade()
})

func TestMain(m *testing.M) { os.Exit(inScratch(m.Run)) }

// inScratch runs the tests with a directory for all their temporary files.
func inScratch(run func() int) int {
	dir, err := os.MkdirTemp("", "stsmapd-install-")
	if err == nil {
		err = os.Setenv("TMPDIR", dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	defer func() {
		if strings.HasPrefix(os.Getenv("GNUPGHOME"), dir) {
			_ = exec.Command("gpgconf", "--kill", "all").Run()
		}
	}()
	return run()
}

// shared returns the product that all tests share.
func shared(t *testing.T) product {
	t.Helper()
	p, err := released()
	if errors.Is(err, errNoGit) {
		testkit.Skip(t, err.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// keyName is the key that signs the apt repository.
const keyName = "apt@stsmapd.example"

// makeKey makes the key, in a directory of gpg below dir, and sets the environment of `make release` for it.
func makeKey(dir string) error {
	home := filepath.Join(dir, "gnupg")
	for name, value := range map[string]string{"GNUPGHOME": home, "APT_KEY": keyName} {
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	if err := os.Mkdir(home, 0o700); err != nil {
		return err
	}
	return (product{source: dir}).command("gpg", "--batch", "--passphrase", "", "--quick-generate-key", keyName,
		"ed25519", "sign", "never")
}

// makeRelease runs `make release` in a copy of the source.
func makeRelease(dir string) (product, error) {
	p := product{source: dir, release: filepath.Join(dir, "build", "release")}
	return p, p.command("make", "release")
}

// upgrade makes p.later.
func (p product) upgrade() error {
	binary, err := os.ReadFile(filepath.Join(p.release, "stsmapd_linux_"+runtime.GOARCH))
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(p.source, "build", "package", "stsmapd"), binary, 0o755); err != nil {
		return err
	}
	return p.command("env", "VERSION=v99.0.0", "ARCH="+runtime.GOARCH, "go", "tool", "-modfile=packaging/tools/go.mod",
		"nfpm", "package",
		"-f", "packaging/nfpm.yaml", "-p", "deb", "-t", p.later)
}

// copySource copies the files of the source, with what is not committed yet, and its repository.
func copySource(root, dir string) error {
	if _, err := os.Stat(filepath.Join(root, ".git")); errors.Is(err, fs.ErrNotExist) {
		return errNoGit
	}
	git := exec.Command("git", "-c", "safe.directory="+root, "-C", root, "ls-files", "-z", "--cached", "--others",
		"--exclude-standard")
	names, err := git.Output()
	if err != nil {
		return fmt.Errorf("git ls-files: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	args := []string{"-a", "--parents", ".git"}
	for name := range strings.SplitSeq(strings.TrimRight(string(names), "\x00"), "\x00") {
		if _, err := os.Lstat(filepath.Join(root, name)); err == nil { // it may have been removed and not committed
			args = append(args, name)
		}
	}
	cp := exec.Command("cp", append(args, dir)...)
	cp.Dir = root
	if out, err := cp.CombinedOutput(); err != nil {
		return fmt.Errorf("cp: %w\n%s", err, out)
	}
	return nil
}

// command runs a program in the source.
func (p product) command(program string, args ...string) error {
	cmd := exec.Command(program, args...)
	cmd.Dir = p.source
	cmd.Env = slices.DeleteFunc(os.Environ(),
		func(s string) bool { return strings.HasPrefix(s, "MAKE") || strings.HasPrefix(s, "MFLAGS") })
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", program, strings.Join(args, " "), err, out)
	}
	return nil
}

// file is the one file of the product whose name matches.
func (p product) file(t *testing.T, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(p.release, pattern))
	if err != nil || len(found) != 1 {
		t.Fatalf("the files %s of the release are %q: %v", pattern, found, err)
	}
	return found[0]
}

// TestReleaseIsReproducible tests that the same source makes the same bits in another directory, for another user,
// later, signatures apart; and the same image.
func TestReleaseIsReproducible(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		testkit.Skip(t, "not root, so no files of another user")
	}
	first := shared(t)
	dir := filepath.Join(t.TempDir(), "elsewhere", "stsmapd")
	if err := copySource(first.source, dir); err != nil {
		t.Fatal(err)
	}
	if err := exec.Command("chown", "-R", fmt.Sprint(otherUser), dir).Run(); err != nil {
		t.Fatal(err)
	}
	second, err := makeRelease(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := second.command("make", "image"); err != nil {
		t.Fatal(err)
	}
	for name, text := range readDir(t, filepath.Join(first.source, "build/image")) {
		if readText(t, filepath.Join(second.source, "build/image", name)) != text {
			t.Errorf("image%s differs", name)
		}
	}
	one, other := readDir(t, first.release), readDir(t, second.release)
	// four binaries, two Debian packages, two RPMs, their sums; in apt the two packages, their two lists, each twice,
	// Release, its two signatures, and the key
	if want := 4 + 2 + 2 + 1 + 2 + 4 + 1 + 2 + 1; len(one) != want || len(other) != want {
		t.Fatalf("the release has %d files, and later %d; want %d: %q", len(one), len(other), want,
			slices.Sorted(maps.Keys(one)))
	}
	signature := regexp.MustCompile(`/(InRelease|Release\.gpg)$`)
	for name, text := range one {
		if other[name] != text && !signature.MatchString(name) {
			t.Errorf("%s differs", name)
		}
	}
	if err := (product{source: second.release}).command("sha256sum", "--check", "--strict", "SHA256SUMS"); err != nil {
		t.Error(err)
	}
}

func readText(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// readDir returns the files below dir, by their paths below it.
func readDir(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			files[strings.TrimPrefix(path, dir)] = readText(t, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestVersion tests that the package has the version that the program prints.
func TestVersion(t *testing.T) {
	t.Parallel()
	p := shared(t)
	said, err := exec.Command(p.file(t, "stsmapd_linux_"+runtime.GOARCH), "version").Output()
	fields := strings.Fields(string(said))
	if err != nil || len(fields) != 4 {
		t.Fatalf("stsmapd version: %v\n%s", err, said)
	}
	packaged, err := exec.Command("dpkg-deb", "-f", p.file(t, "*_"+runtime.GOARCH+".deb"), "Version").Output()
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(filepath.Join(p.source, ".git")); err == nil && info.Mode().IsRegular() {
		t.Logf("a git worktree, in which go build finds no version: the program says %s, the package %s", fields[1],
			packaged)
		return
	}
	if want := strings.Replace(strings.TrimPrefix(fields[1], "v"), "-", "~", 1) + "-1\n"; string(packaged) != want {
		t.Errorf("the program says %s, and the package is of version %s", fields[1], packaged)
	}
}

// TestLintian tests that lintian finds nothing.
func TestLintian(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("lintian"); err != nil {
		testkit.Missing(t, "no lintian")
	}
	p := shared(t)
	for _, arch := range []string{"amd64", "arm64"} {
		if err := p.command("lintian", "--allow-root", "--fail-on", "error,warning",
			p.file(t, "*_"+arch+".deb")); err != nil {
			t.Error(err)
		}
	}
}

// debiansOwn are files that have no place in an RPM, or another one.
var debiansOwn = regexp.MustCompile(
	`^/etc/ca-certificates/|^/usr/share/lintian/|/changelog\S*\.gz$|/copyright$|^/usr/share/zsh/`)

// TestRPM tests that the RPM has the files of the Debian package, except for Debian's own.
func TestRPM(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("rpm"); err != nil {
		testkit.Missing(t, "no rpm")
	}
	p := shared(t)
	list := func(program string, args ...string) (names []string) {
		out, err := exec.Command(program, args...).Output()
		if err != nil {
			t.Fatalf("%s: %v", program, err)
		}
		return strings.Fields(string(out))
	}
	for _, arch := range []string{"x86_64", "aarch64"} {
		rpm := p.file(t, "*."+arch+".rpm")
		if err := p.command("rpm", "--checksig", "--nosignature", rpm); err != nil {
			t.Error(err)
		}
		files := list("rpm", "-qpl", rpm)
		if got := list("rpm", "-qpc", rpm); !slices.Equal(got, []string{"/etc/stsmapd/stsmapd.toml"}) {
			t.Errorf("configuration files of the RPM: %q", got)
		}
		wanted := []string{"/usr/lib/systemd/system/stsmapd-roots.path",
			"/usr/lib/systemd/system/stsmapd-roots.service",
			"/usr/lib/systemd/system/stsmapd.service.d/roots.conf", "/usr/share/zsh/site-functions/_stsmapd"}
		for line := range strings.Lines(readText(t, "testdata/files.txt")) {
			if name := strings.Fields(line)[2]; !debiansOwn.MatchString(name) {
				wanted = append(wanted, name)
			}
		}
		for _, name := range wanted {
			if !slices.Contains(files, name) {
				t.Errorf("%s: no %s", filepath.Base(rpm), name)
			}
		}
	}
}
