// Command bench measures what stsmapd costs, and prints the table of packaging/docs/performance.md. `make bench` runs
// it:
//
//	go run ./cmd/bench [-only ROW,ROW] [-rounds N] [-remember N] [-quick] [-stsmapd PATH] [-rival DIR]
//
// Times depend on the machine and its other work; ratios depend on them much less. So the cost of a question is the CPU
// time that stsmapd uses for it (user and system, by the process's CPU clock), divided by that of a server that does
// nothing but answer (echo.go). Both are measured in the same round, one after the other, in alternating order. The
// table has the median of the rounds and their range. A round is spoilt if other processes, or other machines of the
// same host, had more than a twentieth of the machine; spoilt rounds are repeated, a few times at most. As root, bench
// raises its priority.
//
// Everything is real but the Internet: the stsmapd binary with its configuration and store, sockets, DNS packets, TLS.
// The load (package load) comes from processes of their own, which keep one question open per connection, as Postfix's
// SMTP clients do. The DNS server and the policy host (package internet) run in this process.
//
// All of it runs in network, mount and PID namespaces (namespace.go), as root or in a user namespace: all ports are
// free, no packet leaves, and all that was started ends with this process, even after a crash.
//
// The exit code is 1 if something could not be measured. It is 0 even if stsmapd is slower than it must be.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/stsmapd/stsmapd/cmd/bench/load"
)

// envProgram names the program that a process runs: bench starts itself for each of its programs.
const envProgram = "STSMAPD_BENCH_PROGRAM"

func main() { os.Exit(run(os.Args[1:])) }

// run is main and returns the exit code. The tests call it too.
func run(args []string) int {
	var err error
	switch program := os.Getenv(envProgram); program {
	case "", "outside":
		err = untilSignal(outside, args)
	case "inside":
		err = untilSignal(inside, args)
	case "echo":
		err = echo(args)
	case "load":
		err = load.Program(os.Stdin, os.Stdout)
	default:
		err = fmt.Errorf("%s=%s: no such program", envProgram, program)
	}
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return 0
	}
	fmt.Fprintln(os.Stderr, "bench:", err)
	return 1
}

// untilSignal runs a program whose context ends with SIGINT or SIGTERM, so that it can clean up.
func untilSignal(run func(context.Context, []string) error, args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	return run(ctx, args)
}

// options are the command's flags.
type options struct {
	only     []string
	rounds   int
	quick    bool
	remember int // domains in the row ten-million, at most; 0: ten million
	binary   string
	rival    string
}

func parseOptions(args []string) (options, error) {
	var o options
	var only string
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.StringVar(&only, "only", "", "measure these rows alone, of "+strings.Join(rowNames(), ", "))
	flags.IntVar(&o.rounds, "rounds", 5, "of which the median is taken")
	flags.BoolVar(&o.quick, "quick", false,
		"tiny sizes: shows that every row can be measured; the figures mean nothing")
	flags.IntVar(&o.remember, "remember", 0,
		"so many domains at most in the row ten-million (default 10000000, which takes 10 minutes to learn)")
	flags.StringVar(&o.binary, "stsmapd", os.Getenv(envBinary),
		"the binary to measure (default $STSMAPD_BINARY, else one of this tree)")
	flags.StringVar(&o.rival, "rival", "",
		"a `folder` that rival.sh has made: measure the daemons in it too, in the same rounds")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if o.remember < 0 || o.remember > 10_000_000 {
		return o, fmt.Errorf("-remember %d: must be between 0 and 10000000", o.remember)
	}
	if o.rounds < 1 || o.rounds > 100 {
		return o, fmt.Errorf("-rounds %d: must be between 1 and 100", o.rounds)
	}
	o.only = rowNames()
	if only != "" {
		o.only = strings.Split(only, ",")
	}
	for _, name := range o.only {
		if !slices.Contains(rowNames(), name) {
			return o, fmt.Errorf("-only %s: the rows are %s", name, strings.Join(rowNames(), ", "))
		}
	}
	return o, nil
}

// inside measures the rows, in the namespaces that outside made.
func inside(ctx context.Context, args []string) error {
	o, err := parseOptions(args)
	if err != nil {
		return err
	}
	if err := enter(); err != nil {
		return fmt.Errorf("setting up the namespaces: %w", err)
	}
	if !o.quick {
		if err := raisePriority(); err != nil {
			fmt.Fprintln(os.Stderr, "bench: cannot raise the priority; more rounds may be spoilt:", err)
		}
	}
	b, err := newBench(o)
	if err != nil {
		return err
	}
	defer b.close()
	var failed error
	var table []line
	for _, row := range rows(b.sizes) {
		if !slices.Contains(o.only, row.name) || ctx.Err() != nil {
			continue
		}
		lines, err := b.measureAll(ctx, row)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("row %s: %w", row.name, err))
			fmt.Fprintln(os.Stderr, "bench:", row.name, "failed:", err)
		}
		table = append(table, lines...)
	}
	if len(table) > 0 {
		if o.quick {
			fmt.Println("The figures of -quick mean nothing: it measures tiny sizes, not those that the table names.")
		}
		fmt.Print(format(table))
	}
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	return failed
}
