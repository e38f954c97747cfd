package dnsname

import "golang.org/x/net/idna"

// acePrefix begins every A-label (RFC 5890 section 2.3.2.1).
const acePrefix = "xn--"

// profile is UTS 46, non-transitional, without the Bidi rule, because Postfix leaves that out too: it delivers to names
// that fail it, so refusing such a name would only take its protection away. Where hyphens may stand is checked on the
// A-label, which is what the DNS holds; that leaves names like `r3---sn.example` alone. Nothing writes to it.
var profile = idna.New(idna.MapForLookup(), idna.Transitional(false), idna.CheckHyphens(false))

// toASCII lower-cases a valid UTF-8 name, turns what UTS 46 takes for a dot into one, U-labels into A-labels, and
// checks the A-labels: each must be the only spelling of an allowed U-label. The lengths of name and labels are the
// caller's to check.
func toASCII(s string) (string, error) { return profile.ToASCII(s) }
