package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/cmd/bench/internet"
	"github.com/stsmapd/stsmapd/cmd/bench/load"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

func TestEcho(t *testing.T) {
	spec := "unix:" + filepath.Join(t.TempDir(), "s")
	ended := make(chan error, 1)
	go func() { ended <- echo([]string{"9:NOTFOUND ,", spec}) }() // until the tests end
	var o load.Outcome
	for deadline := time.Now().Add(testkit.Hang); ; {
		var err error
		if o, err = load.Run(load.Job{
			Spec: spec, Conns: 5, Names: load.Names{Zone: internet.Near}, Expect: "NOTFOUND ", Limit: 50,
			Server: os.Getpid(),
		}, nil); err == nil {
			break
		}
		select {
		case err := <-ended:
			t.Fatal(err)
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	if o.Questions != 50 || o.Other != 0 {
		t.Errorf("%+v", o)
	}
	if echo(nil) == nil || echo([]string{"x", "nonsense"}) == nil {
		t.Error("no error without addresses to listen on")
	}
}
