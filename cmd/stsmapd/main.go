// Command stsmapd makes Postfix keep MTA-STS (RFC 8461) when it sends mail.
//
// `stsmapd serve` is the daemon: Postfix asks it through a socketmap what TLS policy applies to a next-hop domain. The
// other commands ask a running daemon, or tell of this one. Results go to stdout, messages to stderr.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}

// exit codes of all commands: 0 is success.
const (
	exitFailure  = 1 // start-up of the daemon failed
	exitNotFound = 1 // query: no policy for Postfix
	exitError    = 2 // the command could not do its work, or was called wrongly
)

// exitCode is an error that ends the program with that code and, where there is one, its message.
type exitCode struct {
	code int
	err  error // nil: the output has said it all
}

// Error implements error.
func (e *exitCode) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

// Unwrap returns the cause.
func (e *exitCode) Unwrap() error { return e.err }

// run is main without the process: it returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot(stdout, stderr)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	var exit *exitCode
	if !errors.As(err, &exit) {
		exit = &exitCode{exitError, err} // cobra's own: a wrong flag or command
	}
	if exit.err != nil {
		fmt.Fprintln(stderr, journalPrefix(stderr)+"stsmapd:", exit.err)
	}
	return exit.code
}
