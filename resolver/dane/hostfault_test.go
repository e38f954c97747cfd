package dane

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stsmapd/stsmapd/resolver/dnsclient"
	"github.com/stsmapd/stsmapd/resolver/fault"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// lackingDNS is a DNS whose MX lookups fail by this errno of the host; 0: they do not.
type lackingDNS struct {
	*fakeDNS
	errno atomic.Uintptr
}

func (d *lackingDNS) MX(ctx context.Context, name string) (dnsclient.Answer[dnsclient.MX], error) {
	if e := syscall.Errno(d.errno.Load()); e != 0 {
		return dnsclient.Answer[dnsclient.MX]{}, &dnsclient.Error{Name: name, Type: "MX", Kind: dnsclient.Network,
			Err: os.NewSyscallError("socket", e)}
	}
	return d.fakeDNS.MX(ctx, name)
}

// TestHostFault: a lookup that this host could not make defers mail, or leaves a finding in force, and is no
// failure of the domain's DNS: it is neither logged as one nor does it make the next wait longer.
func TestHostFault(t *testing.T) {
	for _, c := range []struct {
		why   string
		errno syscall.Errno
		rest  time.Duration // until the first question that looks again
		cure  string
	}{
		{"no descriptor", syscall.EMFILE, 0, "LimitNOFILE"},
		{"no network", syscall.ENETDOWN, minRetry, "interfaces"},
	} {
		synctest.Test(t, func(t *testing.T) {
			dns, log := &lackingDNS{fakeDNS: newFakeDNS(t, twoHosts())}, new(testkit.Log)
			var told []fault.Kind
			j := New(Options{DNS: func() DNS { return dns }, Memory: newMapMemory(),
				Logger:    slog.New(slog.NewTextHandler(log, nil)),
				HostFault: func(err error) { told = append(told, fault.Of(err)) }})
			defer j.Close()
			want := func(when string, status Status) {
				t.Helper()
				f := j.Find(t.Context(), exampleTest)
				if f.Status != status || status == Failed && !strings.Contains(f.Err.Error(), c.cure) {
					t.Errorf("%s, %s: %v (%v), want %v", c.why, when, f.Status, f.Err, status)
				}
			}
			dns.errno.Store(uintptr(c.errno))
			for range 5 {
				want("nothing remembered", Failed)
				after(minRetry)
			}
			dns.errno.Store(0)
			after(c.rest)
			want("mended", Usable)
			dns.errno.Store(uintptr(c.errno))
			after(30 * time.Minute)
			want("the finding is old", Usable)
			synctest.Wait()
			if len(told) != 6 || log.Events("dane_failing") > 0 {
				t.Errorf("%s: the host's faults told %v, log:\n%v", c.why, told, log)
			}
		})
	}
}
