package config

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stsmapd/stsmapd/cache/shared"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/logging"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/term"
)

// value is where a setting is kept, and what it may be.
type value interface {
	set(read any) error // read is what TOML has; errKind, or why it cannot be used
	want() string       // completes "must be"; "": the table of settings says it
	String() string     // as TOML
}

// errKind means that a value cannot be used, for a reason that is plain from what the setting must be.
var errKind = errors.New("wrong kind of value")

// text is any text that check, where it is not nil, accepts.
type text struct {
	at    *string
	check func(string) error
}

func (v text) set(read any) error {
	s, ok := read.(string)
	if !ok {
		return errKind
	}
	if strings.ContainsRune(s, 0) {
		return errors.New("it has a zero byte")
	}
	if v.check != nil {
		if err := v.check(s); err != nil {
			return err
		}
	}
	*v.at = s
	return nil
}

func (v text) want() string   { return "a text in quotes" }
func (v text) String() string { return quote(*v.at) }

// address is the URL of an engine. A password in it is not shown.
type address struct{ text }

func (v address) String() string {
	e, err := shared.ParseEndpoint(*v.at)
	if err != nil && *v.at != "" {
		return `"(not shown)"`
	}
	return quote(e.String())
}

// optional is a text that differs from "" where it is not set.
type optional struct {
	at    **string
	check func(string) error
}

func (v optional) set(read any) error {
	var s string
	if err := (text{&s, v.check}).set(read); err != nil {
		return err
	}
	*v.at = &s
	return nil
}

func (v optional) want() string { return text{}.want() }
func (v optional) String() string {
	if *v.at == nil {
		return quote("")
	}
	return quote(**v.at)
}

// list is a list of at least least texts that check accepts.
type list struct {
	at    *[]string
	check func(string) error
	least int
}

func (v list) set(read any) error {
	all, err := texts(read)
	if err != nil {
		return err
	}
	for _, s := range all {
		switch err := v.check(s); {
		case errors.Is(err, errKind) && len(all) > 1:
			return errors.New(quote(s) + " is wrong")
		case errors.Is(err, errKind):
			return errKind
		case err != nil:
			return fmt.Errorf("%s: %w", quote(s), err)
		}
	}
	if len(all) < v.least {
		return errKind
	}
	*v.at = all
	return nil
}

// texts returns a TOML array of texts.
func texts(read any) ([]string, error) {
	if all, ok := read.([]string); ok {
		return all, nil // of a flag
	}
	items, ok := read.([]any)
	if !ok {
		return nil, errKind
	}
	var all []string
	for _, item := range items {
		s, ok := item.(string)
		if !ok {
			return nil, fmt.Errorf("%s is no text in quotes", describe(item))
		}
		all = append(all, s)
	}
	return all, nil
}

func (v list) want() string { return "a list of texts" }
func (v list) String() string {
	quoted := make([]string, len(*v.at))
	for i, s := range *v.at {
		quoted[i] = quote(s)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

type boolean struct{ at *bool }

func (v boolean) set(read any) error {
	b, ok := read.(bool)
	if !ok {
		return errKind
	}
	*v.at = b
	return nil
}

func (v boolean) want() string   { return "true or false, without quotes" }
func (v boolean) String() string { return strconv.FormatBool(*v.at) }

// networks are none (false), all (true) or a list of networks.
type networks struct{ at *[]netip.Prefix }

// allNetworks contain every address.
func allNetworks() []netip.Prefix {
	return []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)}
}

func (v networks) set(read any) error {
	if all, ok := read.(bool); ok {
		if *v.at = nil; all {
			*v.at = allNetworks()
		}
		return nil
	}
	list, err := texts(read)
	switch {
	case err != nil:
		return err
	case len(list) == 0:
		return errKind
	}
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		prefix, err := netip.ParsePrefix(s)
		if addr, aerr := netip.ParseAddr(s); aerr == nil && addr.Zone() == "" {
			prefix, err = addr.Prefix(addr.BitLen())
		}
		if err != nil {
			return fmt.Errorf("%s is no network", quote(s))
		}
		out[i] = prefix.Masked()
	}
	*v.at = out
	return nil
}

func (v networks) want() string {
	return `true or false, without quotes, or a list of networks, such as ["fd00:64::/96", "10.0.0.0/8"]`
}

func (v networks) String() string {
	switch {
	case len(*v.at) == 0:
		return "false"
	case slices.Equal(*v.at, allNetworks()):
		return "true"
	}
	all := term.Texts(*v.at)
	return list{at: &all}.String()
}

