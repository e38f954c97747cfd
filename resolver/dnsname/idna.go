package dnsname

import "golang.org/x/net/idna"

// acePrefix begins every A-label (RFC 5890 section 2.3.2.1).
const acePrefix = "xn--"

// profile is UTS 46, non-transitional, without the Bidi rule. Postfix does not check that rule either: it delivers to
// names that break it, which would lose their protection if they were refused. The position of hyphens is checked on
// the A-label, which is what the DNS has; so names like `r3---sn.example` are accepted. profile is never changed.
var profile = idna.New(idna.MapForLookup(), idna.Transitional(false), idna.CheckHyphens(false))

// toASCII converts a valid UTF-8 name to lower case, other dots of UTS 46 to ".", and U-labels to A-labels. It checks
// that each A-label is the canonical encoding of an allowed U-label. The caller must check the lengths.
func toASCII(s string) (string, error) { return profile.ToASCII(s) }
