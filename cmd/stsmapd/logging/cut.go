package logging

import (
	"fmt"
	"log/slog"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// maxText is how many bytes the values of a line have at most: what other hosts send does not fill a disk.
	maxText = 1 << 10
	// maxValue is how many bytes one of several values has at most.
	maxValue = 600
	// minValue is how many bytes of a value are left in any case.
	minValue = 64
	// stackKey is the value that is never cut: it is stsmapd's own.
	stackKey = "stack"
)

// cut returns the record with long values cut.
func cut(r slog.Record) slog.Record {
	total, short := 0, slog.NewRecord(r.Time, r.Level, r.Message, r.PC)
	long := false
	r.Attrs(func(a slog.Attr) bool {
		text := valueText(a)
		most := max(min(maxText-total, maxValue), minValue)
		if len(text) > most {
			long = true
			text = cutText(text, most)
			a.Value = slog.StringValue(text)
		}
		total += len(text)
		short.AddAttrs(a)
		return true
	})
	if !long {
		return r
	}
	return short
}

// valueText is about what a handler writes for a value of any length; "" for a value that is short by its kind.
func valueText(a slog.Attr) string {
	if a.Key == stackKey {
		return ""
	}
	switch v := a.Value.Resolve(); v.Kind() {
	case slog.KindString:
		return v.String()
	case slog.KindAny, slog.KindGroup:
		return fmt.Sprintf("%+v", v.Any())
	default:
		return ""
	}
}

// cutText returns the first characters of s, most bytes at most, and says how long it was. What a handler would write
// as something longer becomes a question mark.
func cutText(s string, most int) string {
	said := fmt.Sprintf("… (%d bytes)", len(s))
	n := max(most-len(said), 0)
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	printable := strings.Map(func(r rune) rune {
		if r == utf8.RuneError || r == '"' || r == '\\' || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s[:n])
	return printable + said
}
