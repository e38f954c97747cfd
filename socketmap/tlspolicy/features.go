package tlspolicy

import "strings"

// Features says what the asking Postfix can do and which answers its administrator wants. A map name lists them.
type Features struct {
	DANE   bool // this Postfix does DANE: MTA-STS must not override it
	TLSRPT bool // this Postfix is 3.10 or later: add the policy attributes
	Strict bool // enforce policies in mode testing too
	Defer  bool // answer TEMP, not NOTFOUND, when the DNS lookup of the policy failed
	NoSNI  bool // leave out servername=, which Postfix before 3.4 does not know
	Shadow bool // answer NOTFOUND always, and log the reply that would have been sent
}

// maxFeatures is the longest list of features in bytes that is parsed. All features together are shorter.
const maxFeatures = 64

// ParseFeatures parses a list: `sts` and any features, joined by `+`, each at most once; false for anything else.
func ParseFeatures(list string) (f Features, ok bool) {
	first, rest, more := strings.Cut(list, "+")
	if first != "sts" || len(list) > maxFeatures {
		return Features{}, false
	}
	for more {
		var word string
		word, rest, more = strings.Cut(rest, "+")
		flag := f.flag(word)
		if flag == nil || *flag {
			return Features{}, false
		}
		*flag = true
	}
	return f, true
}

// flag returns the field of the feature with this name, nil for an unknown one.
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

// flags returns the fields in the order in which String writes their names.
func (f *Features) flags() [6]*bool {
	return [...]*bool{&f.DANE, &f.TLSRPT, &f.Strict, &f.Defer, &f.NoSNI, &f.Shadow}
}

// index returns a number below countMaps that is different for each set of features.
func (f Features) index() int {
	i := 0
	for bit, flag := range f.flags() {
		if *flag {
			i |= 1 << bit
		}
	}
	return i
}

// featuresAt returns the features with this index.
func featuresAt(i int) Features {
	var f Features
	for bit, flag := range f.flags() {
		*flag = i&(1<<bit) != 0
	}
	return f
}

// String returns the map name of the features in a fixed order: sts+dane+tlsrpt.
func (f Features) String() string {
	name := "sts"
	for i, flag := range f.flags() {
		if *flag {
			name += "+" + [...]string{"dane", "tlsrpt", "strict", "defer", "nosni", "shadow"}[i]
		}
	}
	return name
}
