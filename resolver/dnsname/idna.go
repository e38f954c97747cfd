package dnsname

import (
	"strings"

	"golang.org/x/net/idna"
)

// profile is UTS 46, non-transitional, without the Bidi rule. Postfix does not check that rule either: it delivers to
// names that break it, which would lose their protection if they were refused. The position of hyphens is checked on
// the A-label, which is what the DNS has; so names like `r3---sn.example` are accepted. profile is never changed.
var profile = idna.New(idna.MapForLookup(), idna.Transitional(false), idna.CheckHyphens(false))

// dots replaces the other dots of UTS 46 by ".".
var dots = strings.NewReplacer("\u3002", ".", "\uff0e", ".", "\uff61", ".")

// toASCII converts a valid UTF-8 name to ASCII in lower case: U-labels to A-labels, and other dots of UTS 46 to ".". It
// checks nothing of the labels that are in ASCII. The caller must check the result.
func toASCII(s string) (string, error) {
	labels := strings.Split(dots.Replace(s), ".")
	for i, label := range labels {
		if isASCII(label) {
			labels[i] = strings.ToLower(label)
			continue
		}
		converted, err := profile.ToASCII(label)
		if err != nil {
			return "", err
		}
		labels[i] = converted
	}
	return strings.Join(labels, "."), nil
}
