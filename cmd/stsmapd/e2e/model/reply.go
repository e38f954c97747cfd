package model

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Text is the policy file as it is served. No two versions have an MX host in common.
func (e File) Text() string { return strings.Join(e.lines(), "\n") + "\n" }

func (e File) lines() []string {
	return []string{
		"version: STSv1", "mode: " + e.Mode, "mx: " + e.mx(), "mx: *." + e.mx(),
		fmt.Sprintf("max_age: %d", int(e.MaxAge/time.Second)),
	}
}

func (e File) mx() string { return fmt.Sprintf("v%d.%s", e.Version, Domain(e.Domain)) }

// binding is what Postfix must be told while the file's policy lives.
func (e File) binding(mapName string) string {
	features := strings.Split(mapName, "+")
	has := func(f string) bool { return slices.Contains(features, f) }
	if e.Mode != "enforce" && (e.Mode != "testing" || !has("strict")) {
		return notFound
	}
	var b strings.Builder
	fmt.Fprintf(&b, "OK secure match=%s:.%s", e.mx(), e.mx())
	if !has("nosni") {
		b.WriteString(" servername=hostname")
	}
	if has("tlsrpt") {
		fmt.Fprintf(&b, " policy_type=sts policy_domain=%s mx_host_pattern=%s mx_host_pattern=*.%s", Domain(e.Domain),
			e.mx(), e.mx())
		for _, line := range e.lines() {
			b.WriteString(" { policy_string = " + line + " }")
		}
	}
	return b.String()
}

const (
	notFound = "NOTFOUND "
	hangup   = "HANGUP "
	// deferred begins the answer for a failed lookup, with the feature defer.
	deferred = "TEMP MTA-STS: cannot find out whether the domain has a policy: "

	// deferredHere begins the answer, with the feature defer, where the host lacks roots or a route.
	deferredHere = "TEMP MTA-STS: this host cannot look for the domain's policy: "
	// waits begins the answer where the host lacks descriptors, or a limit was reached.
	waits = "TEMP stsmapd cannot answer now: "
)

// unsure is the answer when a look failed and nothing is known; temp begins it with the feature defer.
func unsure(mapName, reply, temp string) bool {
	if slices.Contains(strings.Split(mapName, "+"), "defer") {
		return strings.HasPrefix(reply, temp)
	}
	return reply == notFound
}
