package main

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stsmapd/stsmapd/socketmap"
)

// startLogging starts a daemon that logs each question to a pipe, and waits until it is ready. The pipe is the
// test's to read.
func startLogging(t *testing.T, address string) (p *program, log *os.File) {
	t.Helper()
	dir := t.TempDir()
	log, stderr, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stderr.Close()
	t.Cleanup(func() { log.Close() })
	notify := newNotified(t)
	cmd := exec.Command("stsmapd", "serve", "--config", partnerConfig(t, dir), "--listen", "inet:"+address,
		"--state-dir", filepath.Join(dir, "state"), "--log-level", "debug")
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+notify.path)
	p = newProgram(cmd)
	cmd.Stderr = stderr
	p.begin(t)
	notify.ready(t)
	return p, log
}

// askMany asks as many questions as fill the queue of the log several times, and checks each answer.
func askMany(t *testing.T, address string) {
	t.Helper()
	c, err := socketmap.Dial(t.Context(), "inet:"+address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const questions = 30_000 // some 200 bytes of log each
	for n := range questions {
		if reply, err := c.Ask(t.Context(), "sts", "partner.example"); err != nil || reply.String() != partnerAnswer {
			t.Fatalf("question %d: %v, %v", n, reply, err)
		}
	}
}

// TestLogThatBlocksHoldsUpNothing: nobody reads the log. Questions are answered all the same, and the daemon ends when
// it is told to.
func TestLogThatBlocksHoldsUpNothing(t *testing.T) {
	address := freeAddresses(t, 1)[0]
	p, _ := startLogging(t, address)
	askMany(t, address)
	p.signal(t, syscall.SIGTERM)
	p.end(t, 0)
}

// TestDroppedLinesAreReported: when somebody reads a log that had blocked, it says how much is missing.
func TestDroppedLinesAreReported(t *testing.T) {
	address := freeAddresses(t, 1)[0]
	p, log := startLogging(t, address)
	askMany(t, address)
	lines := bufio.NewScanner(log)
	for lines.Scan() && !strings.Contains(lines.Text(), " event=log_dropped lines=") {
	}
	if err := lines.Err(); err != nil || lines.Text() == "" {
		t.Fatalf("the log ends without a report: %v", err)
	}
	p.signal(t, syscall.SIGTERM)
	for lines.Scan() && !strings.Contains(lines.Text(), "event=shutdown") {
	}
	if !strings.Contains(lines.Text(), "event=shutdown") {
		t.Error("the log does not go on after the report")
	}
	p.end(t, 0)
}

// TestReaderOfTheLogGoes: the daemon outlives what reads its log.
func TestReaderOfTheLogGoes(t *testing.T) {
	address := freeAddresses(t, 1)[0]
	p, log := startLogging(t, address)
	log.Close()
	askMany(t, address)
	p.signal(t, syscall.SIGTERM)
	p.end(t, 0)
}
