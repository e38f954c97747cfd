package shared

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// What must not come apart is done by scripts at the server. The keys of each are in one hash slot, by the domain in
// braces, so that they work in a cluster too. They use GET, SET, DEL and PUBLISH; packaging/docs/fleet.md lists all
// that the engine must allow.

// luaSet sets a value unless that would lose a newer one, and tells the other hosts. A value in the engine stands
// if it is a policy, or the end of one, that is newer than the new one; but not if its time lies ahead of the writer's
// clock, for then it was written by a clock that ran ahead.
// KEYS: value. ARGV: value, letter, its time, the writer's clock, life in ms, channel ("": tell nobody), message.
const luaSet = `
local old = redis.call('GET', KEYS[1])
if old then
  local kind, at = string.match(old, '^([PT]) (%d+) ')
  at = tonumber(at)
  if at and at <= tonumber(ARGV[4]) then
    if at > tonumber(ARGV[3]) or (kind == 'T' and ARGV[2] == 'P' and at == tonumber(ARGV[3])) then
      return 0
    end
  end
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[5])
if ARGV[6] ~= '' then redis.call('PUBLISH', ARGV[6], ARGV[7]) end
return 1`

// luaClaim writes a claim into the first free slot, unless too many are in use, or a claim is in one and the caller
// does not want to fetch beside it. It returns what became of that (wordGranted and so on), the domain's value, and
// what is in the slots in use. A slot is in use if its text is a claim or a failed attempt (type slot) of a time
// near the caller's clock: its life ends by the engine's clock, unless somebody else wrote it.
// KEYS: value, slots. ARGV: text, life in ms, limit, beside (1 or 0), the caller's clock, AttemptWindow in ms.
const luaClaim = `
local free, claimed, used = nil, false, {}
for i = 2, #KEYS do
  local text = redis.call('GET', KEYS[i])
  local state, at = string.match(text or '', '^1 ([CF]) (%d+) ')
  if state and math.abs(tonumber(ARGV[5]) - tonumber(at)) < tonumber(ARGV[6]) then
    used[#used + 1] = text
    claimed = claimed or state == 'C'
  else
    free = free or KEYS[i]
  end
end
local word = 'granted'
if claimed and (ARGV[4] ~= '1' or #used >= tonumber(ARGV[3])) then
  word = 'taken'
elseif #used >= tonumber(ARGV[3]) then
  word = 'refused'
else
  redis.call('SET', free, ARGV[1], 'PX', ARGV[2])
end
return {word, redis.call('GET', KEYS[1]), unpack(used)}`

// luaReplace gives the first key that has a text another one, with a life; with the life 0 it removes the key. It
// returns whether there is such a key.
// KEYS: all that may have it. ARGV: text, new text, life in ms.
const luaReplace = `
for _, key in ipairs(KEYS) do
  if redis.call('GET', key) == ARGV[1] then
    if ARGV[3] == '0' then redis.call('DEL', key) else redis.call('SET', key, ARGV[2], 'PX', ARGV[3]) end
    return 1
  end
end
return 0`

// luaEpoch returns the engine's epoch, a random word that is gone when the engine has lost its memory; then it sets
// a new one. It writes each time, to learn whether the engine takes writes.
// KEYS: epoch. ARGV: a new epoch.
const luaEpoch = `
local epoch = redis.call('GET', KEYS[1]) or ARGV[1]
redis.call('SET', KEYS[1], epoch)
return epoch`

// commands are the commands that are sent to the engine, with its keys. The scripts are called by EVALSHA.
type commands struct {
	prefix string // of all keys and the channel
	sender string // of this Fleet's messages

	scriptSet, scriptClaim, scriptReplace, scriptEpoch *valkey.Lua
}

func newCommands(prefix, sender string) *commands {
	return &commands{prefix, sender, valkey.NewLuaScript(luaSet), valkey.NewLuaScript(luaClaim),
		valkey.NewLuaScript(luaReplace), valkey.NewLuaScript(luaEpoch)}
}

func (k *commands) valueKey(domain dnsname.Name) string {
	return k.prefix + "{" + domain.String() + "}"
}

func (k *commands) epochKey() string { return k.prefix + "epoch" }

func (k *commands) channel() string { return k.prefix + "news" }

// slotKeys returns the keys of all slots for a domain and an id.
func (k *commands) slotKeys(domain dnsname.Name, id string) []string {
	keys := make([]string, resolver.MaxAttempts)
	for i := range keys {
		keys[i] = fmt.Sprintf("%stry%d:%s", k.valueKey(domain), i+1, id)
	}
	return keys
}

// get reads a domain's value; "": there is none.
func (k *commands) get(ctx context.Context, c valkey.Client, domain dnsname.Name) (string, error) {
	text, err := c.Do(ctx, c.B().Get().Key(k.valueKey(domain)).Build()).ToString()
	if valkey.IsValkeyNil(err) {
		return "", nil
	}
	return text, err
}

// set sets a domain's value, and reports whether it was set: not over a newer one.
func (k *commands) set(ctx context.Context, c valkey.Client, w outgoing, now time.Time) (bool, error) {
	channel := k.channel()
	if w.quiet {
		channel = ""
	}
	life := max(w.value.life, time.Millisecond)
	n, err := k.scriptSet.Exec(ctx, c, []string{k.valueKey(w.domain)}, []string{w.value.text, string(w.value.kind),
		millis(w.value.at), millis(now), lifeMillis(life), channel, message(k.sender, w.domain)}).AsInt64()
	return n == 1, err
}

// claimed is what luaClaim returns.
type claimed struct {
	word  string
	value string   // of the domain; "": there is none
	used  []string // what is in the slots in use
}

// The words of luaClaim.
const (
	wordGranted = "granted"
	wordTaken   = "taken"
	wordRefused = "refused"
)

// claim writes a claim into one of the slots, if it may.
func (k *commands) claim(ctx context.Context, c valkey.Client, h holding, a resolver.Attempt) (claimed, error) {
	beside := "0"
	if a.Beside {
		beside = "1"
	}
	keys := append([]string{k.valueKey(h.domain)}, h.slots...)
	reply, err := k.scriptClaim.Exec(ctx, c, keys,
		[]string{h.text, lifeMillis(claimLife), strconv.Itoa(a.Limit), beside,
			millis(h.began), lifeMillis(resolver.AttemptWindow)}).ToArray()
	if err != nil {
		return claimed{}, err
	}
	texts := make([]string, len(reply))
	for i, r := range reply {
		if texts[i], err = r.ToString(); err != nil && !valkey.IsValkeyNil(err) {
			return claimed{}, err
		}
	}
	if len(texts) < 2 {
		return claimed{}, fmt.Errorf("the claim's script returned %d values", len(texts))
	}
	return claimed{texts[0], texts[1], texts[2:]}, nil
}

// replacement is what luaReplace is told.
type replacement struct {
	keys     []string
	from, to string
	life     time.Duration
}

// replace reports whether one of the keys had the text.
func (k *commands) replace(ctx context.Context, c valkey.Client, r replacement) (bool, error) {
	n, err := k.scriptReplace.Exec(ctx, c, r.keys, []string{r.from, r.to, lifeMillis(r.life)}).AsInt64()
	return n == 1, err
}

// epoch reads the engine's epoch.
func (k *commands) epoch(ctx context.Context, c valkey.Client, fresh string) (string, error) {
	return k.scriptEpoch.Exec(ctx, c, []string{k.epochKey()}, []string{fresh}).ToString()
}

func millis(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) }

func lifeMillis(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
