package mtasts

import "strings"

// LineVerdict is what the parser makes of one line of a policy.
type LineVerdict uint8

// The verdicts on lines.
const (
	LineCounts   LineVerdict = iota + 1 // it is a part of the policy
	LineBlank                           // nothing stands there
	LineUnknown                         // a field that RFC 8461 does not know, ignored (section 3.2)
	LineRepeated                        // a field that stood before, ignored (section 3.2)
	LineWrong                           // it breaks the grammar, and makes the whole policy invalid
)

// String returns a stable word.
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

// Line is one line of a policy, and what the parser makes of it.
type Line struct {
	Number  int    // from 1
	Text    string // without line end and spaces at the end; any bytes
	Name    string // of the field; "" where there is none
	Value   string // of the field, without the spaces before it
	Verdict LineVerdict
	Msg     string // what is wrong, printable; "" unless Verdict is LineWrong
}

// Explain tells what ParsePolicy makes of each line of a body, to the end even where that gives up before. missing says
// which required field no line has, "" if there are all.
//
// ParsePolicy's error is at the first line whose Verdict is LineWrong or, without any, missing.
func Explain(body []byte) (lines []Line, missing string) {
	var p policyParser
	number := 0
	for text := range strings.Lines(string(body)) {
		number++
		lines = append(lines, p.explain(number, trimLine(text)))
	}
	return lines, p.missing()
}

// explain takes one line.
func (p *policyParser) explain(number int, text string) Line {
	l := Line{Number: number, Text: text, Verdict: LineBlank}
	if text == "" {
		return l
	}
	if name, value, ok := strings.Cut(text, ":"); ok {
		l.Name, l.Value = name, trimLeftWSP(value)
	}
	l.Verdict = LineCounts
	switch seen, known := p.seen(l.Name); {
	case !known:
		l.Verdict = LineUnknown
	case seen:
		l.Verdict = LineRepeated
	}
	if l.Msg = p.line(text); l.Msg != "" {
		l.Verdict = LineWrong
	}
	return l
}

// seen reports whether a field that may stand once has been seen, and whether it is one that RFC 8461 knows.
func (p *policyParser) seen(name string) (seen, known bool) {
	switch name {
	case "version":
		return p.version, true
	case "mode":
		return p.mode, true
	case "max_age":
		return p.maxAge, true
	case "mx":
		return false, true
	}
	return false, false
}
