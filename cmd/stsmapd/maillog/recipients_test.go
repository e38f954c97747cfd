package maillog

import (
	"strings"
	"testing"
)

// recipientLines are those lines of which `warm --maillog` takes domains, and others; want is the domain.
func recipientLines() []struct{ why, line, want string } {
	const front = `Nov 23 16:00:02 mail postfix/smtp[101]: 4F0C31A2B3: `
	const rest = `, delay=0.5, delays=0/0/0.1/0.4, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as 4F0C)`
	return []struct{ why, line, want string }{
		{"sent", front + `to=<u@example.org>, relay=mx.example.org[192.0.2.1]:25` + rest, "example.org"},
		{"in RFC 3339 time",
			`2026-11-23T16:00:02.123456+00:00 mail postfix/smtp[101]: 4F0C31A2B3: to=<u@example.org>, relay=none` +
				rest, "example.org"},
		{"a long queue id", `Nov 23 16:00:02 mail postfix/smtp[101]: 4Bzq0r5hz0zJqkX: to=<u@example.org>, relay=none` +
			rest, "example.org"},
		{"another instance", `Nov 23 16:00:02 mail postfix-out/smtp[101]: 4F0C31A2B3: to=<u@example.org>, relay=none` +
			rest, "example.org"},
		{"a service with a name",
			`Nov 23 16:00:02 mail postfix/bulk/smtp[101]: 4F0C31A2B3: to=<u@example.org>, relay=none` + rest,
			"example.org"},
		{"rewritten", front + `to=<u@example.org>, orig_to=<v@alias.example>, relay=none` + rest, "example.org"},
		{"rewritten, and cut", front + `to=<u@example.org>, orig_to=<v@al`, "example.org"},
		{"given up for now", `Nov 23 16:00:02 mail postfix/error[101]: 4F0C31A2B3: to=<u@example.org>, relay=none` +
			rest, "example.org"},
		{"in capitals", front + `to=<U@EXAMPLE.ORG>, relay=none` + rest, "example.org"},
		{"with SMTPUTF8", front + `to=<ü@bücher.example>, relay=none` + rest, "xn--bcher-kva.example"},
		{"a hostile local part", front + `to=<"a@evil.example>, relay=\"x"@example.org>, relay=none` + rest,
			"example.org"},
		{"a hostile reason", front +
			`to=<u@example.org>, relay=x, status=deferred (/smtp[1]: 4F0C3: to=<u@evil.example>, relay=x)`,
			"example.org"},
		{"a line that ends in the relay", front + `to=<u@example.org>, relay=mx.exam`, "example.org"},
		{"a line that ends in the status", front + `to=<u@example.org>, relay=none, delay=0.5, dsn=2.0.0, status=se`,
			"example.org"},
		{"a carriage return", front + `to=<u@example.org>, relay=none` + rest + "\r", "example.org"},
		{"an address literal", front + `to=<u@[192.0.2.1]>, relay=none` + rest, ""},
		{"no domain", front + `to=<root>, relay=none` + rest, ""},
		{"one label", front + `to=<u@localhost>, relay=none` + rest, ""},
		{"no UTF-8", front + "to=<u@ex\xffample.org>, relay=none" + rest, ""},
		{"no UTF-8 elsewhere", front + "to=<u\xff@example.org>, relay=none, status=deferred (\xfe)", "example.org"},
		{"a content filter", front + `to=<u@example.org>, relay=127.0.0.1[127.0.0.1]:10024` + rest, ""},
		{"a content filter over IPv6", front + `to=<u@example.org>, relay=localhost[::1]:10024` + rest, ""},
		{"a socket", front + `to=<u@example.org>, relay=mail.example.org[/run/filter.sock]` + rest, ""},
		{"local mail", `Nov 23 16:00:02 mail postfix/local[101]: 4F0C31A2B3: to=<u@example.org>, relay=local` + rest,
			""},
		{"a mailbox", `Nov 23 16:00:02 mail postfix/virtual[101]: 4F0C31A2B3: to=<u@example.org>, relay=virtual` +
			rest, ""},
		{"LMTP", `Nov 23 16:00:02 mail postfix/lmtp[101]: 4F0C31A2B3: to=<u@example.org>, relay=dovecot` + rest, ""},
		{"a refused recipient",
			`Nov 23 16:00:02 mail postfix/smtpd[101]: NOQUEUE: reject: RCPT from x[192.0.2.7]: 550; ` +
				`from=<a@b.example> to=<u@example.org> proto=ESMTP helo=<x>`, ""},
		{"the sender", `Nov 23 16:00:02 mail postfix/qmgr[101]: 4F0C31A2B3: from=<a@b.example>, size=321, ` +
			`nrcpt=1 (queue active)`, ""},
		{"a line that ends in the address", front + `to=<u@example.org`, ""},
		{"another program", `Nov 23 16:00:02 mail evil[101]: 4F0C31A2B3: to=<u@example.org>, relay=none` + rest, ""},
		{"nothing", "", ""},
	}
}

// TestRecipients: a Report of each line has its domain, once.
func TestRecipients(t *testing.T) {
	for _, c := range recipientLines() {
		r := reportOf(t, c.line+"\n"+c.line)
		var names []string
		for _, d := range r.Domains() {
			names = append(names, d.Name.String())
		}
		if got := strings.Join(names, " "); got != c.want {
			t.Errorf("%s: %q, want %q", c.why, got, c.want)
		}
	}
}

// TestVolume: the domain with the most recipients comes first, each recipient counted once however often it is tried.
func TestVolume(t *testing.T) {
	line := func(id, rcpt, status string) string {
		return "Nov 23 16:00:02 mail postfix/smtp[101]: " + id + ": to=<" + rcpt +
			">, relay=none, delay=1, delays=0/0/0/1, dsn=4.4.1, status=" +
			status + " (x)\n"
	}
	var log strings.Builder
	for range 5 {
		log.WriteString(line("4F0C31A2B3", "u@slow.example", "deferred"))
	}
	log.WriteString(line("4F0C31A2B4", "u@two.example", "sent") + line("4F0C31A2B4", "v@two.example", "bounced"))
	log.WriteString(line("4F0C31A2B5", "b@b.example", "sent") + line("4F0C31A2B5", "a@a.example", "sent"))
	var got []string
	for _, d := range reportOf(t, log.String()).Domains() {
		got = append(got, d.Name.String())
	}
	if want := "two.example a.example b.example slow.example"; strings.Join(got, " ") != want {
		t.Errorf("%q, want %q", got, want)
	}
}
