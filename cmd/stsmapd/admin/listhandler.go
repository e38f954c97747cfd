package admin

import (
	"context"
	"encoding/json"
	"iter"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/stsmapd/stsmapd/resolver"
)

// flushLines is the number of lines of a list that are sent at a time.
const flushLines = 200

// lineWriter writes a reply of JSON lines. Each flushLines lines have writeLimit to be sent.
type lineWriter struct {
	encoder *json.Encoder
	control *http.ResponseController
	n       int
}

func newLineWriter(w http.ResponseWriter) *lineWriter {
	w.Header().Set("Content-Type", "application/x-ndjson")
	return &lineWriter{encoder: json.NewEncoder(w), control: http.NewResponseController(w)}
}

// write writes one line. Its errors are of type *brokenListError.
func (l *lineWriter) write(v any) error {
	if l.n%flushLines == 0 {
		if err := l.control.Flush(); err != nil {
			return &brokenListError{err}
		}
		if err := l.control.SetWriteDeadline(time.Now().Add(writeLimit)); err != nil {
			return &brokenListError{err}
		}
	}
	l.n++
	if err := l.encoder.Encode(v); err != nil {
		return &brokenListError{err}
	}
	return nil
}

func (s *ControlServer) list(w http.ResponseWriter, r *http.Request) error {
	l, err := parseList(r.URL.Query())
	if err != nil {
		return &Error{Code: http.StatusBadRequest, Message: err.Error()}
	}
	out := newLineWriter(w)
	found := s.matching(r.Context(), l)
	if l.Sort != "" {
		if found, err = s.sorted(r, l, found, out); err != nil {
			return err
		}
	}
	for k, err := range limited(found, l.Limit) {
		if err != nil {
			err = out.writeError(r, k, err)
		} else {
			err = out.write(viewPolicy(k))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// matching yields the policies that l selects, in the order of the store, and the errors of the store.
func (s *ControlServer) matching(ctx context.Context, l List) iter.Seq2[resolver.Known, error] {
	return func(yield func(resolver.Known, error) bool) {
		now := time.Now()
		for k, err := range s.admin.Entries(ctx) {
			if (err != nil || l.matches(now, k)) && !yield(k, err) {
				return
			}
		}
	}
}

// sorted reads all policies of found and yields them in the order of l. It keeps only names and sort keys in memory.
// Errors of found are written to out immediately.
func (s *ControlServer) sorted(r *http.Request, l List, found iter.Seq2[resolver.Known, error],
	out *lineWriter) (iter.Seq2[resolver.Known, error], error) {
	var rows []sortEntry
	for k, err := range found {
		if err == nil {
			rows = append(rows, sortEntry{k.Domain, l.rank(k)})
		} else if err := out.writeError(r, k, err); err != nil {
			return nil, err
		}
	}
	l.order(rows)
	return func(yield func(resolver.Known, error) bool) {
		for _, row := range rows {
			k, err := s.admin.Known(r.Context(), row.domain)
			if err == nil && k.Entry == nil {
				continue // removed in the meantime
			}
			if !yield(k, err) {
				return
			}
		}
	}, nil
}

// writeError writes a line for an entry that could not be read. If the request has ended it returns a *brokenListError.
func (l *lineWriter) writeError(r *http.Request, k resolver.Known, err error) error {
	if r.Context().Err() != nil {
		return &brokenListError{err}
	}
	return l.write(Policy{Domain: k.Domain.String(), Error: err.Error()})
}

// unavailable sends the domains of a list whose announced policy cannot be fetched, by name.
func (s *ControlServer) unavailable(w http.ResponseWriter, r *http.Request) error {
	l, err := parseList(r.URL.Query())
	if err != nil {
		return &Error{Code: http.StatusBadRequest, Message: err.Error()}
	}
	n := l.Limit
	if n == 0 {
		n = math.MaxInt / 4 // all; least takes four times as many
	}
	out := newLineWriter(w)
	for _, u := range s.monitor.unavailable(n, func(domain string) bool { return strings.Contains(domain, l.Domain) }) {
		if err := out.write(u); err != nil {
			return err
		}
	}
	return nil
}

func (s *ControlServer) overrides(w http.ResponseWriter, _ *http.Request) error {
	out := newLineWriter(w)
	for _, o := range s.admin.Overrides() {
		if err := out.write(viewOverride(o)); err != nil {
			return err
		}
	}
	return nil
}
