package admin

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"html/template"
	"net/http"
	"time"
)

// view is the data of one page. template returns the name of its template.
type view interface{ template() string }

// pageError is an error that is shown as a page.
type pageError struct {
	Code  int
	Title string
	Text  string
}

func (e *pageError) Error() string { return e.Text }

func (e *pageError) template() string { return "error.html" }

func errNoPage() error {
	return &pageError{http.StatusNotFound, "No such page", "There is no such page. The policies are on the first page."}
}

// frame is the data of a whole page: header, footer and view.
type frame struct {
	Now   time.Time
	Info  Info
	Title string
	Query string // text of the search box
	View  view
}

// policyTable is the data of the template "rows". Relative times are relative to Now.
type policyTable struct {
	Now  time.Time
	Rows []policyRow
}

//go:embed templates/*.html
var templateFiles embed.FS

// templates parses the pages. Only html/template's escaping protects them from text that domains and policy hosts
// choose.
func templates() *template.Template {
	return template.Must(template.New("").Funcs(template.FuncMap{
		"time": formatTime, "ago": formatRelative, "duration": formatDuration,
		"policyTable": func(now time.Time, rows []policyRow) policyTable { return policyTable{now, rows} },
	}).ParseFS(templateFiles, "templates/*.html"))
}

// page returns a handler that shows the view of build. At most maxPages pages are built at a time: each may walk over
// all policies.
func (s *WebServer) page(build func(*http.Request) (view, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case s.pages <- struct{}{}:
			defer func() { <-s.pages }()
		default:
			w.Header().Set("Retry-After", "1")
			s.show(w, r, http.StatusServiceUnavailable,
				&pageError{http.StatusServiceUnavailable, "Busy",
					"Too many pages are in progress. Try again in a moment."})
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), pageLimit)
		defer cancel()
		v, err := build(r.WithContext(ctx))
		code := http.StatusOK
		if err != nil {
			var known *pageError
			if !errors.As(err, &known) {
				known = &pageError{http.StatusInternalServerError, "Failed", err.Error()}
			}
			code, v = known.Code, known
		}
		s.show(w, r, code, v)
	})
}

// pageLimit is how long building a page may take.
const pageLimit = 10 * time.Second

func (s *WebServer) show(w http.ResponseWriter, r *http.Request, code int, v view) {
	f := frame{Now: time.Now().UTC(), Info: s.opt.Info, Title: "stsmapd", Query: r.URL.Query().Get("q"), View: v}
	switch v := v.(type) {
	case domainView:
		f.Title = v.Name + " – stsmapd"
	case *pageError:
		f.Title = v.Title + " – stsmapd"
	case listView:
		f.Title = "Policies – stsmapd"
	}
	var b bytes.Buffer
	if err := s.templates.ExecuteTemplate(&b, v.template(), f); err != nil {
		s.opt.Log.Error("cannot render a status page; please report it", "event", "status_failed", "template",
			v.template(), "error", err)
		writeText(w, http.StatusInternalServerError, "this page cannot be rendered; see stsmapd's log")
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(code)
	_, _ = w.Write(b.Bytes()) // the client has gone
}
