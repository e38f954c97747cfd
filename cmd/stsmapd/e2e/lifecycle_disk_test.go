package e2e

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
)

// stored is how many policies are in the store before a fault.
const stored = 10

// diskFaults are what may happen to the disk under a running daemon.
var diskFaults = []struct {
	name, cause string
	begin       func(t *testing.T, disk string, d *world.Daemon)
	worsen      func(t *testing.T, disk string) // once a write has failed; nil: no more
	end         func(t *testing.T, disk string, d *world.Daemon)
}{
	{
		name: "full", cause: "no space left on device",
		begin: func(t *testing.T, disk string, _ *world.Daemon) { world.FillDisk(t, disk, 128<<10) },
		end:   func(t *testing.T, disk string, _ *world.Daemon) { world.Remount(t, disk, 0, "size=8m") },
	},
	{
		// The system makes a disk that fails read-only, but a test cannot do that while files on it are open for
		// writing. After a failed write the daemon has none open.
		name: "read-only", cause: "no space left on device",
		begin: func(t *testing.T, disk string, _ *world.Daemon) { world.FillDisk(t, disk, 128<<10) },
		worsen: func(t *testing.T, disk string) {
			world.Eventually(t, world.Hang, "making the disk read-only", func() bool {
				err := unix.Mount("tmpfs", disk, "tmpfs", unix.MS_REMOUNT|unix.MS_RDONLY, "")
				if err != nil && !errors.Is(err, syscall.EBUSY) {
					t.Fatal(err)
				}
				return err == nil
			})
		},
		end: func(t *testing.T, disk string, _ *world.Daemon) { world.Remount(t, disk, 0, "size=8m") },
	},
	{
		name: "write error", cause: "file too large",
		begin: func(t *testing.T, disk string, d *world.Daemon) {
			info, err := os.Stat(filepath.Join(disk, "policies.db"))
			if err != nil {
				t.Fatal(err)
			}
			d.Limit(t, unix.RLIMIT_FSIZE, uint64(info.Size()))
		},
		end: func(t *testing.T, _ string, d *world.Daemon) { d.Limit(t, unix.RLIMIT_FSIZE, unix.RLIM_INFINITY) },
	},
}

// TestDiskFault makes the disk refuse writes. What is remembered is answered, from memory and from the store; new
// policies are learnt; there is one alert. After the fault all is written, and the next daemon after a kill knows it.
func TestDiskFault(t *testing.T) {
	t.Parallel()
	w := world.Open(t)
	for _, fault := range diskFaults {
		t.Run(fault.name, func(t *testing.T) {
			t.Parallel()
			disk := world.SmallDisk(t, "1m")
			v := newVictim(t, w, disk)
			for range stored {
				v.learn(t)
			}
			v.end(t, syscall.SIGKILL)
			v.start(t) // with an empty memory
			fault.begin(t, disk, v.d)
			for v.alerts() == 0 {
				if v.learn(t); len(v.policies) > 5000 {
					t.Fatal("the disk takes everything")
				}
			}
			for range 10 {
				v.learn(t)
			}
			if fault.worsen != nil {
				fault.worsen(t, disk)
			}
			v.change(t, 0)
			v.p.Dead.Store(true)
			v.remembers(t, "during the fault")
			if lines := v.d.Log.Lines("event=store_"); len(lines) != 1 || v.alerts() != 1 ||
				!strings.Contains(lines[0], fault.cause) {
				t.Errorf("the fault made these lines, want one alert with %q:\n%s", fault.cause,
					strings.Join(lines, "\n"))
			}
			fault.end(t, disk, v.d)
			begin := time.Now()
			world.Eventually(t, world.Hang, "the store's recovery", func() bool {
				return len(v.d.Log.Lines("event=store_recovered")) > 0
			})
			t.Logf("%d policies answered during the fault, %d of them learnt or changed; all written %v after its end",
				len(v.policies), len(v.policies)-stored+1, time.Since(begin).Round(time.Second))
			if lines := v.d.Log.Lines("event=store_"); len(lines) != 2 {
				t.Errorf("the fault and its end made these lines, want two:\n%s", strings.Join(lines, "\n"))
			}
			v.end(t, syscall.SIGKILL)
			v.start(t)
			v.remembers(t, "after the fault, by the next daemon")
		})
	}
}

