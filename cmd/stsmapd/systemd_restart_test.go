package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stsmapd/stsmapd/socketmap"
)

// TestRestartLosesNothing restarts the daemon again and again under a systemd that holds its sockets, while many ask. A
// question may find its connection closed, and is asked again, as Postfix does; nothing else may happen to it: no
// refusal, no other answer.
func TestRestartLosesNothing(t *testing.T) {
	const clients, restarts = 16, 5
	dir := t.TempDir()
	f := fakeSystemd{notify: newNotified(t)}
	tcp, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	chroot, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "sts.sock"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	chroot.SetUnlinkOnClose(false)
	specs := []string{socketmap.SpecOf(tcp.Addr()), socketmap.SpecOf(chroot.Addr())}
	f.hold(t, "inet", tcp)
	f.hold(t, "chroot", chroot)

	ctx, stop := context.WithTimeout(t.Context(), hangLimit)
	defer stop()
	var answered, closed atomic.Int64
	var done sync.WaitGroup
	enough := make(chan struct{})
	for i := range clients {
		done.Go(func() {
			a := asker{spec: specs[i%len(specs)], answered: &answered, closed: &closed}
			if err := a.run(ctx, enough); err != nil {
				t.Errorf("a question by %s: %v", a.spec, err)
			}
		})
	}
	for range restarts {
		asked := answered.Load()
		p := f.program("serve", "--config", partnerConfig(t, dir), "--state-dir", filepath.Join(dir, "state"))
		p.begin(t)
		if got := f.notify.next(t); got != "READY=1" {
			t.Fatalf("told %q", got)
		}
		waitFor(t, func() bool { return answered.Load() >= asked+20*clients })
		p.signal(t, syscall.SIGTERM)
		if got := f.notify.next(t); got != "STOPPING=1" {
			t.Fatalf("told %q", got)
		}
		p.end(t, 0)
	}
	p := f.program("serve", "--config", partnerConfig(t, dir), "--state-dir", filepath.Join(dir, "state"))
	p.begin(t)
	asked := answered.Load()
	waitFor(t, func() bool { return answered.Load() >= asked+20*clients })
	close(enough)
	done.Wait()
	t.Logf("%d restarts, %d questions answered, %d connections closed without an answer", restarts, answered.Load(),
		closed.Load())
	if n := closed.Load(); n < restarts {
		t.Errorf("only %d connections were closed: the restarts met no load", n)
	}
}

// asker asks the same question again and again on one connection, as one smtp(8) process of Postfix does.
type asker struct {
	spec             string
	answered, closed *atomic.Int64
	client           *socketmap.Client
}

func (a *asker) run(ctx context.Context, enough <-chan struct{}) error {
	defer func() {
		if a.client != nil {
			a.client.Close()
		}
	}()
	for {
		select {
		case <-enough:
			return nil
		default:
		}
		if err := a.ask(ctx); err != nil {
			return err
		}
		a.answered.Add(1)
	}
}

// ask asks until there is an answer; the only failure that it puts up with is a connection that is closed without one.
func (a *asker) ask(ctx context.Context) error {
	for {
		if a.client == nil {
			var err error
			if a.client, err = socketmap.Dial(ctx, a.spec); err != nil {
				return err
			}
		}
		reply, err := a.client.Ask(ctx, "sts", "partner.example")
		switch {
		case errors.Is(err, socketmap.ErrHungUp):
			a.closed.Add(1)
			a.client.Close()
			a.client = nil
		case err != nil:
			return err
		case reply.String() != partnerAnswer:
			return fmt.Errorf("answered %v", reply)
		default:
			return nil
		}
	}
}
