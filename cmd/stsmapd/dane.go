package main

import (
	"context"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/stsmapd/stsmapd/resolver/dnsclient"
	"github.com/stsmapd/stsmapd/socketmap/tlspolicy"
)

const (
	mainCF = "/etc/postfix/main.cf"
	// daneLook is the time between two looks at whether somebody asks with the feature dane.
	daneLook = 5 * time.Second
	// daneProbe is the time between two looks at whether the DNS servers validate.
	daneProbe = 10 * time.Minute
	// daneLimit bounds one.
	daneLimit = 30 * time.Second
)

// watchDANE warns, once for each state, that the map feature dane has no effect because the DNS servers do not say what
// DNSSEC proves. It says nothing before a Postfix asks with the feature, or main.cf says that it will. It returns when
// ctx ends.
func (d *daemon) watchDANE(ctx context.Context, names tlspolicy.MapNames, questions func() []tlspolicy.Count) {
	tick := time.NewTicker(daneLook)
	defer tick.Stop()
	text, _ := os.ReadFile(mainCF) // there may be none
	wanted := namesDANE(string(text), names)
	var judged *dnsclient.Client
	var probed time.Time
	said := ""
	for {
		wanted = wanted || slices.ContainsFunc(questions(), func(c tlspolicy.Count) bool {
			f, ok := tlspolicy.ParseFeatures(c.Map)
			return ok && f.DANE && c.N > 0
		})
		if dns := d.dns.Load(); wanted && (dns != judged || time.Since(probed) >= daneProbe) {
			problem, known := daneProblem(ctx, dns)
			if known {
				judged, probed = dns, time.Now()
				d.tellDANE(said, problem)
				said = problem
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// daneProblem returns why DANE cannot be used, "" where it can; false: not known now.
func daneProblem(ctx context.Context, dns *dnsclient.Client) (problem string, known bool) {
	if !dns.AuthenticServers() {
		return "the AD bit of the resolver is not trusted", true
	}
	ctx, cancel := context.WithTimeout(ctx, daneLimit)
	defer cancel()
	switch validates, err := dns.Validates(ctx); {
	case err != nil:
		return "", false
	case !validates:
		return "the resolver does not validate", true
	}
	return "", true
}

// tellDANE logs a change. The line has at most 120 characters in the journal.
func (d *daemon) tellDANE(before, problem string) {
	switch {
	case problem != "" && problem != before:
		d.log.Warn("DANE is not used: "+problem+"; see DANE in stsmapd(8)", "event", "dane_blind")
	case problem == "" && before != "":
		d.log.Info("DANE is used: the resolver validates", "event", "dane_ready")
	}
}

// namesDANE reports whether a main.cf has a socketmap whose name has the feature dane.
func namesDANE(text string, names tlspolicy.MapNames) bool {
	socketmap := regexp.MustCompile(`socketmap:(?:inet|unix):[^\s,]*:([^\s,:]+)`)
	for line := range strings.Lines(text) {
		if strings.HasPrefix(strings.TrimSpace(line), "#") {
			continue
		}
		for _, m := range socketmap.FindAllStringSubmatch(line, -1) {
			if f, err := names.Parse(m[1]); err == nil && f.DANE {
				return true
			}
		}
	}
	return false
}
