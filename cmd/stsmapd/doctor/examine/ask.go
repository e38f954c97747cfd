package examine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/doctor"
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
func askAll(ctx context.Context, calls []doctor.Call) map[doctor.Call]doctor.Answer {
	var wait sync.WaitGroup
	var mu sync.Mutex
	answers := map[doctor.Call]doctor.Answer{}
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
func ask(ctx context.Context, call doctor.Call) doctor.Answer {
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
		return doctor.Answer{Kind: doctor.NoSocketmap, Detail: plain(err)}
	case reply.Status() != socketmap.StatusPerm || !strings.HasPrefix(reply.Data(), stsmapdsWord):
		return doctor.Answer{Kind: doctor.OtherMap}
	}
	reply, err = client.Ask(ctx, call.Map, parent)
	switch {
	case err != nil:
		return doctor.Answer{Kind: doctor.NoSocketmap, Detail: plain(err)}
	case reply.Status() == socketmap.StatusPerm:
		return doctor.Answer{Kind: doctor.UnknownMap, Detail: reply.Data()}
	}
	return doctor.Answer{Kind: doctor.Stsmapd}
}

// unreached says why there is no connection.
func unreached(err error) doctor.Answer {
	var spec *socketmap.SpecError
	switch {
	case errors.As(err, &spec): // such as a path that is too long for this process, if not for one in the chroot
		return doctor.Answer{Kind: doctor.Unasked, Detail: spec.Msg}
	case errors.Is(err, fs.ErrPermission):
		return doctor.Answer{Kind: doctor.Forbidden, Detail: plain(err)}
	}
	return doctor.Answer{Kind: doctor.Nobody, Detail: plain(err)}
}

// plain is the heart of an error, without the address, which the reader has been told.
func plain(err error) string {
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
