package maillog

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// Stats says what was read of an Input.
type Stats struct {
	Lines  int64 // lines, or entries of the journal
	Events int64 // those that say something of mail to other hosts
	Cut    int64 // those that were too long, or ended too early, and were read in part
	First  time.Time
	Last   time.Time
}

// Scan reads the input to its end and calls handle with each event and its line. Both are good only until handle
// returns. The error is the reader's, with the input's name, or the context's; what was read before it has been
// handled.
func (in *Input) Scan(ctx context.Context, handle func(*Line, Event)) (Stats, error) {
	in.stored.progress = in.Progress
	s := scanner{ctx: ctx, in: in, handle: handle, clock: clock{zone: in.Zone, newest: in.Newest}}
	next := s.scanLine
	if first, _ := in.text.Peek(2); string(first) == "__" {
		next = s.scanEntry
	}
	err := s.scanAll(next)
	if err == nil {
		err = ctx.Err() // it ends a child process, too, whose output then ends
	}
	if err != nil {
		err = fmt.Errorf("reading %s: %w", in.Name, err)
	}
	return s.stats, err
}

// scanner is one Scan.
type scanner struct {
	ctx    context.Context
	in     *Input
	handle func(*Line, Event)
	clock  clock
	parser parser
	line   Line
	entry  journalEntry // of the journal; reused
	stats  Stats
}

// checkEvery is after how many lines the context is asked.
const checkEvery = 4096

// count counts a line, and asks the context now and then. It returns the error of reading, or the context's.
func (s *scanner) count(cut bool, err error) error {
	if cut {
		s.stats.Cut++
	}
	if s.stats.Lines++; s.stats.Lines%checkEvery == 0 && s.ctx.Err() != nil {
		return s.ctx.Err()
	}
	return err
}

// scanAll calls next until the input ends. next handles one line or entry, unless there is none left, and counts it.
func (s *scanner) scanAll(next func() error) error {
	for {
		if err := next(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func (s *scanner) scanLine() error {
	line, cut, err := readLine(s.in.text)
	if len(line) == 0 {
		return err
	}
	s.handleLine(line)
	return s.count(cut, err)
}

// readLine returns a line without its end. Of a line that does not fit the buffer it returns the beginning.
func readLine(r *bufio.Reader) (line []byte, cut bool, err error) {
	line, err = r.ReadSlice('\n')
	if err == nil {
		return line[:len(line)-1], false, nil
	}
	if !errors.Is(err, bufio.ErrBufferFull) {
		return line, false, err
	}
	line = append([]byte(nil), line[:maxCutLine]...)
	return line, true, skipLine(r)
}

// EachLine calls f with each line of an input that is not a log, without its end. Of a line that is too long f is given
// the beginning. The error is the reader's, with the input's name.
func (in *Input) EachLine(f func(line []byte)) error {
	for {
		line, _, err := readLine(in.text)
		if err == nil || len(line) > 0 {
			f(bytes.TrimRight(line, "\r\n"))
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("reading %s: %w", in.Name, err)
		}
	}
}

// maxCutLine is how much is kept of a line that is too long: more than Postfix ever writes.
const maxCutLine = 8 << 10

func skipLine(r *bufio.Reader) error {
	for {
		_, err := r.ReadSlice('\n')
		if !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
}

func (s *scanner) handleLine(text []byte) {
	h, ok := parseHeader(text)
	if !ok {
		return
	}
	event := s.parser.parse(h.program, h.text)
	if event == nil {
		return
	}
	h.fill(s.clock, &s.line)
	s.emit(event)
}

// emit hands on an event, unless it is too old. A line without a time has that of the line before it.
func (s *scanner) emit(event Event) {
	if s.line.Time.IsZero() {
		s.line.Time = s.stats.Last
	}
	if !s.in.Since.IsZero() && s.line.Time.Before(s.in.Since) {
		return
	}
	if s.stats.First.IsZero() {
		s.stats.First = s.line.Time
	}
	s.stats.Last = s.line.Time
	s.stats.Events++
	s.handle(&s.line, event)
}
