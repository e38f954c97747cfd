package install

import (
	"bufio"
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stsmapd/stsmapd/resolver/testkit"
)

//go:embed disk.sh
var diskScript string

//go:embed boot.sh
var bootScript string

// commandLimit ends a command in a machine that hangs; apt-get takes its time on a busy computer.
const commandLimit = 2 * testkit.Hang

// machine is a system that runs.
type machine struct {
	pid    int
	shared string // the directory that is its /test
	log    *bytes.Buffer
	kept   []*os.File    // the namespaces of disk.sh
	ended  chan struct{} // is closed when process pid has ended
	owner  *testing.T    // the machine ends with it
}

// boot starts a system of this folder of chroot.sh's; it ends with the test, and nothing of it stays.
func boot(t *testing.T, folder string) *machine {
	t.Helper()
	if os.Geteuid() != 0 {
		testkit.Skip(t, "not root, so no system to install on")
	}
	m := &machine{shared: t.TempDir(), log: &bytes.Buffer{}, owner: t}
	m.makeDisk(t, testkit.Folder(t, folder))
	m.start(t)
	return m
}

// makeDisk makes the system's disk and network. They are there as long as their namespaces are open.
func (m *machine) makeDisk(t *testing.T, base string) {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", diskScript, "disk.sh", base, m.shared)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET}
	cmd.Stderr = m.log
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		testkit.Skip(t, "no system can be started here: "+err.Error())
	}
	_, failed := bufio.NewReader(out).ReadString('\n')
	for _, kind := range []string{"mnt", "net"} {
		ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/%s", cmd.Process.Pid, kind))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ns.Close() })
		m.kept = append(m.kept, ns)
	}
	if err := errors.Join(failed, in.Close(), cmd.Wait()); err != nil {
		t.Fatalf("no disk: %v\n%s", err, m.log)
	}
}

// start starts the system, which has its disk, and waits until it is up.
func (m *machine) start(t *testing.T) {
	t.Helper()
	cmd := exec.Command("nsenter", "--mount=/proc/self/fd/3", "--net=/proc/self/fd/4",
		"unshare", "--mount", "/bin/sh", "-c", bootScript)
	cmd.ExtraFiles = m.kept
	cmd.Stdout, cmd.Stderr = m.log, m.log
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC | unix.CLONE_NEWCGROUP,
		UseCgroupFD: true, CgroupFD: m.cgroup(t), Pdeathsig: syscall.SIGKILL,
	}
	ended, started := make(chan struct{}), make(chan error, 1)
	go func() {
		runtime.LockOSThread() // Pdeathsig is the death of this thread, which ends with the goroutine
		defer close(ended)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // it is killed
		}
	}()
	if err := <-started; err != nil {
		testkit.Skip(t, "no system can be started here: "+err.Error())
	}
	m.pid, m.ended = cmd.Process.Pid, ended
	m.owner.Cleanup(func() {
		_ = cmd.Process.Kill() // and all that run in it
		<-ended
		if m.owner.Failed() {
			m.owner.Logf("the system said:\n%s", m.log)
		}
	})
	testkit.Eventually(t, testkit.Hang, "the system to be up", func() bool {
		if m.hasEnded() {
			t.Fatalf("the system has ended:\n%s", m.log)
		}
		state, _ := m.try(`systemctl is-system-running`)
		// without some of the kernel's file systems
		return strings.HasPrefix(state, "running") || strings.HasPrefix(state, "degraded")
	})
}

func (m *machine) hasEnded() bool {
	select {
	case <-m.ended:
		return true
	default:
		return false
	}
}

// reboot has systemd end the system, and starts it again. Its disk stays. It returns when it started, for journalctl.
func (m *machine) reboot(t *testing.T) (started string) {
	t.Helper()
	out, err := m.try("systemctl reboot")
	testkit.Eventually(t, testkit.Hang, fmt.Sprintf("the system to end (systemctl reboot: %v %s)", err, out),
		m.hasEnded)
	started = strconv.FormatInt(time.Now().Unix(), 10)
	m.start(t)
	return started
}

// cgroup makes a control group for a system, and returns it open.
func (m *machine) cgroup(t *testing.T) int {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		fields := strings.Fields(line)
		if fields[2] != "cgroup2" {
			continue
		}
		dir, err := os.MkdirTemp(fields[1], "stsmapd-test-")
		if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		m.owner.Cleanup(func() {
			unix.Close(fd)
			testkit.Eventually(m.owner, testkit.Hang, "the end of the system's control groups",
				func() bool { return removeGroups(dir) == nil })
		})
		return fd
	}
	testkit.Skip(t, "no control groups (cgroup2) to start a system in")
	return 0
}

// removeGroups removes a control group with all below it, when nothing runs in them any more.
func removeGroups(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeGroups(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return unix.Rmdir(dir)
}

// try runs a shell script in the system, and returns what it says.
func (m *machine) try(script string) (output string, err error) {
	cmd := exec.Command("nsenter", "-t", strconv.Itoa(m.pid), "-m", "-p", "-n", "-u", "-i", "-C", "--", "/bin/sh", "-c",
		script)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8"}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return "", err
	}
	late := time.AfterFunc(commandLimit, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	err = cmd.Wait()
	return strings.ReplaceAll(out.String(), "\r\n", "\n"), err // apt-get gives dpkg a terminal
}

// run is try for what must succeed.
func (m *machine) run(t *testing.T, script string) string {
	t.Helper()
	out, err := m.try(script)
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return out
}

// want runs a script that must succeed and print this.
func (m *machine) want(t *testing.T, script, want string) {
	t.Helper()
	if got := strings.TrimSpace(m.run(t, script)); got != strings.TrimSpace(want) {
		t.Errorf("%s:\n%s\nwant\n%s", script, got, want)
	}
}

// fails runs a script that must not succeed.
func (m *machine) fails(t *testing.T, why, script string) {
	t.Helper()
	if out, err := m.try(script); err == nil {
		t.Errorf("%s: %s succeeds\n%s", why, script, out)
	}
}

// within runs do in the network of the system: what it listens on is there.
func (m *machine) within(t *testing.T, do func()) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	enter := func(pid string) func() {
		ns, err := os.Open("/proc/" + pid + "/ns/net")
		if err != nil {
			t.Fatal(err)
		}
		return func() {
			if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
				panic(err) // this thread must not run another test
			}
			ns.Close()
		}
	}
	back := enter("thread-self")
	enter(strconv.Itoa(m.pid))()
	defer back()
	do()
}

// serve serves the files of a directory by HTTP on an address of the system, until the test ends.
func (m *machine) serve(t *testing.T, address, dir string) {
	t.Helper()
	server := &http.Server{Handler: http.FileServer(http.Dir(dir)), ReadHeaderTimeout: testkit.Hang}
	m.within(t, func() {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		go func() { _ = server.Serve(l) }()
	})
	t.Cleanup(func() { server.Close() })
}

// documented returns the first block of commands of a page of packaging/docs, with an address replaced.
func documented(t *testing.T, page, address, by string) string {
	t.Helper()
	_, text, _ := strings.Cut(readText(t, "../../../../packaging/docs/"+page), "\n    ")
	block, _, _ := strings.Cut("\n    "+text, "\n\n")
	if !strings.Contains(block, address) {
		t.Fatalf("the first commands of %s do not name %s:\n%s", page, address, block)
	}
	return strings.ReplaceAll(strings.ReplaceAll(block, "\n    ", "\n"), address, by)
}
