// Package term has what all commands use to print: tables, sheets of names and values, colours, progress, durations,
// and JSON that is safe on a terminal.
//
// Colours and progress appear only on a terminal, and colours only if NO_COLOR is not set. Texts from the network
// (policy texts, server replies, names in certificates) may contain escape sequences; Clean and the writers of JSON
// remove them.
package term

import (
	"io"
	"os"
	"strings"
	"unicode"

	"golang.org/x/sys/unix"
)

// Width returns the number of columns of the terminal w, 0 if w is not a terminal.
func Width(w any) int {
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return 0
	}
	width := 0
	_ = raw.Control(func(fd uintptr) {
		if size, err := unix.IoctlGetWinsize(int(fd), unix.TIOCGWINSZ); err == nil {
			width = max(int(size.Col), 20)
		}
	})
	return width
}

// Colours of a terminal, as SGR codes. Plain is no colour.
const (
	Plain  = ""
	Bold   = "1"
	Red    = "31"
	Green  = "32"
	Yellow = "33"
	Faint  = "2"
)

// Coloured reports whether w is a terminal with colours, and NO_COLOR is not set.
func Coloured(w io.Writer) bool {
	return Width(w) > 0 && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// Paint adds a colour to a text. Escape sequences have no width, so pad the text before.
func Paint(colour, text string) string {
	if colour == Plain {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// Clean makes a text safe for a terminal: a tab becomes a space, and each other character that does not print, such as
// escape, a question mark.
func Clean(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsPrint(r):
			return r
		case r == '\t':
			return ' '
		}
		return '?'
	}, text)
}
