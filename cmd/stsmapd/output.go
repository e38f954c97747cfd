package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/logging"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/term"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/usage"
)

// Exit codes of all commands; 0 is success.
const (
	exitNo    = 1 // the answer is no: no policy, a problem, mail that waits, something to do; serve: it cannot start
	exitError = 2 // the command failed, or its arguments are wrong
)

// answerNo is the error of a command that ends with exitNo. Every other error ends with exitError.
type answerNo struct {
	err error // nil: nothing is printed
}

// Error implements error.
func (e *answerNo) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", exitNo)
	}
	return e.err.Error()
}

// Unwrap returns the cause.
func (e *answerNo) Unwrap() error { return e.err }

// answer returns err, or else an *answerNo unless the answer is yes.
func answer(yes bool, err error) error {
	if err == nil && !yes {
		return &answerNo{}
	}
	return err
}

// exitCode prints the error of a command, and returns its exit code.
func exitCode(err error, stderr io.Writer) int {
	code := exitError
	var no *answerNo
	switch {
	case err == nil:
		return 0
	case errors.As(err, &no):
		code, err = exitNo, no.err
	}
	if err != nil {
		printError(stderr, stderr, err)
	}
	return code
}

// printError writes an error to w, which leads to stderr.
func printError(w, stderr io.Writer, err error) {
	usage.Print(w, stderr, logging.JournalPrefix(stderr)+"stsmapd: "+err.Error())
}

// complain writes an error of a part of a command, which continues.
func complain(cmd *cobra.Command, err error) { printError(cmd.ErrOrStderr(), cmd.ErrOrStderr(), err) }

// result is what a command has found.
type result interface {
	// Print writes it for people. The error is one of writing.
	Print(w io.Writer, now time.Time) error
}

// output is how a command prints its results: for people or, with --json, as JSON.
type output struct{ json bool }

// add adds the flag --json. what is what it prints.
func (o *output) add(cmd *cobra.Command, what string) {
	cmd.Flags().BoolVar(&o.json, "json", false, what)
}

// print prints the one result of a command, as JSON an indented object.
func (o output) print(cmd *cobra.Command, r result) error {
	if o.json {
		return term.WriteJSON(cmd.OutOrStdout(), r)
	}
	return r.Print(cmd.OutOrStdout(), time.Now())
}

// printOf prints one result of several, as JSON a line.
func (o output) printOf(cmd *cobra.Command, r result) error {
	if o.json {
		return term.NewJSONLines(cmd.OutOrStdout()).Encode(r)
	}
	return r.Print(cmd.OutOrStdout(), time.Now())
}
