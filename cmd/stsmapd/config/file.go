package config

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/term"
)

// entry is one key of a file with its value, in the file's order.
type entry struct {
	key   string // with its table
	line  int
	value any  // string, int64, float64, bool, a time, []any; a map for the head of a table or an inline table
	opens bool // one of [[override]]
}

// read reads the text of a file into the configuration.
func (c *Config) read(text []byte) error {
	entries, err := parse(text)
	if err != nil {
		line, msg := syntax(err)
		return c.errorAt(line, msg)
	}
	known := map[string]setting{}
	tables := map[string]bool{}
	for _, s := range c.settings() {
		known[s.key] = s
		if table, _, ok := strings.Cut(s.key, "."); ok {
			tables[table] = true
		}
	}
	overrides := overrideReader{config: c}
	for _, e := range entries {
		if e.key == overrideTable || strings.HasPrefix(e.key, overrideTable+".") {
			if err := overrides.add(e); err != nil {
				return err
			}
			continue
		}
		if e.key == mapsTable || strings.HasPrefix(e.key, mapsTable+".") {
			if err := c.addMapName(e); err != nil {
				return err
			}
			continue
		}
		s, ok := known[e.key]
		_, isTable := e.value.(map[string]any)
		switch {
		case ok:
			if err := s.value.set(e.value); err != nil {
				return c.errorAt(e.line, s.wrong(describe(e.value), err))
			}
			c.located(e)
		case tables[e.key] && isTable:
		case tables[e.key]:
			return c.errorAt(e.line, e.key+" is "+describe(e.value)+", must be a table: ["+e.key+"]")
		default:
			return c.errorAt(e.line, unknown(e.key, slices.Concat(keys(c.settings()), slices.Collect(maps.Keys(tables)),
				[]string{overrideTable, mapsTable})))
		}
	}
	if c.Overrides, err = overrides.end(); err != nil {
		return err
	}
	return c.checkAll()
}

// located notes where a setting is in the file.
func (c *Config) located(e entry) {
	c.line[e.key] = e.line
	c.from[e.key] = c.File + ":" + strconv.Itoa(e.line)
}

// keys returns the keys of settings.
func keys(all []setting) []string {
	names := make([]string, len(all))
	for i, s := range all {
		names[i] = s.key
	}
	return names
}

// unknown is the text for a key that no setting has. A setting in the wrong table is the most likely mistake.
func unknown(key string, names []string) string {
	text := "unknown setting " + quote(key)
	last := key[strings.LastIndexByte(key, '.')+1:]
	best := ""
	for _, name := range names {
		if strings.HasSuffix(name, "."+last) || name == last {
			best = name
			break
		}
	}
	if best = cmp.Or(best, term.Nearest(key, names)); best != "" {
		text += "; do you mean " + best + "?"
	}
	return text
}

// parse returns the entries of a TOML file. It asks the library twice: for the values, as it also finds tables and keys
// that appear twice, and for the lines.
func parse(text []byte) ([]entry, error) {
	all := map[string]any{}
	if err := toml.Unmarshal(text, &all); err != nil {
		return nil, err
	}
	var out []entry
	var p unstable.Parser
	p.Reset(text)
	table, at := []string(nil), all
	seen := map[string]int{}
	for p.NextExpression() {
		e := p.Expression()
		keys, line := keysOf(&p, e)
		if len(keys) == 0 {
			continue
		}
		switch e.Kind {
		case unstable.KeyValue:
			out = appendEntries(out, strings.Join(slices.Concat(table, keys), "."), line, descend(at, keys))
		case unstable.Table:
			table = keys
			at, _ = descend(all, keys).(map[string]any)
			out = append(out, entry{strings.Join(keys, "."), line, at, false})
		case unstable.ArrayTable:
			table = keys
			name := strings.Join(keys, ".")
			tables, _ := descend(all, keys).([]any)
			if i := seen[name]; i < len(tables) {
				at, _ = tables[i].(map[string]any)
			}
			seen[name]++
			var head any = []any{at}
			if name == overrideTable {
				head = at
			}
			out = append(out, entry{name, line, head, name == overrideTable})
		}
	}
	return out, nil
}

// keysOf returns the parts of an expression's key, and its line.
func keysOf(p *unstable.Parser, e *unstable.Node) (keys []string, line int) {
	if e.Kind != unstable.KeyValue && e.Kind != unstable.Table && e.Kind != unstable.ArrayTable {
		return nil, 0
	}
	for it := e.Key(); it.Next(); {
		if line == 0 {
			line = p.Shape(it.Node().Raw).Start.Line
		}
		keys = append(keys, string(it.Node().Data))
	}
	return keys, line
}

// descend returns the value at keys; of an array of tables, in the last one.
func descend(at map[string]any, keys []string) any {
	var value any = at
	for _, key := range keys {
		if list, ok := value.([]any); ok && len(list) > 0 {
			value = list[len(list)-1]
		}
		table, _ := value.(map[string]any)
		value = table[key]
	}
	return value
}

// appendEntries appends a key and its value; for an inline table, those in it.
func appendEntries(out []entry, key string, line int, value any) []entry {
	switch v := value.(type) {
	case map[string]any:
		out = append(out, entry{key, line, v, false})
		for _, name := range slices.Sorted(maps.Keys(v)) {
			out = appendEntries(out, key+"."+name, line, v[name])
		}
		return out
	case []any:
		if key != overrideTable {
			break
		}
		for _, item := range v {
			table, ok := item.(map[string]any)
			if !ok {
				break
			}
			out = append(out, entry{key, line, table, true})
			for _, name := range slices.Sorted(maps.Keys(table)) {
				out = appendEntries(out, key+"."+name, line, table[name])
			}
		}
		return out
	}
	return append(out, entry{key, line, value, false})
}

// syntax returns the line of an error of the TOML library, and what is wrong there.
func syntax(err error) (line int, msg string) {
	var decode *toml.DecodeError
	if !errors.As(err, &decode) {
		return 0, "no valid TOML: " + strings.TrimPrefix(err.Error(), "toml: ")
	}
	line, column := decode.Position()
	msg = strings.TrimPrefix(decode.Error(), "toml: ")
	switch {
	case strings.Contains(msg, "start of value"):
		msg += `; a text needs quotes, such as "info"`
	case strings.Contains(msg, "leading zero"):
		msg += `; permissions need quotes, such as "0666"`
	}
	return line, "no valid TOML at column " + strconv.Itoa(column) + ": " + msg
}
