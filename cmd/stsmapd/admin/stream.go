package admin

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"time"

	"github.com/stsmapd/stsmapd/resolver"
)

// flushLines is how many lines of a list go out at a time.
const flushLines = 200

// lines writes JSON lines, each piece with its own time limit.
type lines struct {
	encoder *json.Encoder
	control *http.ResponseController
	n       int
}

func newLines(w http.ResponseWriter) *lines {
	w.Header().Set("Content-Type", "application/x-ndjson")
	return &lines{encoder: json.NewEncoder(w), control: http.NewResponseController(w)}
}

// write writes one line. After an error nothing more can be said.
func (l *lines) write(v any) error {
	if l.n%flushLines == 0 {
		if err := l.control.Flush(); err != nil {
			return &cutError{err}
		}
		if err := l.control.SetWriteDeadline(time.Now().Add(writeLimit)); err != nil {
			return &cutError{err}
		}
	}
	l.n++
	if err := l.encoder.Encode(v); err != nil {
		return &cutError{err}
	}
	return nil
}

func (s *ControlServer) list(w http.ResponseWriter, r *http.Request) error {
	l, err := parseList(r.URL.Query())
	if err != nil {
		return &Error{Code: http.StatusBadRequest, Message: err.Error()}
	}
	out := newLines(w)
	found := s.wanted(r.Context(), l)
	if l.Sort != "" {
		if found, err = s.sorted(r, l, found, out); err != nil {
			return err
		}
	}
	for k, err := range limited(found, l.Limit) {
		if err != nil {
			err = out.unread(r, k, err)
		} else {
			err = out.write(viewPolicy(k))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// wanted yields the policies of the list, as they come, and the errors on the way.
func (s *ControlServer) wanted(ctx context.Context, l List) iter.Seq2[resolver.Known, error] {
	return func(yield func(resolver.Known, error) bool) {
		now := time.Now()
		for k, err := range s.service.Entries(ctx) {
			if (err != nil || l.wants(now, k)) && !yield(k, err) {
				return
			}
		}
	}
}

// sorted reads all that is found, and yields it again in the order of the list: only names and what they are sorted by
// are held meanwhile. What cannot be read goes out at once.
func (s *ControlServer) sorted(r *http.Request, l List, found iter.Seq2[resolver.Known, error],
	out *lines) (iter.Seq2[resolver.Known, error], error) {
	var rows []row
	for k, err := range found {
		if err == nil {
			rows = append(rows, row{k.Domain, l.rank(k)})
		} else if err := out.unread(r, k, err); err != nil {
			return nil, err
		}
	}
	l.order(rows)
	return func(yield func(resolver.Known, error) bool) {
		for _, row := range rows {
			k, err := s.service.Known(r.Context(), row.domain)
			if err == nil && k.Entry == nil {
				continue // removed meanwhile
			}
			if !yield(k, err) {
				return
			}
		}
	}, nil
}

// unread tells of an entry that could not be read; but when the request has ended there is nobody left to tell.
func (l *lines) unread(r *http.Request, k resolver.Known, err error) error {
	if r.Context().Err() != nil {
		return &cutError{err}
	}
	return l.write(Policy{Domain: k.Domain.String(), Error: err.Error()})
}

func (s *ControlServer) overrides(w http.ResponseWriter, _ *http.Request) error {
	out := newLines(w)
	for _, o := range s.service.Overrides() {
		if err := out.write(viewOverride(o)); err != nil {
			return err
		}
	}
	return nil
}
