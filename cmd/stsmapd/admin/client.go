package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/socketmap"
)

// replyLimit is how long a client waits for a reply that needs no lookup.
const replyLimit = 60 * time.Second

// Client sends requests to a running daemon. It is safe for concurrent use. Its errors are *Error for an error reply of
// the daemon; others say that the daemon cannot be reached or did not finish its reply.
type Client struct {
	spec string
	http *http.Client
}

// unreachableError: the daemon does not answer. It does not run, has another control socket or none, or does not let
// this user in.
type unreachableError struct {
	Spec string // of the socket
	Err  error
}

// Error says what happened and what to check.
func (e *unreachableError) Error() string {
	what := "cannot reach the daemon at " + e.Spec + ": "
	switch {
	case errors.Is(e.Err, fs.ErrPermission):
		return what + "permission denied: be root, or a member of the socket's group (setting control_group)"
	case errors.Is(e.Err, fs.ErrNotExist), errors.Is(e.Err, syscall.ECONNREFUSED):
		return what + "is stsmapd running, with this control socket? (" + e.cause() + ")"
	}
	return what + e.cause()
}

// cause is the error without the text that net and net/http add.
func (e *unreachableError) cause() string {
	var number syscall.Errno
	if errors.As(e.Err, &number) {
		return number.Error()
	}
	return e.Err.Error()
}

// Unwrap returns the cause.
func (e *unreachableError) Unwrap() error { return e.Err }

// NewClient returns a client for a control socket, "unix:/path". It does not connect yet. The error is a
// *socketmap.SpecError.
func NewClient(spec string) (*Client, error) {
	network, path, err := socketmap.ParseSpec(spec)
	if err == nil && network != "unix" {
		err = &socketmap.SpecError{Spec: spec, Msg: "a control socket must be unix:/path"}
	}
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	return &Client{spec: spec, http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return d.DialContext(ctx, "unix", path)
		},
		MaxIdleConnsPerHost: maxLookups,
	}}}, nil
}

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Health returns nil if the daemon answers questions, however many connections its clients hold. The error is an *Error
// with code 503 if it does not, and with 404 if it is of a version that cannot say.
func (c *Client) Health(ctx context.Context) error {
	_, err := requestOne[struct{}](ctx, c, probeLimit+time.Second, request{path: []string{"health"}})
	return err
}

// Unreachable reports whether an error of a client says that nobody listens on the control socket, or that it does not
// let this user in.
func Unreachable(err error) bool {
	var u *unreachableError
	return errors.As(err, &u) && (errors.Is(u.Err, fs.ErrNotExist) || errors.Is(u.Err, fs.ErrPermission) ||
		errors.Is(u.Err, syscall.ECONNREFUSED))
}

// NotFound reports whether an error of a client says that the daemon knows nothing of the domain, or not the request.
func NotFound(err error) bool {
	var said *Error
	return errors.As(err, &said) && said.Code == http.StatusNotFound
}

// Status returns the daemon's status.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return requestOne[Status](ctx, c, replyLimit, request{path: []string{"status"}})
}

// Show returns what is known about a domain. The error is an *Error with code 404 if that is nothing.
func (c *Client) Show(ctx context.Context, domain dnsname.Name) (Domain, error) {
	return requestOne[Domain](ctx, c, replyLimit, request{path: []string{"policies", domain.String()}})
}

// Refresh fetches a domain's policy now. A failed fetch is not an error: Refreshed has the reason.
func (c *Client) Refresh(ctx context.Context, domain dnsname.Name) (Refreshed, error) {
	return requestOne[Refreshed](ctx, c, queueLimit+lookupLimit,
		request{method: http.MethodPost, path: []string{"policies", domain.String(), "refresh"}})
}

// Forget removes everything known about a domain. The error is an *Error with code 404 if that is nothing.
func (c *Client) Forget(ctx context.Context, domain dnsname.Name) (Forgotten, error) {
	return requestOne[Forgotten](ctx, c, lookupLimit,
		request{method: http.MethodDelete, path: []string{"policies", domain.String()}})
}

