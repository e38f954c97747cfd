package mtasts

import "strings"

// LineVerdict is how ParsePolicy treats a line of a policy.
type LineVerdict uint8

// The verdicts.
const (
	LineCounts   LineVerdict = iota + 1 // the line is a part of the policy
	LineBlank                           // the line is blank
	LineUnknown                         // the field is unknown and ignored (RFC 8461 section 3.2)
	LineRepeated                        // the field occurred before and is ignored (RFC 8461 section 3.2)
	LineWrong                           // the line breaks the grammar and makes the policy invalid
)

// String returns a stable word for the verdict.
func (v LineVerdict) String() string {
	switch v {
	case LineCounts:
		return "ok"
	case LineBlank:
		return "blank"
	case LineUnknown:
		return "unknown"
	case LineRepeated:
		return "repeated"
	case LineWrong:
		return "wrong"
	}
	return "invalid"
}

// Line is one line of a policy, and how ParsePolicy treats it.
type Line struct {
	Number  int    // from 1
	Text    string // without the line end and white space before it; any bytes
	Name    string // of the field; "" if there is none
	Value   string // of the field, without leading white space
	Verdict LineVerdict
	Msg     string // what is wrong, printable; "" unless Verdict is LineWrong
}

// Explain returns how ParsePolicy treats each line of a body, also the lines after an error. missing says which
// required field is missing, "" if none is.
//
// The error of ParsePolicy is the first line whose Verdict is LineWrong or, if there is none, missing.
func Explain(body []byte) (lines []Line, missing string) {
	var p policyParser
	number := 0
	for text := range strings.Lines(string(body)) {
		number++
		lines = append(lines, p.explainLine(number, trimLine(text)))
	}
	return lines, p.missing()
}
