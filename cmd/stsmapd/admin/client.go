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

// replyLimit is how long a client waits for an answer out of what is known.
const replyLimit = 60 * time.Second

// Client asks a running daemon. It is safe for concurrent use. Of its errors, *UnreachableError: nobody serves the
// socket, or this user may not ask; *Error: what the daemon said.
type Client struct {
	spec string
	http *http.Client
}

// UnreachableError: the daemon does not answer. It does not run, has another control socket or none, or does not let
// this user in.
type UnreachableError struct {
	Spec string // of the socket
	Err  error
}

// Error says what to check.
func (e *UnreachableError) Error() string {
	what := "cannot ask the daemon at " + e.Spec + ": "
	switch {
	case errors.Is(e.Err, fs.ErrPermission):
		return what + "permission denied: be root, or a member of the socket's group (setting control_group)"
	case errors.Is(e.Err, fs.ErrNotExist), errors.Is(e.Err, syscall.ECONNREFUSED):
		return what + "is stsmapd running, with this control socket? (" + e.cause() + ")"
	}
	return what + e.cause()
}

// cause is the error without what net and net/http say around it.
func (e *UnreachableError) cause() string {
	var number syscall.Errno
	if errors.As(e.Err, &number) {
		return number.Error()
	}
	return e.Err.Error()
}

// Unwrap returns the cause.
func (e *UnreachableError) Unwrap() error { return e.Err }

// NewClient makes a client for a control socket, "unix:/path". It does not connect yet. The error is a
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

// Status asks how the daemon does.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return once[Status](ctx, c, http.MethodGet, replyLimit, nil, nil, "status")
}

// Show asks what is known of a domain. An *Error with code 404: nothing.
func (c *Client) Show(ctx context.Context, domain dnsname.Name) (Domain, error) {
	return once[Domain](ctx, c, http.MethodGet, replyLimit, nil, nil, "policies", domain.String())
}

// Refresh has a domain's policy fetched now. That the fetch failed is no error here: Refreshed says so.
func (c *Client) Refresh(ctx context.Context, domain dnsname.Name) (Refreshed, error) {
	return once[Refreshed](ctx, c, http.MethodPost, turnLimit+lookupLimit, nil, nil, "policies", domain.String(),
		"refresh")
}

// Forget has all that is known of a domain forgotten. An *Error with code 404: there was nothing.
func (c *Client) Forget(ctx context.Context, domain dnsname.Name) error {
	_, err := once[Forgotten](ctx, c, http.MethodDelete, lookupLimit, nil, nil, "policies", domain.String())
	return err
}

// ForgetEverywhere is Forget on all hosts of the fleet. An *Error with code 400: there is no fleet.
func (c *Client) ForgetEverywhere(ctx context.Context, domain dnsname.Name) error {
	_, err := once[Forgotten](ctx, c, http.MethodDelete, lookupLimit, nil, url.Values{"fleet": {"true"}}, "policies",
		domain.String())
	return err
}

// Warm asks a question about a domain, as Postfix would.
func (c *Client) Warm(ctx context.Context, domain dnsname.Name) (Warmed, error) {
	body, err := json.Marshal(map[string]string{"domain": domain.String()})
	if err != nil {
		return Warmed{}, err
	}
	return once[Warmed](ctx, c, http.MethodPost, turnLimit+lookupLimit, body, nil, "warm")
}

// Policies yields the policies of a list. One that the daemon could not read yields its error, an *Error with the
// domain where that is known, and the list goes on; after any other error it ends.
func (c *Client) Policies(ctx context.Context, l List) iter.Seq2[Policy, error] {
	return func(yield func(Policy, error) bool) {
		for p, err := range many[Policy](ctx, c, l.values(), "policies") {
			if err == nil && p.Error != "" {
				err = &Error{Code: http.StatusInternalServerError, Domain: p.Domain, Message: p.Error}
			}
			if !yield(p, err) {
				return
			}
		}
	}
}

// Overrides yields the overrides that are in force.
func (c *Client) Overrides(ctx context.Context) iter.Seq2[Override, error] {
	return many[Override](ctx, c, nil, "overrides")
}

// once asks for one object.
func once[T any](ctx context.Context, c *Client, method string, limit time.Duration, body []byte, query url.Values,
	path ...string) (v T, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	resp, err := c.do(ctx, method, body, query, path...)
	if err != nil {
		return v, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&v); err != nil {
		return v, c.broken(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body) // so that the connection can be used again
	return v, nil
}

// many asks for JSON lines.
func many[T any](ctx context.Context, c *Client, query url.Values, path ...string) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		resp, err := c.do(ctx, http.MethodGet, nil, query, path...)
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
				yield(none, c.broken(err))
				return
			}
			if !yield(v, nil) {
				return
			}
		}
	}
}

// broken is the error for an answer that ended before its end, or is none.
func (c *Client) broken(err error) error {
	return fmt.Errorf("the daemon at %s did not finish its answer: %w", c.spec, err)
}

// do sends a request. Without an error the answer is a good one, and its body must be closed.
func (c *Client) do(ctx context.Context, method string, body []byte, query url.Values, path ...string) (*http.Response,
	error) {
	u := (&url.URL{Scheme: "http", Host: "stsmapd", Path: "/v1", RawQuery: query.Encode()}).JoinPath(path...)
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
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
		return nil, &UnreachableError{c.spec, err}
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
