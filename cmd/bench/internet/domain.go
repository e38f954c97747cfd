// Package internet is what the bench has in place of the Internet: a DNS server and a policy host for millions of
// domains, as near or as far as a row wants them.
package internet

import (
	"fmt"
	"strconv"
	"strings"
)

// The zones. A domain is n<8 digits>.<zone>.test.
const (
	Kept = "kept" // every domain has a policy; the stores that stsmapd is started with hold those
	Near = "near" // no domain has one, and the DNS says so at once
	Far  = "far"  // one domain in 20 has one; DNS and policy host are 20 ms away
)

// oneIn is how many far domains there are for each one with a policy.
const oneIn = 20

// Domain returns the name of the n-th domain of a zone.
func Domain(zone string, n int) string { return string(AppendDomain(nil, zone, n)) }

// AppendDomain appends the name of the n-th domain of a zone.
func AppendDomain(dst []byte, zone string, n int) []byte {
	dst = append(dst, 'n')
	for unit := 10_000_000; unit > 0; unit /= 10 {
		dst = append(dst, byte('0'+n/unit%10))
	}
	dst = append(dst, '.')
	dst = append(dst, zone...)
	return append(dst, ".test"...)
}

// parseDomain returns the zone and the number of a domain.
func parseDomain(name string) (zone string, n int, ok bool) {
	labels := strings.Split(name, ".")
	if len(labels) != 3 || labels[2] != "test" || !strings.HasPrefix(labels[0], "n") {
		return "", 0, false
	}
	n, err := strconv.Atoi(labels[0][1:])
	return labels[1], n, err == nil
}

// hasPolicy reports whether the n-th domain of a zone has a policy.
func hasPolicy(zone string, n int) bool { return zone == Kept || zone == Far && n%oneIn == 0 }

// PolicyText returns the policy file of a domain.
func PolicyText(domain string) string {
	return fmt.Sprintf("version: STSv1\r\nmode: enforce\r\nmx: mx1.%s\r\nmx: *.%s\r\nmax_age: 604800\r\n", domain,
		domain)
}
