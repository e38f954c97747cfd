package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"

	"github.com/stsmapd/stsmapd/resolver/dane"
)

// Bounds of the server.
const (
	readLimit   = 10 * time.Second  // for a request, head and body
	writeLimit  = 30 * time.Second  // for a reply, a page, or flushLines lines of a list
	queueLimit  = 30 * time.Second  // for the wait until a lookup may start
	lookupLimit = 120 * time.Second // for a reply that needs a lookup; longer than a lookup may take
	countLimit  = 10 * time.Second  // for the wait until the policies are counted
	idleLimit   = 2 * time.Minute
	maxHeader   = 16 << 10
	maxBody     = 4 << 10
	// maxLookups is the number of concurrent lookups on behalf of administrators: few compared with those for mail.
	maxLookups = 64
)

// ControlServer serves the control socket. NewControl returns one.
type ControlServer struct {
	monitor *Monitor
	probe   *Prober
	service *resolver.Service
	admin   *resolver.Admin
	http    *http.Server
	lookups *semaphore.Weighted
	end     context.CancelCauseFunc // of all requests
}

// NewControl returns a server for the daemon of a monitor, whose health the prober checks. It logs errors of HTTP
// connections.
func NewControl(m *Monitor, probe *Prober) *ControlServer {
	ctx, end := context.WithCancelCause(context.Background())
	s := &ControlServer{monitor: m, probe: probe, service: m.Service, admin: m.admin,
		lookups: semaphore.NewWeighted(maxLookups), end: end}
	s.http = newServer(ctx, s.routes(), readLimit)
	s.http.ErrorLog = slog.NewLogLogger(m.Log.With("event", "control_error").Handler(), slog.LevelWarn)
	return s
}

// newServer returns a server of pages or of the control socket. A request ends with ctx, and must be read within a
// time.
func newServer(ctx context.Context, handler http.Handler, read time.Duration) *http.Server {
	return &http.Server{
		Handler:           handler,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: read,
		ReadTimeout:       read,
		WriteTimeout:      writeLimit,
		IdleTimeout:       idleLimit,
		MaxHeaderBytes:    maxHeader,
	}
}

// Serve answers requests on a listener until Shutdown, and then returns nil.
func (s *ControlServer) Serve(l net.Listener) error {
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("control socket: %w", err)
	}
	return nil
}

// Shutdown ends requests in progress with an error reply, and closes the listener and all connections, at the latest
// when ctx ends.
func (s *ControlServer) Shutdown(ctx context.Context) {
	s.end(resolver.ErrClosed)
	if s.http.Shutdown(ctx) != nil {
		_ = s.http.Close() // the remaining connections are closed
	}
}

func (s *ControlServer) routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /v1/health", handler(s.health))
	mux.Handle("GET /v1/status", handler(s.status))
	mux.Handle("GET /v1/policies", handler(s.list))
	mux.Handle("GET /v1/policies/{domain}", ofDomain(s.show))
	mux.Handle("POST /v1/policies/{domain}/refresh", ofDomain(s.refresh))
	mux.Handle("DELETE /v1/policies/{domain}", ofDomain(s.forget))
	mux.Handle("GET /v1/unavailable", handler(s.unavailable))
	mux.Handle("GET /v1/overrides", handler(s.overrides))
	mux.Handle("POST /v1/warm", handler(s.warm))
	mux.Handle("/", handler(func(_ http.ResponseWriter, r *http.Request) error {
		return &Error{Code: http.StatusNotFound,
			Message: fmt.Sprintf("there is no %s %.100q here: do the daemon and the command have the same version?",
				r.Method, r.URL.Path)}
	}))
	return mux
}

// handler answers a request, or returns an error, which ServeHTTP sends as the reply. After a *brokenListError, when a
// part of the reply has been sent, ServeHTTP cuts the connection.
type handler func(http.ResponseWriter, *http.Request) error

// ServeHTTP implements http.Handler.
func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	err := h(w, r)
	if err == nil {
		return
	}
	var cut *brokenListError
	if errors.As(err, &cut) {
		panic(http.ErrAbortHandler)
	}
	answer := asError(r, err)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(answer.Code)
	_ = json.NewEncoder(w).Encode(answer) // the client has gone
}

// brokenListError says that a list cannot be finished after a part of it was sent.
type brokenListError struct{ err error }

func (e *brokenListError) Error() string { return e.err.Error() }

// asError returns the error reply for an error, with its status and domain.
func asError(r *http.Request, err error) *Error {
	var known *Error
	if errors.As(err, &known) {
		return known
	}
	answer := &Error{Code: http.StatusInternalServerError, Domain: r.PathValue("domain"), Message: err.Error()}
	switch {
	case errors.Is(err, resolver.ErrClosed), errors.Is(err, resolver.ErrNotTried), errors.Is(err, context.Canceled),
		errors.Is(err, context.DeadlineExceeded):
		answer.Code = http.StatusServiceUnavailable
		if cause := context.Cause(r.Context()); cause != nil {
			answer.Message = cause.Error()
		}
	}
	return answer
}

