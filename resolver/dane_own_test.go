package resolver

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
)

// lackingDNS is a DNS whose MX lookups fail by this errno of the host; 0: they do not.
type lackingDNS struct {
	*daneDNS
	errno atomic.Uintptr
}

func (d *lackingDNS) MX(ctx context.Context, name string) (dnsclient.Answer[dnsclient.MX], error) {
	if e := syscall.Errno(d.errno.Load()); e != 0 {
		return dnsclient.Answer[dnsclient.MX]{}, &dnsclient.Error{Name: name, Type: "MX", Kind: dnsclient.Network,
			Err: os.NewSyscallError("socket", e)}
	}
	return d.daneDNS.MX(ctx, name)
}

// TestDANEHostFault: a lookup that this host could not make defers mail, or leaves a finding in force, and is no
// failure of the domain's DNS: it is neither logged as one nor does it make the next wait longer.
func TestDANEHostFault(t *testing.T) {
	for _, c := range []struct {
		why   string
		errno syscall.Errno
		rest  time.Duration // until the first question that looks again
		cure  string
	}{
		{"no descriptor", syscall.EMFILE, 0, "LimitNOFILE"},
		{"no network", syscall.ENETDOWN, hostRetry, "interfaces"},
	} {
		synctest.Test(t, func(t *testing.T) {
			dns, log := &lackingDNS{daneDNS: newDANEDNS(t, twoHosts())}, new(daneLog)
			var told []fault.Kind
			j := newDANEJudge(func() DNS { return dns }, wallClock, slog.New(slog.NewTextHandler(log, nil)))
			defer j.close()
			j.hostFailed = func(err error) { told = append(told, fault.Of(err)) }
			want := func(when string, status DANEStatus) {
				t.Helper()
				f := j.find(t.Context(), exampleTest)
				if f.Status != status || status == DANEFailed && !strings.Contains(f.Err.Error(), c.cure) {
					t.Errorf("%s, %s: %v (%v), want %v", c.why, when, f.Status, f.Err, status)
				}
			}
			dns.errno.Store(uintptr(c.errno))
			for range 5 {
				want("nothing remembered", DANEFailed)
				after(hostRetry)
			}
			dns.errno.Store(0)
			after(c.rest)
			want("mended", DANEUsable)
			dns.errno.Store(uintptr(c.errno))
			after(30 * time.Minute)
			want("the finding is old", DANEUsable)
			synctest.Wait()
			if len(told) != 6 || log.events("dane_failing") > 0 {
				t.Errorf("%s: the host's faults told %v, log:\n%v", c.why, told, log)
			}
		})
	}
}
