package world

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// The environment of the second start of a test binary, by which it knows where it is.
const (
	envDir    = "STSMAPD_WORLD_DIR" // where the file system in memory is mounted
	envBinary = "STSMAPD_BINARY"    // the stsmapd binary under test; built when it is not given
)

// Main runs the tests of m in new namespaces and returns the exit code for os.Exit. Without root, namespaces or
// Postfix, the tests are skipped with the reason, and a line is added to the file that STSMAPD_TEST_LEFT_OUT names.
// With CI=true, and for root on Debian, where `make deps` installs what is missing, that is a failure.
func Main(m *testing.M) int {
	flag.Parse()
	switch {
	case inside():
		if err := enter(os.Getenv(envDir)); err != nil {
			fmt.Fprintln(os.Stderr, "entering the end-to-end world:", err)
			return 1
		}
		if err := allowParallel(); err != nil {
			fmt.Fprintln(os.Stderr, "entering the end-to-end world:", err)
			return 1
		}
		return m.Run()
	case flag.Lookup("test.list").Value.String() != "":
		return m.Run()
	}
	if reason := obstacle(); reason != nil {
		if required() {
			fmt.Fprintf(os.Stderr, "The end-to-end tests cannot run: %v\nAs root on Debian, `make deps` installs "+
				"what they need.\n", reason)
			return 1
		}
		testkit.Note(fmt.Sprintf("end-to-end tests (cmd/stsmapd/e2e): %v", reason))
		return m.Run()
	}
	code, err := restartInside()
	if err != nil {
		fmt.Fprintln(os.Stderr, "starting the end-to-end world:", err)
		return 1
	}
	return code
}

// perProcessor is how many tests run at a time for each processor: most of the time tests wait, such as for stsmapd to
// look at a record again.
const perProcessor = 6

// allowParallel lets more tests run at a time than there are processors, unless -parallel says otherwise.
func allowParallel() error {
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if given {
		return nil
	}
	return flag.Set("test.parallel", fmt.Sprint(perProcessor*runtime.NumCPU()))
}

// inside reports whether this process was started in the namespaces.
func inside() bool { return os.Getenv(envDir) != "" }

// obstacle returns why the tests cannot run here, or nil.
func obstacle() error {
	if os.Geteuid() != 0 {
		return errors.New("not root, so no namespaces, no ports below 1024 and no Postfix of their own")
	}
	for _, program := range []string{"postfix", "postmap"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("postfix is not installed: %w", err)
		}
	}
	probe := exec.Command("/bin/true")
	probe.SysProcAttr = &syscall.SysProcAttr{Cloneflags: namespaces}
	if err := probe.Run(); err != nil {
		return fmt.Errorf("namespaces are not permitted here: %w", err)
	}
	return nil
}

// required reports whether tests that cannot run are a failure.
func required() bool {
	return os.Getenv("CI") == "true" || testkit.Installable()
}

const namespaces = syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID

// again starts this test binary a second time, in new namespaces, and returns its exit code.
func restartInside() (int, error) {
	dir, err := os.MkdirTemp("", "stsmapd-e2e-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { // Postfix's own user goes through it
		return 0, err
	}
	root := filepath.Join(dir, "world")
	if err := os.Mkdir(root, 0o755); err != nil {
		return 0, err
	}
	binary, err := build(dir) // here, where the module proxy can be reached
	if err != nil {
		return 0, err
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), envDir+"="+root, envBinary+"="+binary)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: namespaces, Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // Pdeathsig is the death of the thread that started the child
	defer runtime.UnlockOSThread()
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// build returns the path of the stsmapd binary to test: the one that STSMAPD_BINARY names, or a fresh one in dir, with
// the race detector if this test has it.
func build(dir string) (string, error) {
	if given := os.Getenv(envBinary); given != "" {
		return filepath.Abs(given)
	}
	binary := filepath.Join(dir, "stsmapd")
	args := []string{"build", "-buildvcs=false", "-o", binary}
	if raceEnabled {
		args = append(args, "-race")
	}
	cmd := exec.Command("go", append(args, "github.com/stsmapd/stsmapd/cmd/stsmapd")...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build of cmd/stsmapd: %w\n%s", err, out)
	}
	return binary, nil
}

// enter sets up the new namespaces: mounts are not seen outside, root is a file system in memory, the loopback
// interface is up, and /etc/resolv.conf names the World's DNS server.
func enter(root string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making all mounts private: %w", err)
	}
	if err := unix.Mount("tmpfs", root, "tmpfs", 0, "mode=0755"); err != nil {
		return fmt.Errorf("mounting a tmpfs on %s: %w", root, err)
	}
	tmp := filepath.Join(root, "tmp")
	if err := os.Mkdir(tmp, 0o755); err != nil {
		return err
	}
	if err := os.Setenv("TMPDIR", tmp); err != nil { // so that the directories of t.TempDir are in here
		return err
	}
	if err := os.Setenv("RUNTIME_DIRECTORY", filepath.Join(root, "run")); err != nil { // for control sockets
		return err
	}
	// It holds stsmapd's default state directory, which tests must not make on the machine.
	if err := unix.Mount("tmpfs", "/var/lib", "tmpfs", 0, "mode=0755"); err != nil {
		return fmt.Errorf("mounting a tmpfs on /var/lib: %w", err)
	}
	resolvConf := filepath.Join(root, "resolv.conf")
	text := "nameserver " + dnsAddress + "\noptions timeout:10 attempts:2\n"
	if err := os.WriteFile(resolvConf, []byte(text), 0o644); err != nil {
		return err
	}
	target, err := filepath.EvalSymlinks("/etc/resolv.conf")
	if err != nil {
		return err
	}
	if err := unix.Mount(resolvConf, target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mounting over %s: %w", target, err)
	}
	// Postfix's master waits where the queue of postlogd's socket is full, and then starts no postlogd to empty it: on
	// a busy machine the 10 datagrams of Linux's default are soon there. Some containers do not let us change it.
	_ = os.WriteFile("/proc/sys/net/unix/max_dgram_qlen", []byte("512"), 0o644)
	return LoopbackUp()
}

// LoopbackUp brings up the loopback interface of a new network namespace.
func LoopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, lo); err != nil {
		return fmt.Errorf("reading the flags of lo: %w", err)
	}
	lo.SetUint16(lo.Uint16() | unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		return fmt.Errorf("bringing lo up: %w", err)
	}
	return nil
}
