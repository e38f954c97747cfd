package shared

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/valkey-io/valkey-go"

	"github.com/stsmapd/stsmapd/cache/record"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// values reads and writes the engine's values. Each operation takes the engine's budget at most.
type values struct {
	engine  *engine
	host    string     // this host's name
	garbage limitedLog // of values that cannot be decoded

	hits, misses, failed, skipped, poisoned atomic.Uint64 // ReadStats
	stored, stale, unwritten                atomic.Uint64 // WriteStats
}

// outgoing is a value on its way to the engine.
type outgoing struct {
	domain dnsname.Name
	value  value
	quiet  bool // the other hosts are not told
}

// find returns what the engine has of a domain.
func (v *values) find(ctx context.Context, domain dnsname.Name) resolver.SharedState {
	var text string
	err := v.engine.use(ctx, &v.engine.health.reads, func(ctx context.Context, c valkey.Client) (err error) {
		text, err = v.engine.commands.get(ctx, c, domain)
		return err
	})
	switch {
	case errors.Is(err, errTripped):
		v.skipped.Add(1)
	case err != nil:
		v.failed.Add(1)
	case text == "":
		v.misses.Add(1)
	default:
		v.hits.Add(1)
	}
	return v.decode(ctx, domain, text)
}

// decode decodes a value; "": there is none. One that cannot be decoded is dropped, here and in the engine.
func (v *values) decode(ctx context.Context, domain dnsname.Name, text string) resolver.SharedState {
	if text == "" {
		return resolver.SharedState{}
	}
	t, err := decodeValue(domain.String(), text)
	if err != nil {
		v.reject(ctx, domain, text, err)
		return resolver.SharedState{}
	}
	if t.Entry != nil && t.Entry.Origin == v.host {
		t.Entry.Origin = ""
	}
	return t
}

// reject removes a value that cannot be decoded from the engine. One of another version of stsmapd stays.
func (v *values) reject(ctx context.Context, domain dnsname.Name, text string, err error) {
	if errors.Is(err, record.ErrVersion) {
		return
	}
	v.poisoned.Add(1)
	v.garbage.error(v.engine.now(), "a value in the shared engine is no stsmapd's: it is dropped, and what this host "+
		"knows stands; find out who writes to the engine, and lock it down",
		"event", "shared_poisoned", "domain", domain, "error", err)
	_ = v.engine.use(ctx, &v.engine.health.writes, func(ctx context.Context, c valkey.Client) error {
		cmd := v.engine.commands
		_, err := cmd.replace(ctx, c, replacement{keys: []string{cmd.valueKey(domain)}, from: text})
		return err
	})
}

// prepare makes a value of an entry; false: no parser made the entry, or it has expired.
func (v *values) prepare(e resolver.Entry) (outgoing, bool) {
	value, err := policyValue(v.engine.now(), e, v.host)
	return outgoing{domain: e.Domain, value: value}, err == nil && value.life > 0
}

// put writes a value now. A newer one in the engine stands, without an error.
func (v *values) put(ctx context.Context, w outgoing) error {
	return v.engine.use(ctx, &v.engine.health.writes, func(ctx context.Context, c valkey.Client) error {
		stored, err := v.engine.commands.set(ctx, c, w, v.engine.now())
		switch {
		case err != nil:
			v.unwritten.Add(1)
		case stored:
			v.stored.Add(1)
		default:
			v.stale.Add(1)
		}
		return err
	})
}
