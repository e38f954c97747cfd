package admin

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/term"
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
	// URLs of this page, without a refresh and with one; Refresh is the one in force, in seconds, 0 for none
	Reload, Refreshing string
	Refresh            int
}

// table is the data of a template of rows. Relative times are relative to Now.
type table struct {
	Now  time.Time
	Rows any
}

//go:embed templates/*.html
var templateFiles embed.FS

// templates parses the pages. Only html/template's escaping protects them from text that domains and policy hosts
// choose.
func templates() *template.Template {
	return template.Must(template.New("").Funcs(template.FuncMap{
		"at": term.Absolute, "ago": term.Relative, "span": term.Span, "short": shortName, "words": shortText,
		"whole": wholeText, "plural": term.Plural,
		"seconds": func(n int64) time.Duration { return time.Duration(n) * time.Second },
		"table":   func(now time.Time, rows any) table { return table{now, rows} },
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
	q := r.URL.Query()
	f := frame{Now: time.Now().UTC(), Info: s.monitor.Info, Title: "stsmapd", Query: q.Get("q"), View: v,
		Refresh: refreshSeconds(q)}
	if f.Refresh > 0 {
		w.Header().Set("Refresh", strconv.Itoa(f.Refresh))
	}
	q.Del("refresh")
	f.Reload = pageURL(r, q)
	q.Set("refresh", "30")
	f.Refreshing = pageURL(r, q)
	switch v := v.(type) {
	case domainView:
		f.Title = v.Domain.Domain + " – stsmapd"
	case *pageError:
		f.Title = v.Title + " – stsmapd"
	case listView:
		f.Title = "Policies – stsmapd"
	case unavailableView:
		f.Title = "Announced but not available – stsmapd"
	case eventsView:
		f.Title = "Recent events – stsmapd"
	}
	var b bytes.Buffer
	if err := s.templates.ExecuteTemplate(&b, v.template(), f); err != nil {
		s.monitor.Log.Error("cannot render a status page; please report it", "event", "status_failed", "template",
			v.template(), "error", err)
		writeText(w, http.StatusInternalServerError, "this page cannot be rendered; see stsmapd's log")
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(code)
	_, _ = w.Write(b.Bytes()) // the client has gone
}

// pageURL returns the URL of a request's page with another query.
func pageURL(r *http.Request, q url.Values) string {
	return (&url.URL{Path: r.URL.Path, RawQuery: q.Encode()}).String()
}

// maxShown is the length of a domain name in a list, in characters. One that is longer is cut in its middle.
const maxShown = 32

// shortName returns a name with its start and end if it is longer than maxShown.
func shortName(name string) string { return term.Short(name, maxShown) }

// shortText returns a text in which names do not break at the end of a line, and long ones are cut.
func shortText(text string) template.HTML { return wrappable(text, shortName) }

// wholeText is shortText without cutting.
func wholeText(text string) template.HTML {
	return wrappable(text, func(name string) string { return name })
}

// wrappable returns a text that may break at spaces and after each /, = and :, but not inside a name.
func wrappable(text string, name func(string) string) template.HTML {
	var b strings.Builder
	for i, word := range strings.Fields(text) {
		if i > 0 {
			b.WriteByte(' ')
		}
		for len(word) > 0 {
			part, rest := word, ""
			if end := strings.IndexAny(word, "/=:"); end >= 0 {
				part, rest = word[:end+1], word[end+1:]
			}
			safe := template.HTMLEscapeString(name(part))
			if strings.Contains(part, ".") {
				safe = `<span class="host">` + safe + `</span>`
			}
			if b.WriteString(safe); rest != "" {
				b.WriteString("<wbr>")
			}
			word = rest
		}
	}
	return template.HTML(b.String()) // every part is escaped above
}