// within is a value between two bounds, and an example of one.
type within[T any] struct {
	at        *T
	low, high T
	like      string
}

func between(what, low, high, like string) string {
	return "a " + what + " from " + low + " to " + high + ", such as " + like
}

type number within[int]

func (v number) set(read any) error {
	n, ok := read.(int64)
	if !ok || n < int64(v.low) || n > int64(v.high) {
		return errKind
	}
	*v.at = int(n)
	return nil
}

func (v number) want() string {
	return between("number", strconv.Itoa(v.low), strconv.Itoa(v.high), v.like)
}
func (v number) String() string { return strconv.Itoa(*v.at) }

// span is a time such as "30s".
type span within[time.Duration]

func (v span) set(read any) error {
	s, ok := read.(string)
	d, err := time.ParseDuration(s)
	if !ok || err != nil || d < v.low || d > v.high {
		return errKind
	}
	*v.at = d
	return nil
}

func (v span) want() string {
	return between("time", short(v.low), short(v.high), quote(v.like))
}
func (v span) String() string { return quote(short(*v.at)) }

// size is a number of bytes such as "256MiB".
type size within[int64]

func (v size) set(read any) error {
	s, _ := read.(string)
	for i, unit := range sizeUnits() {
		digits, ok := strings.CutSuffix(s, unit)
		if n, err := strconv.ParseUint(digits, 10, 32); ok && err == nil {
			bytes := int64(n) << (10 * (i + 1)) // less than 2^62
			if bytes < v.low || bytes > v.high {
				return errKind
			}
			*v.at = bytes
			return nil
		}
	}
	return errKind
}

func (v size) want() string {
	return between("size", size{at: &v.low}.String(), size{at: &v.high}.String(), quote(v.like))
}

func (v size) String() string {
	n, unit := *v.at>>10, 0
	for ; n%1024 == 0 && n > 0 && unit < len(sizeUnits())-1; unit++ {
		n >>= 10
	}
	return quote(strconv.FormatInt(n, 10) + sizeUnits()[unit])
}

func sizeUnits() []string { return []string{"KiB", "MiB", "GiB"} }

// short is a duration without the zeros that its String adds: 24h, not 24h0m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// mode is permissions in octal.
type mode struct{ at *fs.FileMode }

func (v mode) set(read any) error {
	s, _ := read.(string)
	m, err := strconv.ParseUint(s, 8, 32)
	if err != nil || m > 0o777 {
		return errKind
	}
	*v.at = fs.FileMode(m)
	return nil
}

func (v mode) want() string   { return `permissions in octal and in quotes, such as "0666"` }
func (v mode) String() string { return fmt.Sprintf(`"%04o"`, uint32(*v.at)) }

type level struct{ at *slog.Level }

func (v level) set(read any) error {
	s, _ := read.(string)
	levels := map[string]slog.Level{
		"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
	}
	l, ok := levels[strings.ToLower(s)]
	if !ok {
		return errKind
	}
	*v.at = l
	return nil
}

func (v level) want() string   { return `"debug", "info", "warn" or "error"` }
func (v level) String() string { return quote(strings.ToLower(v.at.String())) }

type format struct{ at *logging.Format }

func (v format) set(read any) error {
	s, _ := read.(string)
	if v.at.UnmarshalText([]byte(s)) != nil {
		return errKind
	}
	return nil
}

func (v format) want() string { return `"text" or "json"` }
func (v format) String() string {
	if *v.at == logging.JSON {
		return `"json"`
	}
	return `"text"`
}

// longest bounds the characters of a value that an error shows.
const longest = 80

func quote(s string) string {
	if r := []rune(s); len(r) > longest {
		s = string(r[:longest]) + "…"
	}
	var out strings.Builder
	_ = term.NewJSONLines(&out).Encode(s) // which is a basic string of TOML, too
	return strings.TrimSuffix(out.String(), "\n")
}

// describe is a value that was read, as the file spells it.
func describe(read any) string {
	switch v := read.(type) {
	case string:
		return quote(v)
	case map[string]any:
		return "a table"
	case []string:
		return list{at: &v}.String()
	case []any:
		var parts []string
		size := 0
		for _, item := range v {
			part := describe(item)
			if size += len(part); size > longest {
				parts = append(parts, "…")
				break
			}
			parts = append(parts, part)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	return fmt.Sprint(read)
}
