package maillog

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"time"
)

// maxFieldName bounds a field's name. systemd allows 64 bytes.
const maxFieldName = 256

// journalEntry is what is needed of an entry of the journal. The slices are reused by the next one.
type journalEntry struct {
	message    []byte
	identifier []byte
	syslogPID  []byte
	pid        []byte
	host       []byte
	micros     []byte // since 1970
	cut        bool   // a field was too long, or the entry ends too early
}

func (e *journalEntry) reset() {
	*e = journalEntry{message: e.message[:0], identifier: e.identifier[:0], syslogPID: e.syslogPID[:0], pid: e.pid[:0],
		host: e.host[:0], micros: e.micros[:0]}
}

// field returns where a field is kept, nil for one that is not needed.
func (e *journalEntry) field(name []byte) *[]byte {
	switch string(name) {
	case "MESSAGE":
		return &e.message
	case "SYSLOG_IDENTIFIER":
		return &e.identifier
	case "SYSLOG_PID":
		return &e.syslogPID
	case "_PID":
		return &e.pid
	case "_HOSTNAME":
		return &e.host
	case "__REALTIME_TIMESTAMP":
		return &e.micros
	default:
		return nil
	}
}

func (e *journalEntry) isEmpty() bool { return len(e.message)+len(e.identifier)+len(e.micros) == 0 }

// readJournalEntry reads one entry of systemd's Journal Export Format: fields, one a line, and an empty line. A field
// is NAME=value, or, where the value is not printable text of one line, NAME, a newline, its length in 8 bytes,
// little-endian, the value, and a newline. The error is the reader's; an entry that io.EOF cuts short is there.
func readJournalEntry(r *bufio.Reader, e *journalEntry) error {
	e.reset()
	for {
		line, cut, err := readLine(r)
		switch {
		case len(line) == 0 && err == nil:
			if e.isEmpty() {
				continue
			}
			return nil
		case len(line) > 0:
			e.cut = e.cut || cut
			name, value, ok := bytes.Cut(line, []byte("="))
			switch {
			case ok:
				if into := e.field(name); into != nil {
					*into = append((*into)[:0], value[:min(len(value), maxCutLine)]...)
				}
			case err == nil && len(line) <= maxFieldName:
				err = e.readBinary(r, e.field(name))
			default:
				e.cut = true
			}
		}
		if err != nil {
			return err
		}
	}
}

// readBinary reads the length, the value and the newline of a binary field. Of a value that is too long it keeps the
// beginning.
func (e *journalEntry) readBinary(r *bufio.Reader, into *[]byte) error {
	var length [8]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return e.endsEarly(err)
	}
	left := binary.LittleEndian.Uint64(length[:])
	if into != nil {
		*into = (*into)[:0]
	}
	for left > 0 {
		chunk, err := r.Peek(int(min(left, readBuffer)))
		if into != nil && len(*into) < maxCutLine {
			*into = append(*into, chunk[:min(len(chunk), maxCutLine-len(*into))]...)
		}
		e.cut = e.cut || into != nil && left > maxCutLine
		left -= uint64(len(chunk))
		_, _ = r.Discard(len(chunk)) // they have just been peeked
		if err != nil {
			return e.endsEarly(err)
		}
	}
	_, err := r.ReadByte()
	return e.endsEarly(err)
}

// endsEarly makes an entry that is cut of an end inside it.
func (e *journalEntry) endsEarly(err error) error {
	if err == nil {
		return nil
	}
	e.cut = true
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return io.EOF
	}
	return err
}

func (s *scanner) scanEntry() error {
	err := readJournalEntry(s.in.text, &s.entry)
	if s.entry.isEmpty() {
		return err
	}
	s.handleEntry(&s.entry)
	return s.count(s.entry.cut, err)
}

func (s *scanner) handleEntry(e *journalEntry) {
	program := programOf(e.identifier)
	if program == OtherProgram {
		return
	}
	event := s.parser.parse(program, bytes.TrimRight(e.message, "\r\n"))
	if event == nil {
		return
	}
	s.line = Line{Host: e.host, Instance: e.identifier[:bytes.LastIndexByte(e.identifier, '/')], Program: program,
		Text: e.message}
	s.line.PID = max(number(e.syslogPID), number(e.pid), 0)
	if n := number(e.syslogPID); n > 0 {
		s.line.PID = n
	}
	if micros := microseconds(e.micros); micros > 0 {
		s.line.Time = time.UnixMicro(micros).UTC()
	}
	s.emit(event)
}

// microseconds reads a number of at most 17 digits, 0 for what is none.
func microseconds(b []byte) int64 {
	if len(b) == 0 || len(b) > 17 {
		return 0
	}
	n := int64(0)
	for _, c := range b {
		if !isDigit(c) {
			return 0
		}
		n = n*10 + int64(c-'0')
	}
	return n
}
