package tlspolicy

import (
	"context"
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

	parsed atomic.Pointer[map[string]Features] // map names parsed before; copied on write
	mu     sync.Mutex                          // of writers of parsed
	counts counts
}

// maxParsed is the largest number of map names that are remembered. Every order of the features is another name.
const maxParsed = 64

// NewHandler returns a handler that answers from a and logs to log.
func NewHandler(a Answerer, log *slog.Logger) *Handler {
	h := &Handler{answerer: a, log: log}
	h.parsed.Store(&map[string]Features{})
	return h
}

// ServeSocketmap implements socketmap.Handler.
func (h *Handler) ServeSocketmap(ctx context.Context, r socketmap.Request) socketmap.Reply {
	f, err := h.features(r.Map)
	if err != nil {
		h.counts.unknown.Add(1)
		return socketmap.Perm(err.Error())
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

// features returns the features of a map name, parsed once for each name. The error is an *UnknownMapError.
func (h *Handler) features(name []byte) (Features, error) {
	if f, ok := (*h.parsed.Load())[string(name)]; ok {
		return f, nil
	}
	f, err := ParseMapName(string(name))
	if err != nil {
		return f, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if old := *h.parsed.Load(); len(old) < maxParsed {
		names := maps.Clone(old)
		names[string(name)] = f
		h.parsed.Store(&names)
	}
	return f, nil
}

// Counts returns the number of questions since the handler was made, for each map with a question and each outcome.
func (h *Handler) Counts() []Count { return h.counts.list() }
