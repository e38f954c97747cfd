package check

import (
	"fmt"
	"io"
	"strings"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/term"
)

// Table prints one row per report, in the order in which they are added. A row ends with the words of Result.Summary.
type Table struct {
	columns
	first         int // width of the first column
	total, passed int
}

const (
	maxFirst  = 30 // columns for names; a longer name is on a separate line
	tableRest = 23 // columns of mark, policy and MX hosts
)

// NewTable returns a Table for these next hops and prints its head.
func NewTable(w io.Writer, style Style, nextHops []string) *Table {
	t := &Table{columns: columns{w: w, style: style}, first: len("DOMAIN")}
	for _, n := range nextHops {
		t.first = max(t.first, min(len(n), maxFirst))
	}
	t.print(fmt.Sprintf("%-*s  %-5s %-8s %-5s %s\n", t.first, "DOMAIN", "", "POLICY", "MX", "A MAIL WOULD BE"))
	return t
}

// Err returns the first error of writing.
func (t *Table) Err() error { return t.err }

// Add prints a report's row.
func (t *Table) Add(r *Report) {
	t.total++
	verdict := markFail
	switch {
	case r.Result.OK:
		t.passed++
		verdict = markOK
	case r.Record.Status == NoRecord:
		verdict = markNote
	}
	name := term.Clean(r.NextHop)
	if len(name) > t.first {
		t.print(name + "\n")
		name = ""
	}
	words := strings.TrimPrefix(r.Result.Summary, "mail to "+r.NextHop+" would be ")
	indent := t.first + tableRest
	for i, line := range term.Wrap(term.Clean(words), max(term.Columns(t.w)-indent, 24)) {
		if i > 0 {
			t.print(strings.Repeat(" ", indent) + line + "\n")
			continue
		}
		t.print(fmt.Sprintf("%-*s  %s %-8s %-5s %s\n", t.first, name, t.style.paint(verdict), policyCell(r),
			hostsCell(r), line))
	}
}

// Close prints how many domains pass.
func (t *Table) Close() {
	t.print(fmt.Sprintf("\n%d of %s pass\n", t.passed, term.Plural(t.total, "domain")))
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
