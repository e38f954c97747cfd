package check

import (
	"fmt"
	"strconv"
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/term"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// OverrideText returns the lines of stsmapd.toml that have a domain's policy ignored through the day of until, UTC. They
// end with a newline.
func OverrideText(domain dnsname.Name, reason string, until time.Time) string {
	return fmt.Sprintf("[[override]]\ndomain = %q\naction = \"ignore\"\nuntil = %s\nreason = %s\n", domain,
		day(until), strconv.Quote(term.Clean(reason)))
}
