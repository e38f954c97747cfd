// Package term is what every command prints with: tables, sheets of names and values, colours, progress, durations, and
// JSON, made safe for a terminal.
//
// Colours and progress appear only on a terminal, and no colours where NO_COLOR is set. Texts that came from the
// network (policy texts, server replies, names in certificates) may hold escape sequences; Clean and SafeJSON keep
// those from the terminal.
package term

import (
	"io"
	"os"
	"strings"
	"unicode"

	"golang.org/x/sys/unix"
)

// Width is how many columns the terminal has to which w writes; 0: it is none.
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

// Colours of a terminal, as SGR codes. Plain is none.
const (
	Plain  = ""
	Bold   = "1"
	Red    = "31"
	Green  = "32"
	Yellow = "33"
	Faint  = "2"
)

// Coloured reports whether what is written to w may have colours: on a terminal that can, unless its user wants none.
func Coloured(w io.Writer) bool {
	return Width(w) > 0 && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// Paint colours a text that has its final width.
func Paint(colour, text string) string {
	if colour == Plain {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// Clean makes a text safe for a terminal: each character that does not print, escape sequences above all, becomes a
// question mark.
func Clean(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, text)
}
