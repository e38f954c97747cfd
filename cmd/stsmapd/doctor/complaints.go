package doctor

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/term"
)

// judgeWarnings judges what postconf and `postfix check` complained about.
func (d *diagnosis) judgeWarnings() {
	host := view{facts: d.facts}
	d.judgeTwice(host)
	for _, text := range d.facts.Warnings {
		f := Finding{ID: "postfix-warning", Severity: Note, Problem: "Postfix says: " + text}
		var after string
		name := ""
		switch {
		case strings.Contains(text, twiceSet):
			continue
		case strings.Contains(text, "unused parameter: "):
			_, after, _ = strings.Cut(text, "unused parameter: ")
			name, _, _ = strings.Cut(after, "=")
			name, f.about = strings.TrimSpace(name), strings.TrimSpace(name)
			f.ID = "unknown-parameter"
			f.Problem = fmt.Sprintf("this Postfix has no parameter %s: the line has no effect", name)
			if meant := d.nearest(name); meant != "" && isTLSName(meant) {
				f.Severity = Warning
				f.Cure = fmt.Sprintf("write %s if that was meant, and remove %s", meant, name)
			}
		case strings.Contains(text, "missing '}'"), strings.Contains(text, "missing '='"),
			strings.Contains(text, "fatal: "):
			f.ID, f.Severity = "configuration-malformed", Error
			f.Problem = "Postfix cannot read its configuration: " + text + ": Postfix or the SMTP client does not start"
			f.Cure = "repair that line"
		}
		d.add(host, f)
	}
}

// twiceSet is what postconf says before the name and the value of a line that a later one replaces.
const twiceSet = "overriding earlier entry: "

// judgeTwice judges parameters that main.cf sets twice. postconf reads main.cf several times, and then says of the line
// that counts, too, that an earlier one replaces it.
func (d *diagnosis) judgeTwice(host view) {
	var same, differ []string
	for _, text := range d.facts.Warnings {
		_, entry, found := strings.Cut(text, twiceSet)
		if !found {
			continue
		}
		name, value, _ := strings.Cut(entry, "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if value == d.facts.Written[name] {
			same = include(same, name)
			continue
		}
		differ = append(differ, name)
		f := Finding{ID: "set-twice", Severity: Note, about: name, Cure: "remove the line that is wrong",
			Problem: fmt.Sprintf("main.cf sets %s twice, and the last one counts: the earlier %s = %s has no effect",
				name, name, value)}
		if isTLSName(name) {
			f.Severity = Warning
		}
		d.add(host, f)
	}
	for _, name := range same {
		if !slices.Contains(differ, name) {
			d.add(host, Finding{ID: "set-twice", Severity: Note, about: name,
				Problem: fmt.Sprintf("main.cf sets %s twice, to the same value", name)})
		}
	}
}

// isTLSName reports whether a parameter has to do with how mail is sent and protected.
func isTLSName(name string) bool {
	return strings.HasPrefix(name, "smtp_") || strings.HasPrefix(name,
		"tls_") || name == "relayhost" || name == ignoreMX
}

// nearest returns the parameter that differs by at most two letters from a name that Postfix does not know, "" if there
// is none.
func (d *diagnosis) nearest(name string) string {
	best, least := "", 3
	for _, known := range slices.Sorted(maps.Keys(d.facts.Defaults)) {
		if known != name && len(known)-len(name) < least && len(name)-len(known) < least {
			if n := term.Distance(known, name); n < least {
				best, least = known, n
			}
		}
	}
	return best
}

// judgeInstances judges the other instances of this Postfix, which send mail too.
func (d *diagnosis) judgeInstances() {
	for _, instance := range d.facts.Instances {
		f := Finding{ID: "other-instance", Severity: Warning,
			Cure: fmt.Sprintf("see `stsmapd postfix -c %s`, which has --apply too", quote(instance.Directory))}
		switch {
		case !instance.Enabled || instance.Err == nil && instance.Report.OK:
			continue
		case instance.Err != nil:
			f.Problem = fmt.Sprintf("the instance in %s could not be checked: %v", instance.Directory, instance.Err)
		default:
			worst := instance.Report.Findings[0]
			f.Severity = worst.Severity
			f.Problem = fmt.Sprintf("the instance in %s: %s", instance.Directory, worst.Problem)
		}
		d.add(view{facts: d.facts}, f)
	}
}