func writeJSON(w http.ResponseWriter, v any) error {
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(v)
}

// ofDomain is a handler for requests with a domain in their path.
func ofDomain(answer func(http.ResponseWriter, *http.Request, dnsname.Name) error) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		domain, err := parseDomain(r.PathValue("domain"))
		if err != nil {
			return err
		}
		return answer(w, r, domain)
	}
}

func parseDomain(text string) (dnsname.Name, error) {
	name, err := dnsname.Parse(text)
	if err != nil {
		return name, &Error{Code: http.StatusBadRequest, Message: err.Error()}
	}
	return name, nil
}

func (s *ControlServer) health(w http.ResponseWriter, r *http.Request) error {
	if err := s.probe.Probe(r.Context()); err != nil {
		return &Error{Code: http.StatusServiceUnavailable, Message: notAnswering + err.Error()}
	}
	return writeJSON(w, struct{}{})
}

func (s *ControlServer) status(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), countLimit)
	defer cancel()
	return writeJSON(w, s.monitor.Status(ctx))
}

func (s *ControlServer) show(w http.ResponseWriter, r *http.Request, domain dnsname.Name) error {
	d, known := s.monitor.Domain(r.Context(), domain)
	switch {
	case r.Context().Err() != nil:
		return context.Cause(r.Context())
	case !known:
		return notFound(domain)
	}
	return writeJSON(w, d)
}

func notFound(domain dnsname.Name) error {
	return &Error{Code: http.StatusNotFound, Domain: domain.String(), Message: "nothing is known about this domain"}
}

func (s *ControlServer) refresh(w http.ResponseWriter, r *http.Request, domain dnsname.Name) error {
	return lookUp(s, w, r, func(ctx context.Context) (v Refreshed, err error) {
		found, err := s.admin.Refresh(ctx, domain)
		if errors.Is(err, resolver.ErrClosed) || errors.Is(err, resolver.ErrNotTried) || ctx.Err() != nil {
			return v, err
		}
		k, storeErr := s.admin.Known(ctx, domain)
		if storeErr != nil && k.Entry == nil {
			return v, storeErr
		}
		return viewRefreshed(domain.String(), found, k, err), nil
	})
}

// lookUp calls do when a lookup may start, with more time for the reply, which is what do returns.
func lookUp[T any](s *ControlServer, w http.ResponseWriter, r *http.Request,
	do func(context.Context) (T, error)) error {
	if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(queueLimit + lookupLimit)); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(r.Context(), queueLimit, resolver.ErrNotTried)
	defer cancel()
	if s.lookups.Acquire(ctx, 1) != nil {
		return context.Cause(ctx)
	}
	defer s.lookups.Release(1)
	view, err := do(r.Context())
	if err != nil {
		return err
	}
	return writeJSON(w, view)
}

func (s *ControlServer) forget(w http.ResponseWriter, r *http.Request, domain dnsname.Name) error {
	// A lookup in progress for the domain comes first.
	if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(lookupLimit)); err != nil {
		return err
	}
	something, err := true, error(nil)
	if r.URL.Query().Get("fleet") == "true" {
		err = s.admin.ForgetEverywhere(r.Context(), domain)
	} else {
		something, err = s.admin.Forget(r.Context(), domain)
	}
	switch {
	case errors.Is(err, resolver.ErrNoFleet):
		return &Error{Code: http.StatusBadRequest, Message: err.Error()}
	case err != nil:
		return err
	case !something:
		return notFound(domain)
	}
	return writeJSON(w, Forgotten{Domain: domain.String(), Forgotten: true})
}

func (s *ControlServer) warm(w http.ResponseWriter, r *http.Request) error {
	var ask struct {
		Domain string `json:"domain"`
	}
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	d.DisallowUnknownFields()
	if err := d.Decode(&ask); err != nil {
		return &Error{Code: http.StatusBadRequest,
			Message: fmt.Sprintf(`the body must be {"domain": "example.org"}: %v`, err)}
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return &Error{Code: http.StatusBadRequest, Message: "the body has more than one JSON value"}
	}
	domain, err := parseDomain(ask.Domain)
	if err != nil {
		return err
	}
	return lookUp(s, w, r, func(ctx context.Context) (Warmed, error) {
		v := s.service.Answer(ctx, resolver.Question{Destination: dane.Destination{Domain: domain}})
		view := Warmed{Domain: domain.String(), Outcome: v.Outcome.String()}
		if v.Outcome == resolver.Closing {
			return view, &Error{Code: http.StatusServiceUnavailable, Domain: view.Domain,
				Message: resolver.ErrClosed.Error()}
		}
		if v.Reason != nil {
			view.Reason = v.Reason.Error()
		}
		return view, nil
	})
}
