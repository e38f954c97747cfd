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

// view is what one page shows; its template has that name.
type view interface{ template() string }

// pageError is an error that is shown to whoever asked for the page.
type pageError struct {
	Code  int
	Title string
	Text  string
}

func (e *pageError) Error() string { return e.Text }

func (e *pageError) template() string { return "error.html" }

func errNoPage() error {
	return &pageError{http.StatusNotFound, "No such page", "There is nothing here. The policies are on the first page."}
}

// frame is what every page has around its view.
type frame struct {
	Now   time.Time
	Info  Info
	Title string
	Query string // what stands in the search box
	View  view
}

// table is a list of policies, and the time that their times are told by.
type table struct {
	Now  time.Time
	Rows []policyRow
}

//go:embed templates/*.html
var templateFiles embed.FS

// templates parses the pages. What domains and policy hosts say goes through html/template's escaping alone.
func templates() *template.Template {
	return template.Must(template.New("").Funcs(template.FuncMap{
		"when": when, "ago": relative, "days": lifetime,
		"table": func(now time.Time, rows []policyRow) table { return table{now, rows} },
	}).ParseFS(templateFiles, "templates/*.html"))
}

// page makes a handler of what makes a view. Only so many are made at once: each may walk over all policies.
func (s *WebServer) page(build func(*http.Request) (view, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case s.pages <- struct{}{}:
			defer func() { <-s.pages }()
		default:
			w.Header().Set("Retry-After", "1")
			s.show(w, r, http.StatusServiceUnavailable,
				&pageError{http.StatusServiceUnavailable, "Busy",
					"Too many pages are being made. Try again in a moment."})
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

// pageLimit is how long a page may take to be made.
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
		s.opt.Log.Error("a status page cannot be made; please report it", "event", "status_failed", "template",
			v.template(), "error", err)
		plain(w, http.StatusInternalServerError, "this page cannot be made; see stsmapd's log")
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(code)
	_, _ = w.Write(b.Bytes()) // who asked has gone
}