// ForgetEverywhere is Forget on all hosts of the fleet. The error is an *Error with code 400 if there is no fleet.
func (c *Client) ForgetEverywhere(ctx context.Context, domain dnsname.Name) (Forgotten, error) {
	return requestOne[Forgotten](ctx, c, lookupLimit, request{method: http.MethodDelete,
		query: url.Values{"fleet": {"true"}}, path: []string{"policies", domain.String()}})
}

// Warm asks a question about a domain, as Postfix would.
func (c *Client) Warm(ctx context.Context, domain dnsname.Name) (Warmed, error) {
	body, err := json.Marshal(map[string]string{"domain": domain.String()})
	if err != nil {
		return Warmed{}, err
	}
	return requestOne[Warmed](ctx, c, queueLimit+lookupLimit,
		request{method: http.MethodPost, body: body, path: []string{"warm"}})
}

// Policies yields the policies that l selects. A policy that the daemon could not read yields an *Error, with the
// domain if it is known, and the iteration continues; any other error ends it.
func (c *Client) Policies(ctx context.Context, l List) iter.Seq2[Policy, error] {
	return func(yield func(Policy, error) bool) {
		for p, err := range requestLines[Policy](ctx, c, l.values(), "policies") {
			if err == nil && p.Error != "" {
				err = &Error{Code: http.StatusInternalServerError, Domain: p.Domain, Message: p.Error}
			}
			if !yield(p, err) {
				return
			}
		}
	}
}

// Unavailable yields the domains that announce a policy which cannot be fetched, by name. Of l, only Domain and Limit
// count.
func (c *Client) Unavailable(ctx context.Context, l List) iter.Seq2[Unavailable, error] {
	return requestLines[Unavailable](ctx, c, l.values(), "unavailable")
}

// Overrides yields the overrides that are in force.
func (c *Client) Overrides(ctx context.Context) iter.Seq2[Override, error] {
	return requestLines[Override](ctx, c, nil, "overrides")
}

// request is a request to the daemon.
type request struct {
	method string // "" is GET
	body   []byte
	query  url.Values
	path   []string // below /v1
}

// requestOne sends a request whose reply is one object.
func requestOne[T any](ctx context.Context, c *Client, limit time.Duration, ask request) (v T, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	resp, err := c.do(ctx, ask)
	if err != nil {
		return v, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&v); err != nil {
		return v, c.incompleteReply(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body) // lets the connection be reused
	return v, nil
}

// requestLines sends a request whose reply is JSON lines.
func requestLines[T any](ctx context.Context, c *Client, query url.Values, path ...string) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		resp, err := c.do(ctx, request{query: query, path: path})
		if err != nil {
			yield(none, err)
			return
		}
		defer resp.Body.Close()
		for d := json.NewDecoder(resp.Body); ; {
			var v T
			switch err := d.Decode(&v); {
			case errors.Is(err, io.EOF):
				return
			case err != nil:
				yield(none, c.incompleteReply(err))
				return
			}
			if !yield(v, nil) {
				return
			}
		}
	}
}

// incompleteReply is the error for a reply that is cut short or is not JSON.
func (c *Client) incompleteReply(err error) error {
	return fmt.Errorf("the daemon at %s did not finish its reply: %w", c.spec, err)
}

// do sends a request. A reply that it returns has status 200, and its body must be closed.
func (c *Client) do(ctx context.Context, ask request) (*http.Response, error) {
	u := (&url.URL{Scheme: "http", Host: "stsmapd", Path: "/v1", RawQuery: ask.query.Encode()}).JoinPath(ask.path...)
	req, err := http.NewRequestWithContext(ctx, ask.method, u.String(), bytes.NewReader(ask.body))
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if cause := context.Cause(ctx); errors.Is(cause, context.Canceled) {
			return nil, cause
		}
		var inner *url.Error
		if errors.As(err, &inner) {
			err = inner.Err
		}
		return nil, &unreachableError{c.spec, err}
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	said := &Error{Code: resp.StatusCode}
	if err := json.NewDecoder(resp.Body).Decode(said); err != nil || said.Message == "" {
		said.Message = "the daemon at " + c.spec + " answered " + resp.Status
	}
	return nil, said
}
