package tlspolicy

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/socketmap"
)

// Answerer answers the handler's questions. *resolver.Service is one.
type Answerer interface {
	Answer(context.Context, resolver.Question) resolver.Verdict
}

// Handler answers Postfix's lookups from an Answerer. It implements socketmap.Handler.
type Handler struct {
	answerer Answerer
	log      *slog.Logger

	known  atomic.Pointer[knownNames]
	mu     sync.Mutex // of writers of known
	counts counts
}

// knownNames is map names, with those that were parsed before. It is replaced as a whole, never changed.
type knownNames struct {
	names  MapNames
	parsed map[string]Features
}

// maxParsed is the largest number of map names that are remembered. Every order of the features is another name.
const maxParsed = 64

// NewHandler returns a handler that answers from a and logs to log.
func NewHandler(a Answerer, log *slog.Logger) *Handler {
	h := &Handler{answerer: a, log: log}
	h.known.Store(&knownNames{})
	return h
}

// SetMapNames sets the map names that are answered. Until it is called, none of a configuration is.
func (h *Handler) SetMapNames(names MapNames) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.known.Store(&knownNames{names: names})
}

// ServeSocketmap implements socketmap.Handler.
func (h *Handler) ServeSocketmap(ctx context.Context, r socketmap.Request) socketmap.Reply {
	f, err := h.features(r.Map)
	if err != nil {
		h.counts.unknown.Add(1)
		return unknownReply(err)
	}
	if r.NoKey {
		return socketmap.NoKeyReply()
	}
	hop, ok := parseHop(r.Key)
	if !ok {
		h.counts.add(f, 0)
		return socketmap.NotFound()
	}
	q := hop.question(f)
	v := h.answerer.Answer(ctx, q)
	h.counts.add(f, v.Outcome)
	reply := Render(f, v)
	if h.log.Enabled(ctx, slog.LevelDebug) {
		h.log.Debug("question answered", "event", "question", "map", string(r.Map), "domain", q.Domain,
			"outcome", v.Outcome,
			"reply", reply)
	}
	if f.Shadow && v.Outcome != resolver.Closing {
		return h.shadow(q, v, reply)
	}
	return reply
}

// unknownReply returns the reply to an error of MapNames.Parse. postfix-tlspol's own program waits for the end of the
// connection after its commands.
func unknownReply(err error) socketmap.Reply {
	reply := socketmap.Perm(err.Error())
	if foreign := (*ForeignCommandError)(nil); errors.As(err, &foreign) {
		return reply.Last()
	}
	return reply
}

// shadow returns NOTFOUND, and logs the reply that Postfix would have acted on.
func (h *Handler) shadow(q resolver.Question, v resolver.Verdict, would socketmap.Reply) socketmap.Reply {
	if would.Status() != socketmap.StatusNotFound {
		h.log.Info("shadow: answered NOTFOUND; mail is delivered as if there were no policy", "event", "shadow",
			"domain", q.Domain,
			"outcome", v.Outcome,
			"would_answer", would)
	}
	return socketmap.NotFound()
}

// features returns the features of a map name, parsed once for each name. The errors are those of MapNames.Parse.
func (h *Handler) features(name []byte) (Features, error) {
	known := h.known.Load()
	if f, ok := known.parsed[string(name)]; ok {
		return f, nil
	}
	f, err := known.names.Parse(string(name))
	if err != nil || len(known.parsed) >= maxParsed {
		return f, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.known.Load() == known { // else the next question remembers the name
		parsed := maps.Clone(known.parsed)
		if parsed == nil {
			parsed = map[string]Features{}
		}
		parsed[string(name)] = f
		h.known.Store(&knownNames{known.names, parsed})
	}
	return f, nil
}

// Counts returns the number of questions since the handler was made, for each map with a question and each outcome.
func (h *Handler) Counts() []Count { return h.counts.list() }
