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
	// askLimit is how long a server may take: stsmapd answers these questions at once.
	askLimit = 5 * time.Second
	// nobodysMap is the name of a map that no server has. stsmapd says so in words by which it is known.
	nobodysMap   = "stsmapd-doctor"
	stsmapdsWord = `unknown map name "` + nobodysMap + `"`
	// parent is a key as Postfix asks for a parent domain, which never has a policy: no DNS, no fetch.
	parent = ".invalid"
)

// askAll asks at all places at the same time.
func askAll(ctx context.Context, calls []Call) map[Call]Answer {
	var wait sync.WaitGroup
	var mu sync.Mutex
	answers := map[Call]Answer{}
	for _, call := range calls {
		wait.Go(func() {
			answer := ask(ctx, call)
			mu.Lock()
			defer mu.Unlock()
			answers[call] = answer
		})
	}
	wait.Wait()
	return answers
}

// ask finds out who answers there.
func ask(ctx context.Context, call Call) Answer {
	late := fmt.Errorf("no answer within %v", askLimit)
	ctx, cancel := context.WithTimeoutCause(ctx, askLimit, late)
	defer cancel()
	client, err := socketmap.Dial(ctx, call.Endpoint)
	if err != nil {
		return unreached(err)
	}
	defer client.Close()
	reply, err := client.Ask(ctx, nobodysMap, parent)
	switch {
	case err != nil:
		return Answer{Kind: NoSocketmap, Detail: reachError(err)}
	case reply.Status() != socketmap.StatusPerm || !strings.HasPrefix(reply.Data(), stsmapdsWord):
		return Answer{Kind: OtherMap}
	}
	reply, err = client.Ask(ctx, call.Map, parent)
	switch {
	case err != nil:
		return Answer{Kind: NoSocketmap, Detail: reachError(err)}
	case reply.Status() == socketmap.StatusPerm:
		return Answer{Kind: UnknownMap, Detail: reply.Data()}
	}
	return Answer{Kind: Stsmapd}
}

// unreached says why there is no connection.
func unreached(err error) Answer {
	var spec *socketmap.SpecError
	switch {
	case errors.As(err, &spec): // such as a path that is too long for this process, if not for one in the chroot
		return Answer{Kind: Unasked, Detail: spec.Msg}
	case errors.Is(err, fs.ErrPermission):
		return Answer{Kind: Forbidden, Detail: reachError(err)}
	}
	return Answer{Kind: Nobody, Detail: reachError(err)}
}

// reachError is the heart of an error, without the address, which the reader has been told.
func reachError(err error) string {
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
