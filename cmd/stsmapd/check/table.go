package check

import (
	"fmt"
	"io"
	"strings"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/term"
)

// Table prints one row per report, in the order in which they are added. A row ends with the words of Result.Summary.
type Table struct {
	*term.Table
	out           io.Writer
	total, passed int
}

// maxFirst is how many columns of a terminal there are for names; a longer one is cut.
const maxFirst = 30

// NewTable returns a Table for these next hops and prints its head.
func NewTable(w io.Writer, nextHops []string) *Table {
	t := &Table{Table: term.NewTable(w, "DOMAIN", "", "POLICY", "MX", "A MAIL WOULD BE"), out: w}
	first := len("DOMAIN")
	for _, n := range nextHops {
		first = max(first, len(n))
	}
	if term.Width(w) > 0 {
		first = min(first, maxFirst)
	}
	t.Begin(first, len(term.Fail), len("override"), len("2/2"))
	return t
}

// Add prints a report's row. The error is one of writing.
func (t *Table) Add(r *Report) error {
	t.total++
	verdict := term.Fail
	switch {
	case r.Result.OK:
		t.passed++
		verdict = term.OK
	case r.Record.Status == NoRecord:
		verdict = term.Note
	}
	words := strings.TrimPrefix(r.Result.Summary, "mail to "+r.NextHop+" would be ")
	t.Row(term.Text(r.NextHop), verdict.Cell(), term.Text(policyCell(r)), term.Text(hostsCell(r)), term.Text(words))
	return t.End()
}

// Close prints how many domains pass. The error is one of writing.
func (t *Table) Close() error {
	if err := t.End(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(t.out, "\n%d of %s pass\n", t.passed, term.Plural(t.total, "domain"))
	return err
}

func policyCell(r *Report) string {
	switch {
	case r.Override != nil && r.Override.Action != "strict":
		return "override"
	case r.Policy == nil && r.Record.Status == NoRecord:
		return "-"
	case r.Policy == nil:
		return "?"
	case r.Policy.Mode == "":
		return "broken"
	}
	return r.Policy.Mode
}

// hostsCell returns how many of the MX hosts pass.
func hostsCell(r *Report) string {
	if !anyProbed(r.MX.Hosts) {
		return "-"
	}
	passing := 0
	for _, h := range r.MX.Hosts {
		if h.Passes {
			passing++
		}
	}
	return fmt.Sprintf("%d/%d", passing, len(r.MX.Hosts)+r.MX.Omitted)
}
