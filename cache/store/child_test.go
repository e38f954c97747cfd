package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stsmapd/stsmapd/cache/store/storetest"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// childTask is the variable that makes the test binary a child with a task.
const (
	childTask  = "STSMAPD_STORE_CHILD"
	childStore = "STSMAPD_STORE_STORE"
	childFrom  = "STSMAPD_STORE_FROM"
)

func runChild(task string) int {
	err := errors.New("no such task")
	switch task {
	case "put":
		err = childPuts()
	case "full":
		err = childFull()
	}
	fmt.Fprintln(os.Stderr, "child:", err)
	return 1
}

// childPuts puts until it is killed, and prints each number after its Put returned.
func childPuts() error {
	from, err := strconv.Atoi(os.Getenv(childFrom))
	if err != nil {
		return err
	}
	b, err := Open(os.Getenv(childStore), nil)
	if err != nil {
		return err
	}
	var group sync.WaitGroup
	const writers = 4
	failed := make(chan error, writers)
	for w := range writers {
		group.Go(func() {
			for i := from + w; ; i += writers {
				if err := b.Put(context.Background(), killEntry(i)); err != nil {
					failed <- err
					return
				}
				os.Stdout.WriteString(strconv.Itoa(i) + "\n")
			}
		})
	}
	return <-failed
}

func command(t *testing.T, task, path string, from int) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(self)
	c.Env = append(os.Environ(), childTask+"="+task, childStore+"="+path, childFrom+"="+strconv.Itoa(from))
	return c
}

// TestKill kills a process among its Puts, again and again: what it said is durable is there.
func TestKill(t *testing.T) {
	const rounds = 20
	path := storePath(t)
	random := rand.New(rand.NewPCG(8461, 8460))
	var durable []int
	for round := range rounds {
		from := round * 100_000
		durable = append(durable, killed(t, path, from, 1+random.IntN(150))...)
		l := &testkit.Log{}
		b := openStore(t, path, l)
		for _, i := range durable {
			want := killEntry(i)
			if e, err := b.Get(t.Context(), want.Domain); err != nil || !storetest.Equal(want, e) {
				t.Fatalf("round %d: %s, put before the kill: %+v %v", round, want.Domain, e, err)
			}
		}
		n := 0
		for e, err := range b.All(t.Context()) {
			if err != nil {
				t.Fatalf("round %d: All: %s %v", round, e.Domain, err)
			}
			n++
		}
		if n < len(durable) || n != b.Len() {
			t.Errorf("round %d: All yields %d, Len() = %d, put at least %d", round, n, b.Len(), len(durable))
		}
		closeStore(t, b)
		if len(l.Lines()) > 0 {
			t.Errorf("round %d: log lines after a kill: %q", round, l.Lines())
		}
	}
	t.Logf("%d kills, %d puts acknowledged", rounds, len(durable))
}

// killEntry is one whose policy is sometimes large.
func killEntry(i int) (e entry) {
	e = storetest.Entry(i, storetest.Clock())
	if i%7 == 0 {
		e.Policy = storetest.Policy(i % 9000)
	}
	return e
}

// killed runs a child, kills it after it printed so many lines, and returns all that it printed.
func killed(t *testing.T, path string, from, lines int) []int {
	t.Helper()
	c := command(t, "put", path, from)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.Stderr = os.Stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	var printed []int
	scanner := bufio.NewScanner(out)
	for scanner.Scan() {
		i, err := strconv.Atoi(scanner.Text())
		if err != nil {
			t.Fatalf("child printed %q", scanner.Text())
		}
		if printed = append(printed, i); len(printed) == lines {
			if err := c.Process.Kill(); err != nil {
				t.Error(err)
			}
		}
	}
	if err := c.Wait(); err == nil || len(printed) < lines {
		t.Fatalf("the child ended by itself after %d lines: %v", len(printed), err)
	}
	return printed
}

// TestFullDisk: a limit on file sizes makes every write beyond it fail, as a full disk does, without one.
func TestFullDisk(t *testing.T) {
	c := command(t, "full", storePath(t), 0)
	out, err := c.CombinedOutput()
	if !strings.Contains(string(out), childOK) {
		t.Errorf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

const childOK = "all is well"

// childFull puts until the limit is met, checks the store in that state, lifts the limit and goes on.
func childFull() error {
	signal.Ignore(syscall.SIGXFSZ)
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	limit.Cur = 2 << 20
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	lift := func() error {
		limit.Cur = limit.Max
		return syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit)
	}
	if err := fillUp(os.Getenv(childStore), lift); err != nil {
		return err
	}
	return errors.New(childOK)
}
