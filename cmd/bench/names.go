package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/stsmapd/stsmapd/socketmap/netstring"
)

// The zones of the bench's Internet. A domain is n<8 digits>.<zone>.test.
const (
	kept = "kept" // every domain has a policy; the stores that stsmapd is started with hold those
	near = "near" // no domain has one, and the DNS says so at once
	far  = "far"  // one domain in 20 has one; DNS and policy host are 20 ms away
)

// oneIn is how many of the far domains there are for one with a policy.
const oneIn = 20

// domain is the n-th domain of a zone.
func domain(zone string, n int) string { return string(appendDomain(nil, zone, n)) }

func appendDomain(dst []byte, zone string, n int) []byte {
	dst = append(dst, 'n')
	for unit := 10_000_000; unit > 0; unit /= 10 {
		dst = append(dst, byte('0'+n/unit%10))
	}
	dst = append(dst, '.')
	dst = append(dst, zone...)
	return append(dst, ".test"...)
}

// parseDomain takes a domain apart.
func parseDomain(name string) (zone string, n int, ok bool) {
	labels := strings.Split(name, ".")
	if len(labels) != 3 || labels[2] != "test" || !strings.HasPrefix(labels[0], "n") {
		return "", 0, false
	}
	n, err := strconv.Atoi(labels[0][1:])
	return labels[1], n, err == nil
}

// hasPolicy reports whether the n-th domain of a zone has a policy.
func hasPolicy(zone string, n int) bool { return zone == kept || zone == far && n%oneIn == 0 }

// policyText is the policy file of a domain.
func policyText(domain string) string {
	return fmt.Sprintf("version: STSv1\r\nmode: enforce\r\nmx: mx1.%s\r\nmx: *.%s\r\nmax_age: 604800\r\n", domain,
		domain)
}

// names are the domains that a load asks for.
type names struct {
	Zone     string
	First    int
	Count    int  // they begin again after so many; 0: never
	Shuffled bool // in no order
}

// appendQuestion appends the frame of the i-th question. It allocates nothing when dst has room.
func (n names) appendQuestion(dst []byte, i int) []byte {
	if n.Shuffled {
		i = int((uint64(i) + 1) * 0x9e3779b97f4a7c15 >> 1) // Fibonacci hashing
	}
	if n.Count > 0 {
		i %= n.Count
	}
	var scratch [64]byte
	return netstring.Append(dst, []byte("sts "), appendDomain(scratch[:0], n.Zone, n.First+i))
}
