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
	writeLimit  = 30 * time.Second  // for a reply, or a piece of a list
	turnLimit   = 30 * time.Second  // for the wait until another lookup may begin
	lookupLimit = 120 * time.Second // for a reply that waits for the DNS and a policy host; longer than those may take
	idleLimit   = 2 * time.Minute
	maxHeader   = 16 << 10
	maxBody     = 4 << 10
	// maxLookups is how many domains are looked up at once on administrators' behalf: few, beside what mail may need.
	maxLookups = 64
)

// ControlServer answers the commands. New makes one.
type ControlServer struct {
	service *resolver.Service
	info    Info
	http    *http.Server
	lookups *semaphore.Weighted
	end     context.CancelCauseFunc // of all requests
}

// New makes a server for the service. What goes wrong below HTTP is logged.
func NewControl(service *resolver.Service, info Info, log *slog.Logger) *ControlServer {
	ctx, end := context.WithCancelCause(context.Background())
	s := &ControlServer{service: service, info: info, lookups: semaphore.NewWeighted(maxLookups), end: end}
	s.http = &http.Server{
		Handler:           s.routes(),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: readLimit,
		ReadTimeout:       readLimit,
		WriteTimeout:      writeLimit,
		IdleTimeout:       idleLimit,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(log.With("event", "control_error").Handler(), slog.LevelWarn),
	}
	return s
}

// Serve answers on a listener until Shutdown; then it returns nil.
func (s *ControlServer) Serve(l net.Listener) error {
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("control socket: %w", err)
	}
	return nil
}

// Shutdown ends what is under way and closes listener and connections, with a last word if there is time for one before
// ctx ends.
func (s *ControlServer) Shutdown(ctx context.Context) {
	s.end(resolver.ErrClosed)
	if s.http.Shutdown(ctx) != nil {
		_ = s.http.Close() // whoever is left has had his time
	}
}

func (s *ControlServer) routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /v1/status", handler(s.status))
	mux.Handle("GET /v1/policies", handler(s.list))
	mux.Handle("GET /v1/policies/{domain}", handler(s.show))
	mux.Handle("POST /v1/policies/{domain}/refresh", handler(s.refresh))
	mux.Handle("DELETE /v1/policies/{domain}", handler(s.forget))
	mux.Handle("GET /v1/overrides", handler(s.overrides))
	mux.Handle("POST /v1/warm", handler(s.warm))
	mux.Handle("/", handler(func(_ http.ResponseWriter, r *http.Request) error {
		return &Error{Code: http.StatusNotFound,
			Message: fmt.Sprintf("there is no %s %.100q here: are stsmapd and the command of the same version?",
				r.Method, r.URL.Path)}
	}))
	return mux
}

// handler answers a request or returns an error, which it then answers with. After an error that comes when a part of
// the reply is on its way, it cuts the connection.
type handler func(http.ResponseWriter, *http.Request) error

// ServeHTTP implements http.Handler.
func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	err := h(w, r)
	if err == nil {
		return
	}
	var cut *cutError
	if errors.As(err, &cut) {
		panic(http.ErrAbortHandler)
	}
	answer := asError(r, err)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(answer.Code)
	_ = json.NewEncoder(w).Encode(answer) // who asked has gone
}

// cutError: a list cannot go on.
type cutError struct{ err error }

func (e *cutError) Error() string { return e.err.Error() }

// asError finds the status for an error, and says whose it is.
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

func reply(w http.ResponseWriter, v any) error {
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(v)
}

// pathDomain is the domain that a request's path names.
func pathDomain(r *http.Request) (dnsname.Name, error) { return parseDomain(r.PathValue("domain")) }

func parseDomain(text string) (dnsname.Name, error) {
	name, err := dnsname.Parse(text)
	if err != nil {
		return name, &Error{Code: http.StatusBadRequest, Message: err.Error()}
	}
	return name, nil
}

func (s *ControlServer) status(w http.ResponseWriter, _ *http.Request) error {
	return reply(w, viewStatus(s.info, s.service.Status(), len(s.service.Overrides())))
}

func (s *ControlServer) show(w http.ResponseWriter, r *http.Request) error {
	domain, err := pathDomain(r)
	if err != nil {
		return err
	}
	k, err := s.service.Known(r.Context(), domain)
	switch {
	case err != nil && r.Context().Err() != nil:
		return err
	case err == nil && k.Empty():
		return unknown(domain)
	}
	return reply(w, viewDomain(k, err))
}

func unknown(domain dnsname.Name) error {
	return &Error{Code: http.StatusNotFound, Domain: domain.String(), Message: "nothing is known of this domain"}
}

func (s *ControlServer) refresh(w http.ResponseWriter, r *http.Request) error {
	domain, err := pathDomain(r)
	if err != nil {
		return err
	}
	leave, err := s.enter(w, r)
	if err != nil {
		return err
	}
	defer leave()
	found, err := s.service.Refresh(r.Context(), domain)
	if errors.Is(err, resolver.ErrClosed) || errors.Is(err, resolver.ErrNotTried) || r.Context().Err() != nil {
		return err
	}
	k, storeErr := s.service.Known(r.Context(), domain)
	if storeErr != nil && k.Entry == nil {
		return storeErr
	}
	return reply(w, viewRefreshed(domain.String(), found, k, err))
}

// enter waits until the domain of a request may be looked up, and gives it time.
func (s *ControlServer) enter(w http.ResponseWriter, r *http.Request) (leave func(), err error) {
	if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(turnLimit + lookupLimit)); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(r.Context(), turnLimit, resolver.ErrNotTried)
	defer cancel()
	if s.lookups.Acquire(ctx, 1) != nil {
		return nil, context.Cause(ctx)
	}
	return func() { s.lookups.Release(1) }, nil
}

func (s *ControlServer) forget(w http.ResponseWriter, r *http.Request) error {
	domain, err := pathDomain(r)
	if err != nil {
		return err
	}
	// What is under way for the domain comes first.
	if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(lookupLimit)); err != nil {
		return err
	}
	something, err := true, error(nil)
	if r.URL.Query().Get("fleet") == "true" {
		err = s.service.ForgetEverywhere(r.Context(), domain)
	} else {
		something, err = s.service.Forget(r.Context(), domain)
	}
	switch {
	case errors.Is(err, resolver.ErrNoFleet):
		return &Error{Code: http.StatusBadRequest, Message: err.Error()}
	case err != nil:
		return err
	case !something:
		return unknown(domain)
	}
	return reply(w, Forgotten{Domain: domain.String(), Forgotten: true})
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
		return &Error{Code: http.StatusBadRequest, Message: "there is more in the body than one domain"}
	}
	domain, err := parseDomain(ask.Domain)
	if err != nil {
		return err
	}
	leave, err := s.enter(w, r)
	if err != nil {
		return err
	}
	defer leave()
	v := s.service.Answer(r.Context(), resolver.Question{Destination: dane.Destination{Domain: domain}})
	if v.Outcome == resolver.Closing {
		return &Error{Code: http.StatusServiceUnavailable, Domain: domain.String(), Message: resolver.ErrClosed.Error()}
	}
	view := Warmed{Domain: domain.String(), Outcome: v.Outcome.String()}
	if v.Reason != nil {
		view.Reason = v.Reason.Error()
	}
	return reply(w, view)
}
