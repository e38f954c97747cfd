package doctor

import (
	"fmt"
	"strings"
)

// predecessorFiles are where postfix-mta-sts-resolver has its configuration.
func predecessorFiles() []string {
	return []string{"/etc/mta-sts-daemon.yml", "/usr/local/etc/mta-sts-daemon.yml"}
}

// parseZones returns the zones of the configuration of postfix-mta-sts-resolver, which is YAML, and whether they
// enforce policies in mode testing. The default zone is "default_zone".
func parseZones(text string) map[string]bool {
	zones := map[string]bool{}
	zone, section, sectionIndent := "", "", 0
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(strings.TrimRight(line, " \t\r\n"), " #")
		body := strings.TrimLeft(line, " ")
		if body == "" || body[0] == '#' {
			continue
		}
		indent := len(line) - len(body)
		name, value, _ := strings.Cut(body, ":")
		name, value = strings.Trim(name, `"'`), strings.ToLower(strings.TrimSpace(value))
		switch {
		case indent == 0:
			section, sectionIndent, zone = name, 0, ""
			if name == "default_zone" {
				zone = name
				zones[zone] = false
			}
		case section == "zones" && (sectionIndent == 0 || indent <= sectionIndent):
			sectionIndent, zone = indent, name
			zones[zone] = false
		case name == "strict_testing" && zone != "":
			zones[zone] = value == "true" || value == "yes" || value == "on"
		}
	}
	return zones
}

// judgePredecessor judges what another daemon did for this Postfix, and stsmapd does not under the same map name.
func (j mapsRules) judgePredecessor(t lookupTable, fixes []Fix) {
	if j.strictLost(t) {
		j.addToAll(Finding{
			ID: "strict-lost", Severity: Warning, Fixes: fixes,
			Problem: fmt.Sprintf("postfix-mta-sts-resolver enforced policies in mode testing here "+
				"(strict_testing: true in "+
				"its configuration), and stsmapd does not for the map name %s", t.name),
			Cure: fmt.Sprintf("use the name %s; or keep %s, and make it strict in [maps] of stsmapd.toml",
				mapName(j.wanted(t)), t.name),
		})
	}
	v := j.views[0]
	level, legacy := v.level()
	if t.claimed().DANE && !isDANE(level) && level != "none" && level != "may" && v.daneReady() {
		j.addToAll(Finding{
			ID: "dane-partial", Severity: Warning,
			Problem: fmt.Sprintf("the map name %s says that Postfix does DANE, and %s = %s: domains with DANE and "+
				"without an MTA-STS policy are sent mail without DANE; postfix-tlspol answered for them", t.name,
				securityLevel, level),
			Cure: fmt.Sprintf("set %s = dane, and name the domains that must have more in a table before stsmapd in %s",
				securityLevel, policyMaps),
		})
	}
	mandatory := level == "encrypt" || level == "verify" || level == "secure"
	if mandatory && !legacy && !t.claimed().Defer {
		j.addToAll(Finding{
			ID: "defer-possible", Severity: Note,
			Problem: fmt.Sprintf("%s = %s: where mail must never be sent with less protection than the recipient's "+
				"domain asks for, +defer in the map name lets mail wait while the DNS does not answer",
				securityLevel, level),
		})
	}
}

// strictLost reports whether policies in mode testing were enforced under this map name, and are not any more.
func (s scope) strictLost(t lookupTable) bool {
	f := s.views[0].facts
	strict, known := f.StrictZones[t.name]
	if !known {
		strict = f.StrictZones["default_zone"]
	}
	return strict && !t.claimed().Strict
}