// TestShutdownInDiskFault stops a daemon during the fault: it tries once more to write what waits for the disk, and
// logs what is lost otherwise.
func TestShutdownInDiskFault(t *testing.T) {
	t.Parallel()
	w := world.Open(t)
	for _, mended := range []bool{true, false} {
		t.Run(map[bool]string{true: "room again", false: "still full"}[mended], func(t *testing.T) {
			t.Parallel()
			disk := world.SmallDisk(t, "1m")
			v := newVictim(t, w, disk)
			v.learn(t)
			free := world.FillDisk(t, disk, 0)
			for v.alerts() == 0 {
				v.learn(t)
			}
			v.p.Dead.Store(true)
			if mended {
				free()
			}
			v.end(t, syscall.SIGTERM)
			lines := v.d.Log.Lines("event=store_lost")
			if mended == (len(lines) > 0) {
				t.Errorf("lines of policies lost: %q", lines)
			}
			if mended {
				v.start(t)
				v.remembers(t, "by the next daemon")
			}
		})
	}
}

// TestStartOnFullDisk tests that an existing store is served even if nothing can be added to it.
func TestStartOnFullDisk(t *testing.T) {
	t.Parallel()
	w := world.Open(t)
	disk := world.SmallDisk(t, "1m")
	v := newVictim(t, w, disk)
	for range stored {
		v.learn(t)
	}
	v.end(t, syscall.SIGTERM)
	world.FillDisk(t, disk, 0)
	v.start(t)
	for v.alerts() == 0 {
		v.learn(t)
	}
	v.p.Dead.Store(true)
	v.remembers(t, "on a full disk from the start")
}

// victim is a daemon with its state on a disk that will fail, and what it has learnt.
type victim struct {
	w        *world.World
	p        *world.Publishers
	disk     string
	inet     netip.AddrPort
	d        *world.Daemon
	policies []int // by domain: the number of the policy that was answered last
	ask      func(mapName, key string) string
}

func newVictim(t *testing.T, w *world.World, disk string) *victim {
	t.Helper()
	v := &victim{w: w, p: w.Publishers(t), disk: disk, inet: netip.AddrPortFrom(w.Host(), 8461)}
	v.start(t)
	return v
}

func (v *victim) start(t *testing.T) {
	t.Helper()
	v.d = v.w.DaemonOf(t, v.p, v.inet, v.disk)
	v.ask = v.d.Asker(t, v.d.Listeners()[0])
}

func (v *victim) end(t *testing.T, signal syscall.Signal) {
	t.Helper()
	v.d.Signal(t, signal)
	if code := v.d.Wait(t); signal == syscall.SIGTERM && code != 0 {
		t.Errorf("exit code %d after SIGTERM", code)
	}
}

// alerts counts the log lines about writes that failed.
func (v *victim) alerts() int { return len(v.d.Log.Lines("event=store_write_failed")) }

// learn asks for a new domain, so that the daemon learns its policy.
func (v *victim) learn(t *testing.T) {
	t.Helper()
	domain := v.p.Domain(len(v.policies))
	v.p.Publish(domain, world.Publication{ID: 1, Policy: 1})
	if answer := v.ask("sts", domain); world.PolicyOf(domain, answer) != 1 {
		t.Fatalf("%s is answered %q; log:\n%s", domain, answer, v.d.Log)
	}
	v.policies = append(v.policies, 1)
}

// change gives the i-th domain a new policy, and asks until that is answered.
func (v *victim) change(t *testing.T, i int) {
	t.Helper()
	domain := v.p.Domain(i)
	v.policies[i]++
	v.p.Publish(domain, world.Publication{ID: v.policies[i], Policy: v.policies[i]})
	world.Eventually(t, world.Hang, "the changed policy", func() bool {
		return world.PolicyOf(domain, v.ask("sts", domain)) == v.policies[i]
	})
}

// remembers checks that every policy is answered.
func (v *victim) remembers(t *testing.T, when string) {
	t.Helper()
	for i, want := range v.policies {
		domain := v.p.Domain(i)
		if answer := v.ask("sts", domain); world.PolicyOf(domain, answer) != want {
			t.Fatalf("%s: %s is answered %q, want its policy %d; log:\n%s", when, domain, answer, want, v.d.Log)
		}
	}
}
