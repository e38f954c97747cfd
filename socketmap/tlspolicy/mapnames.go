package tlspolicy

import (
	"errors"
	"fmt"
	"strings"
)

// UnknownMapError means that a map name is unknown. The administrator must correct Postfix's main.cf, or add the name
// to [maps] of the configuration.
type UnknownMapError struct{ Name string }

// Error implements error.
func (e *UnknownMapError) Error() string {
	return fmt.Sprintf("unknown map name %.80q: the last part of the socketmap in main.cf must be sts, "+
		"or sts and more of +dane +tlsrpt +strict +defer +nosni +shadow, or a name of [maps] in stsmapd.toml", e.Name)
}

// ForeignCommandError means that the client sent a command that postfix-tlspol's own program sends to its daemon. The
// text names the command of stsmapd that takes its place.
type ForeignCommandError struct{ Command, Counterpart string }

// Error implements error.
func (e *ForeignCommandError) Error() string {
	return fmt.Sprintf("this is stsmapd, which does not have postfix-tlspol's command %s: use `%s`", e.Command,
		e.Counterpart)
}

// MapNames says what map names mean: lists of features, the names that other daemons use, and those that [maps] of the
// configuration adds. The zero MapNames has none of the last kind.
type MapNames struct{ configured map[string]Features }

// NewMapNames returns the map names with those of [maps], for which CheckMapName returns nil.
func NewMapNames(configured map[string]Features) MapNames {
	names := MapNames{make(map[string]Features, len(configured))}
	for name, f := range configured {
		names.configured[canonical(name)] = f
	}
	return names
}

// maxMapName is the length of the longest name in bytes that [maps] may have.
const maxMapName = 100

// CheckMapName returns an error for a name that [maps] cannot give a meaning to: a list of features, whose meaning is
// fixed, and what cannot stand at the end of a socketmap in main.cf. A name that another daemon uses can have another
// meaning.
func CheckMapName(name string) error {
	switch {
	case name == "sts" || strings.HasPrefix(name, "sts+"):
		return errors.New("the meaning of sts, and of names that begin with sts+, cannot be changed")
	case name == "" || len(name) > maxMapName || strings.ContainsFunc(name, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune(",:{}", r)
	}):
		return fmt.Errorf("it is not 1 to %d printable ASCII characters without spaces, commas, colons and braces, "+
			"as Postfix's main.cf can hold them", maxMapName)
	}
	return nil
}

// Parse returns the features that a map name stands for. The error is an *UnknownMapError or, for the commands of
// postfix-tlspol, a *ForeignCommandError.
func (m MapNames) Parse(name string) (Features, error) {
	if f, ok := m.configured[canonical(name)]; ok {
		return f, nil
	}
	if f, ok := otherDaemonsName(name); ok {
		return f, nil
	}
	if f, ok := ParseFeatures(name); ok {
		return f, nil
	}
	if counterpart := counterpartOf(name); counterpart != "" {
		return Features{}, &ForeignCommandError{strings.ToUpper(name), counterpart}
	}
	return Features{}, &UnknownMapError{name}
}

// ParseMapName is MapNames.Parse without names of a configuration.
func ParseMapName(name string) (Features, error) { return MapNames{}.Parse(name) }

// canonical returns the spelling of a name that is known in any case, and other names as they are.
func canonical(name string) string {
	for _, known := range [...]string{"QUERY", "QUERYwithTLSRPT"} {
		if strings.EqualFold(name, known) {
			return known
		}
	}
	return name
}

// otherDaemonsName returns the features of the map names that postfix-mta-sts-resolver and postfix-tlspol use.
func otherDaemonsName(name string) (Features, bool) {
	switch canonical(name) {
	case "postfix":
		return Features{}, true
	case "QUERY":
		return Features{DANE: true}, true
	case "QUERYwithTLSRPT":
		return Features{DANE: true, TLSRPT: true}, true
	}
	return Features{}, false
}

// counterpartOf returns the command of stsmapd that does what a command of postfix-tlspol does; "" for other names.
func counterpartOf(command string) string {
	switch strings.ToUpper(command) {
	case "JSON":
		return "stsmapd check DOMAIN` or `stsmapd query DOMAIN"
	case "DUMP":
		return "stsmapd cache list"
	case "EXPORT":
		return "stsmapd cache export --postfix"
	case "PURGE":
		return "stsmapd cache forget DOMAIN"
	}
	return ""
}
