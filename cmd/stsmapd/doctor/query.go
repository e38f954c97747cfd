package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/stsmapd/stsmapd/socketmap"
)

const (
	// queryLimit is how long a server may take. stsmapd answers these questions immediately.
	queryLimit = 5 * time.Second
	// unknownMap is a map name that no server has. stsmapd is identified by the text of its error, unknownMapReply.
	unknownMap      = "stsmapd-doctor"
	unknownMapReply = `unknown map name "` + unknownMap + `"`
	// probeKey is a key as Postfix sends it for a parent domain, which never has a policy: it causes no DNS lookup.
	probeKey = ".invalid"
)

// queryAll sends all queries concurrently.
func queryAll(ctx context.Context, calls []Query) map[Query]Answer {
	var wait sync.WaitGroup
	var mu sync.Mutex
	answers := map[Query]Answer{}
	for _, call := range calls {
		wait.Go(func() {
			answer := query(ctx, call)
			mu.Lock()
			defer mu.Unlock()
			answers[call] = answer
		})
	}
	wait.Wait()
	return answers
}

// query finds out which kind of server answers.
func query(ctx context.Context, call Query) Answer {
	late := fmt.Errorf("no answer within %v", queryLimit)
	ctx, cancel := context.WithTimeoutCause(ctx, queryLimit, late)
	defer cancel()
	client, err := socketmap.Dial(ctx, call.Endpoint)
	if err != nil {
		return dialFailure(err)
	}
	defer client.Close()
	reply, err := client.Ask(ctx, unknownMap, probeKey)
	switch {
	case err != nil:
		return Answer{Kind: NoSocketmap, Detail: innermost(err)}
	case reply.Status() != socketmap.StatusPerm || !strings.HasPrefix(reply.Data(), unknownMapReply):
		return Answer{Kind: OtherMap}
	}
	reply, err = client.Ask(ctx, call.Map, probeKey)
	switch {
	case err != nil:
		return Answer{Kind: NoSocketmap, Detail: innermost(err)}
	case reply.Status() == socketmap.StatusPerm:
		return Answer{Kind: UnknownMap, Detail: reply.Data()}
	}
	return Answer{Kind: Stsmapd}
}

// dialFailure returns the answer for a failed connection.
func dialFailure(err error) Answer {
	var spec *socketmap.SpecError
	switch {
	case errors.As(err, &spec): // such as a path that is too long outside the chroot
		return Answer{Kind: NotQueried, Detail: spec.Msg}
	case errors.Is(err, fs.ErrPermission):
		return Answer{Kind: Forbidden, Detail: innermost(err)}
	}
	return Answer{Kind: NoConnection, Detail: innermost(err)}
}

// innermost returns the text of the innermost error, without the address, which is in the finding already.
func innermost(err error) string {
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return strings.TrimPrefix(err.Error(), "socketmap: ")
		}
		err = inner
	}
}
