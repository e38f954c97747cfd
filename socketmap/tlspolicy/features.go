package tlspolicy

import (
	"fmt"
	"strings"
)

// Features is what a map name says of the Postfix that asks, and of how its administrator wants to be answered.
type Features struct {
	DANE   bool // this Postfix does DANE: never let MTA-STS override it
	TLSRPT bool // this Postfix is 3.10 or later: add the policy attributes
	Strict bool // enforce policies in mode testing too
	Defer  bool // answer TEMP, not NOTFOUND, when the DNS did not say whether there is a policy
	NoSNI  bool // leave out servername=, which Postfix knows from 3.4 on
	Shadow bool // always answer NOTFOUND, and log what would have been answered
}

// UnknownMapError: the map name is none of ours. Postfix's administrator must mend main.cf.
type UnknownMapError struct{ Name string }

// Error implements error.
func (e *UnknownMapError) Error() string {
	return fmt.Sprintf("unknown map name %.80q: the last part of the socketmap in main.cf must be sts, "+
		"or sts and more of +dane +tlsrpt +strict +defer +nosni +shadow", e.Name)
}

// maxMapName bounds what is looked at: every feature once is shorter.
const maxMapName = 64

// ParseMapName parses a map name: `sts` and features joined by `+`, each once, or a name that users of other daemons
// have in their main.cf. The error is an *UnknownMapError.
func ParseMapName(name string) (Features, error) {
	if f, ok := otherName(name); ok {
		return f, nil
	}
	unknown := &UnknownMapError{name}
	first, rest, more := strings.Cut(name, "+")
	if first != "sts" || len(name) > maxMapName {
		return Features{}, unknown
	}
	var f Features
	for more {
		var word string
		word, rest, more = strings.Cut(rest, "+")
		flag := f.flag(word)
		if flag == nil || *flag {
			return Features{}, unknown
		}
		*flag = true
	}
	return f, nil
}

// otherName knows the lists of the daemons that stsmapd replaces.
func otherName(name string) (Features, bool) {
	switch {
	case name == "postfix":
		return Features{}, true
	case strings.EqualFold(name, "QUERY"):
		return Features{DANE: true}, true
	case strings.EqualFold(name, "QUERYwithTLSRPT"):
		return Features{DANE: true, TLSRPT: true}, true
	}
	return Features{}, false
}

func (f *Features) flag(word string) *bool {
	switch word {
	case "dane":
		return &f.DANE
	case "tlsrpt":
		return &f.TLSRPT
	case "strict":
		return &f.Strict
	case "defer":
		return &f.Defer
	case "nosni":
		return &f.NoSNI
	case "shadow":
		return &f.Shadow
	}
	return nil
}
