package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// TestMain lets the test binary be bench: in the namespaces it starts itself.
func TestMain(m *testing.M) {
	if os.Getenv(envProgram) != "" {
		os.Exit(run(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// TestQuick: every row can be measured. Its figures are worth nothing.
func TestQuick(t *testing.T) {
	probe := exec.Command("/bin/true")
	probe.SysProcAttr = isolated()
	if err := probe.Run(); err != nil {
		testkit.Skip(t, "namespaces are not permitted here: "+err.Error())
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-quick", "-rounds", "1")
	// the race detector would wait a second
	cmd.Env = append(os.Environ(), envProgram+"=outside", "GORACE=atexit_sleep_ms=10")
	var messages strings.Builder
	cmd.Stderr = &messages
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("bench -quick: %v\n%s\n%s", err, out, messages.String())
	}
	for _, r := range rows(quickSizes()) {
		if got := strings.Count(string(out), "\n| "+r.name+" "); got != len(r.targets) {
			t.Errorf("%d lines for the row %s, want %d:\n%s", got, r.name, len(r.targets), out)
		}
	}
}

func TestOptions(t *testing.T) {
	for _, c := range []struct {
		args string
		bad  string // part of the error
		why  string
	}{
		{"", "", "everything is optional"},
		{"-only live,cold -rounds 3 -quick -stsmapd /x", "", "all flags"},
		{"-only live,nothing", "nothing: the rows are live, absent", "the rows are told to who does not know them"},
		{"-rounds 0", "between 1 and 100", "no median of nothing"},
		{"-remember 10000001", "between 0 and 10000000", "the DNS has no more"},
		{"live", `unexpected argument "live"`, "rows are given by -only"},
	} {
		_, err := parseOptions(strings.Fields(c.args))
		if (err == nil) != (c.bad == "") || err != nil && !strings.Contains(err.Error(), c.bad) {
			t.Errorf("%s: %s: error %v, want %q", c.args, c.why, err, c.bad)
		}
	}
}
