package admin

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/admin/httplimit"
)

// MaxConns is the number of connections that a WebServer has at a time; one more closes the oldest.
const MaxConns = 256

// Bounds of the server.
const (
	maxScrapes   = 4 // at once
	maxPages     = 8 // at once; others get status 503
	webReadLimit = 5 * time.Second
)

// WebOptions are what a WebServer needs besides a Monitor.
type WebOptions struct {
	Host  string  // of the setting `metrics`: a name that requests may use
	Probe *Prober // for /healthz
}

// WebServer serves the address of the setting `metrics`. NewWeb returns one.
type WebServer struct {
	opt       WebOptions
	monitor   *Monitor
	http      *http.Server
	limited   func(net.Listener) net.Listener
	metrics   prometheus.Gatherers
	templates *template.Template
	pages     chan struct{} // a slot for each page in progress
	ready     atomic.Bool
	end       context.CancelFunc // of all requests
}

// NewWeb returns a server that shows a Monitor. /readyz fails until Ready(true).
func NewWeb(m *Monitor, o WebOptions) *WebServer {
	ctx, end := context.WithCancel(context.Background())
	s := &WebServer{opt: o, monitor: m, metrics: prometheus.Gatherers{m.Resolver, newRegistry(m)},
		templates: templates(),
		pages:     make(chan struct{}, maxPages), end: end}
	s.http = newServer(ctx, s.routes(), webReadLimit)
	s.http.ErrorLog = slog.NewLogLogger(m.Log.With("event", "status_error").Handler(), slog.LevelDebug)
	s.limited = httplimit.Set(s.http, MaxConns)
	return s
}

// Ready sets whether /readyz says that Postfix's questions are answered. It accepts nil, a daemon without a WebServer.
func (s *WebServer) Ready(ready bool) {
	if s != nil {
		s.ready.Store(ready)
	}
}

// Serve answers requests on a listener until Shutdown, and then returns nil.
func (s *WebServer) Serve(l net.Listener) error {
	if err := s.http.Serve(s.limited(l)); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("metrics listener: %w", err)
	}
	return nil
}

// Shutdown waits for requests in progress until ctx ends, and closes the listener and all connections.
func (s *WebServer) Shutdown(ctx context.Context) {
	s.Ready(false)
	if s.http.Shutdown(ctx) != nil {
		_ = s.http.Close() // the remaining connections are closed
	}
	s.end()
}

func (s *WebServer) routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.metrics, promhttp.HandlerOpts{
		MaxRequestsInFlight: maxScrapes, Timeout: writeLimit / 2, ErrorHandling: promhttp.ContinueOnError,
		ErrorLog: slog.NewLogLogger(s.monitor.Log.With("event", "metrics_error").Handler(), slog.LevelWarn),
	}))
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.HandleFunc("GET /style.css", styleSheet)
	mux.Handle("GET /{$}", s.page(s.home))
	mux.Handle("GET /policies", s.page(s.policies))
	mux.Handle("GET /domain/{domain}", s.page(s.domain))
	mux.Handle("GET /unavailable", s.page(s.unavailablePage))
	mux.Handle("GET /events", s.page(func(*http.Request) (view, error) {
		return eventsView{s.monitor.History.Events("")}, nil
	}))
	mux.Handle("GET /", s.page(func(*http.Request) (view, error) { return nil, errNoPage() }))
	return guarded(s.opt.Host, mux)
}

// guarded refuses requests that isRebound reports, and adds headers that forbid a browser everything but showing the
// page.
func guarded(own string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isRebound(r, own) {
			writeText(w, http.StatusMisdirectedRequest,
				"on a loopback address, stsmapd only answers requests for localhost or for the address: use one of "+
					"them; a proxy must set the Host header accordingly")
			return
		}
		h := w.Header()
		h.Set("Content-Security-Policy",
			"default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// isRebound reports whether a request reached a loopback address under a name that is neither local nor own, the
// configured name (DNS rebinding). Any web site can point its name to 127.0.0.1, and could then read the pages with the
// browser of a user of this host.
func isRebound(r *http.Request, own string) bool {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if !ok || !local.IP.IsLoopback() || r.Host == "" { // browsers always send a Host header
		return false
	}
	name := r.Host
	if host, _, err := net.SplitHostPort(name); err == nil {
		name = host
	}
	if _, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		return false
	}
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	return name != "localhost" && !strings.HasSuffix(name, ".localhost") && name != strings.ToLower(own)
}

//go:embed style.css
var styleCSS []byte

func styleSheet(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	_, _ = w.Write(styleCSS) // the client has gone
}

func (s *WebServer) healthz(w http.ResponseWriter, r *http.Request) {
	if err := s.opt.Probe.Probe(r.Context()); err != nil {
		writeText(w, http.StatusServiceUnavailable, notAnswering+err.Error())
		return
	}
	writeText(w, http.StatusOK, "ok")
}

func (s *WebServer) readyz(w http.ResponseWriter, _ *http.Request) {
	if !s.ready.Load() {
		writeText(w, http.StatusServiceUnavailable, "stsmapd is starting or shutting down: it answers no questions")
		return
	}
	text := "ok"
	survey, _ := s.monitor.surveyor.request(surveyForScrape)
	if view := s.monitor.status(survey); view.Health != Healthy {
		text = "ok, but " + string(view.Health) + ":"
		for _, p := range view.Problems {
			text += "\n" + p.ID + ": " + p.Text
		}
	}
	writeText(w, http.StatusOK, text)
}

func writeText(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	_, _ = fmt.Fprintln(w, text) // the client has gone
}
