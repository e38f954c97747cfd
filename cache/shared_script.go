package cache

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// What must not come apart is done by scripts at the server. The keys of each are in one hash slot, by the domain in braces, so
// that they work in a cluster too. They use GET, SET, DEL, PEXPIRE and PUBLISH; README lists all that the engine must allow.

// scriptStore sets a value unless that would lose a newer one, and tells the other hosts. A value in the engine stands if it is
// a policy, or the end of one, that is newer than the new one, or a policy and the new one tells of a fetch that failed; but not
// if its time lies ahead of the writer's clock, for then it was written by a clock that ran ahead.
// KEYS: value. ARGV: value, letter, its time, the writer's clock, life in ms, channel ("": tell nobody), message.
const scriptStore = `
local old = redis.call('GET', KEYS[1])
if old then
  local kind, at = string.match(old, '^([PT]) (%d+) ')
  at = tonumber(at)
  if at and at <= tonumber(ARGV[4]) then
    if ARGV[2] == 'F' then
      if kind == 'P' then return 0 end
    elseif at > tonumber(ARGV[3]) or (kind == 'T' and ARGV[2] == 'P' and at == tonumber(ARGV[3])) then
      return 0
    end
  end
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[5])
if ARGV[6] ~= '' then redis.call('PUBLISH', ARGV[6], ARGV[7]) end
return 1`

// scriptClaim takes a domain's claim if nobody has it, and returns whether it did, and the domain's value at that moment.
// KEYS: value, claim. ARGV: token, life in ms.
const scriptClaim = `
local granted = redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2])
return {granted and 1 or 0, redis.call('GET', KEYS[1])}`

// scriptProlong gives a claim that is still the caller's another life; with the life 0 it ends it.
// KEYS: claim. ARGV: token, life in ms.
const scriptProlong = `
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then return redis.call('DEL', KEYS[1]) end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])`

// scriptDrop removes a value that is still the one that could not be read.
// KEYS: value. ARGV: value.
const scriptDrop = `
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0`

// scriptEpoch returns the engine's epoch, a random word that is gone when the engine has lost its memory; then it sets a new one.
// It writes each time, to learn whether the engine takes writes.
// KEYS: epoch. ARGV: a new epoch.
const scriptEpoch = `
local epoch = redis.call('GET', KEYS[1]) or ARGV[1]
redis.call('SET', KEYS[1], epoch)
return epoch`

// scripts are the scripts, with their names for EVALSHA.
type scripts struct{ store, claim, prolong, drop, epoch *valkey.Lua }

func newScripts() scripts {
	return scripts{valkey.NewLuaScript(scriptStore), valkey.NewLuaScript(scriptClaim), valkey.NewLuaScript(scriptProlong),
		valkey.NewLuaScript(scriptDrop), valkey.NewLuaScript(scriptEpoch)}
}

func (s *Shared) valueKey(domain dnsname.Name) string { return s.prefix + "{" + domain.String() + "}" }
func (s *Shared) claimKey(domain dnsname.Name) string { return s.valueKey(domain) + "claim" }
func (s *Shared) epochKey() string                    { return s.prefix + "epoch" }
func (s *Shared) channel() string                     { return s.prefix + "news" }

// get reads a domain's value; "": there is none.
func (s *Shared) get(ctx context.Context, c valkey.Client, domain dnsname.Name) (string, error) {
	text, err := c.Do(ctx, c.B().Get().Key(s.valueKey(domain)).Build()).ToString()
	if valkey.IsValkeyNil(err) {
		return "", nil
	}
	return text, err
}

// store sets a domain's value, and reports whether it did.
func (s *Shared) store(ctx context.Context, c valkey.Client, w outgoing) (bool, error) {
	channel := s.channel()
	if w.quiet {
		channel = ""
	}
	life := max(w.value.life.Milliseconds(), 1)
	n, err := s.scripts.store.Exec(ctx, c, []string{s.valueKey(w.domain)}, []string{w.value.text, string(w.value.kind),
		millis(w.value.at), millis(s.now()), strconv.FormatInt(life, 10), channel, message(s.sender, w.domain)}).AsInt64()
	return n == 1, err
}

// claim takes a domain's claim, if it can be had, and returns the domain's value.
func (s *Shared) claim(ctx context.Context, c valkey.Client, domain dnsname.Name, token string) (granted bool, text string, err error) {
	both, err := s.scripts.claim.Exec(ctx, c, []string{s.valueKey(domain), s.claimKey(domain)},
		[]string{token, strconv.FormatInt(claimLife.Milliseconds(), 10)}).ToArray()
	if err != nil {
		return false, "", err
	}
	if len(both) != 2 {
		return false, "", fmt.Errorf("the claim's script returned %d values", len(both))
	}
	n, err := both[0].AsInt64()
	if err != nil {
		return false, "", err
	}
	if text, err = both[1].ToString(); valkey.IsValkeyNil(err) {
		err = nil
	}
	return n == 1, text, err
}

// prolong gives a claim another life, and reports whether it is still the caller's.
func (s *Shared) prolong(ctx context.Context, c valkey.Client, domain dnsname.Name, token string, life time.Duration) (bool, error) {
	n, err := s.scripts.prolong.Exec(ctx, c, []string{s.claimKey(domain)}, []string{token, strconv.FormatInt(life.Milliseconds(), 10)}).AsInt64()
	return n == 1, err
}

// drop removes a value that could not be read.
func (s *Shared) drop(ctx context.Context, c valkey.Client, domain dnsname.Name, text string) error {
	return s.scripts.drop.Exec(ctx, c, []string{s.valueKey(domain)}, []string{text}).Error()
}

// epoch reads the engine's epoch.
func (s *Shared) epoch(ctx context.Context, c valkey.Client, fresh string) (string, error) {
	return s.scripts.epoch.Exec(ctx, c, []string{s.epochKey()}, []string{fresh}).ToString()
}

func millis(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) }
