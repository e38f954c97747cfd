package trial

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/doctor"
)

// outcome is what became of the messages that one SMTP client was given.
type outcome struct {
	service string // of master.cf
	certain bool   // without a policy too, hosts must prove who they are, which the mail server then cannot
	log     string
	ports   [messages + 1]string // of the mail server, such as "]:2525"
	results map[message]result
}

// result is what became of a message, as Postfix's log says.
type result struct {
	relay  string // such as 127.0.0.1[127.0.0.1]:2525
	status string // sent, deferred or bounced
	reason string
}

func (r result) sent() bool { return r.status == "sent" }

// resultsIn returns the results in a log.
func resultsIn(log string) map[message]result {
	line := regexp.MustCompile(`(?m): to=<(\w+)@` + regexp.QuoteMeta(mailDomain) +
		`>, .*?relay=([^ ,]+), .*?status=(\w+) \((.*)\)$`)
	results := map[message]result{}
	for _, found := range line.FindAllStringSubmatch(log, -1) {
		for m := range messages {
			if found[1] == m.String() {
				results[m] = result{found[2], found[3], found[4]}
			}
		}
	}
	return results
}

// ended reports whether the SMTP client ends before it delivers anything. qmgr(8) then waits for the next one, which
// master(8) starts after a minute.
func ended(log string) bool {
	return regexp.MustCompile(`(?m)/master\[\d+\]: warning: \S+/smtp: bad command startup`).MatchString(log)
}

// judge returns the findings.
func (o outcome) judge() []doctor.Finding {
	var findings []doctor.Finding
	say := func(severity doctor.Severity, id, problem, cure string) {
		findings = append(findings, doctor.Finding{ID: id, Severity: severity, Services: []string{o.service},
			Where: []string{}, Fixes: []doctor.Fix{}, Problem: "tried with " + o.service + ": " + problem, Cure: cure})
	}
	const cure = "mend what the findings above name; where none does, the lines of the log say what is wrong"
	kept, open := o.results[valid].sent(), o.results[free].sent()
	switch {
	case !kept && !open:
		say(doctor.Error, "trial-all-waits", "no mail is delivered at the first attempt: "+o.why(valid), cure)
	case !kept:
		say(doctor.Error, "trial-policy-waits", "mail to a host that meets its policy is not delivered: "+o.why(valid),
			cure)
	case !open && !o.certain:
		say(doctor.Error, "trial-mail-waits", "mail to a domain without a policy is not delivered at the first "+
			"attempt: "+o.why(free), cure)
	}
	for _, m := range []message{untrusted, misnamed} {
		if !o.results[m].sent() {
			continue
		}
		way := ""
		if strings.HasSuffix(o.results[m].relay, o.ports[fallback]) {
			way = " by smtp_fallback_relay"
		}
		say(doctor.Error, "trial-not-enforced", fmt.Sprintf("mail is delivered%s although the host does not meet its "+
			"policy: its certificate is %s", way, flaw(m)),
			"mend what the findings above name; until then no policy protects mail")
		break // one is enough
	}
	if findings == nil {
		say(doctor.Note, "trial", fmt.Sprintf("mail to a host that meets its policy was delivered (%s); mail to one "+
			"whose certificate is %s, and to one whose certificate is %s, was not (%s; %s)", connection(o.log),
			flaw(untrusted), flaw(misnamed), o.results[untrusted].reason, o.results[misnamed].reason), "")
	}
	return findings
}

// flaw says what is wrong with the certificate of a host that does not meet the policy.
func flaw(m message) string {
	if m == untrusted {
		return "not trusted"
	}
	return "for another name"
}

// why says why a message was not delivered, with the lines of the log that may have to do with it.
func (o outcome) why(m message) string {
	text := fmt.Sprintf("no result after %v", limit)
	switch r, ok := o.results[m]; {
	case ok:
		text = fmt.Sprintf("%s (%s)", r.status, r.reason)
	case ended(o.log):
		text = "the SMTP client ends"
	}
	if complaints := o.complaints(m); complaints != nil {
		text += `; Postfix's log: "` + strings.Join(complaints, `"; "`) + `"`
	}
	return text
}

// complaints returns the first complaints in the log of the programs on the way of a message. Those about other
// messages are left out.
func (o outcome) complaints(m message) []string {
	const enough = 4
	line := regexp.MustCompile(`(?m)/(?:smtp|tlsmgr|tlsproxy|proxymap|qmgr|master)\[\d+\]: ` +
		`((?:warning: |error: |fatal: |panic: |certificate verification failed |cannot ).*)$`)
	port := regexp.MustCompile(regexp.QuoteMeta(loopback) + `\]:\d+`)
	var all []string
	seen := map[string]bool{}
	for _, found := range line.FindAllStringSubmatch(o.log, -1) {
		text := found[1]
		if at := port.FindString(text); at != "" && at != loopback+o.ports[m] || seen[text] || len(all) == enough {
			continue
		}
		seen[text] = true
		all = append(all, text)
	}
	return all
}

// connection returns how the verified connection was made.
func connection(log string) string {
	line := regexp.MustCompile(`(?m): (Verified TLS connection established .*? with cipher \S+)`)
	if found := line.FindStringSubmatch(log); found != nil {
		return found[1]
	}
	return "Postfix did not log how"
}
