package maillog

import (
	"strconv"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // the test names a zone
)

// frontLines are fronts of lines, as syslog daemons and container runtimes write them. want: time, host, instance,
// program, pid; "" for a line that is not for us.
func frontLines() []struct{ why, front, want string } {
	return []struct{ why, front, want string }{
		{"traditional", "Nov 23 16:00:02 mail postfix/smtp[101]: ", "2026-11-23T16:00:02Z mail postfix 1 101"},
		{"traditional, a day of one digit", "Nov  7 03:04:05 mail postfix/smtp[101]: ",
			"2026-11-07T03:04:05Z mail postfix 1 101"},
		{"traditional, of last year", "Dec 31 23:59:59 mail postfix/smtp[101]: ",
			"2025-12-31T23:59:59Z mail postfix 1 101"},
		{"traditional, with a fraction", "Nov 23 16:00:02.250 mail postfix/smtp[101]: ",
			"2026-11-23T16:00:02.25Z mail postfix 1 101"},
		{"traditional, without a host", "Nov 23 16:00:02 postfix/smtp[101]: ", "2026-11-23T16:00:02Z  postfix 1 101"},
		{"RFC 3339 with a zone (Debian 13)", "2026-11-23T16:00:02.123456+01:00 mail postfix/smtp[101]: ",
			"2026-11-23T15:00:02.123456Z mail postfix 1 101"},
		{"RFC 3339, UTC", "2026-11-23T16:00:02Z mail postfix/smtp[101]: ", "2026-11-23T16:00:02Z mail postfix 1 101"},
		{"ISO 8601, a zone without a colon", "2026-11-23T16:00:02,5-0730 mail postfix/smtp[101]: ",
			"2026-11-23T23:30:02.5Z mail postfix 1 101"},
		{"ISO 8601 with a space, no zone", "2026-11-23 16:00:02 mail postfix/smtp[101]: ",
			"2026-11-23T16:00:02Z mail postfix 1 101"},
		{"no host, but a level", "2026-11-23T16:00:02.1+00:00 INFO    postfix/smtp[101]: ",
			"2026-11-23T16:00:02.1Z  postfix 1 101"},
		{"docker compose", "mail_1  | Nov 23 16:00:02 mail postfix/smtp[101]: ",
			"2026-11-23T16:00:02Z mail postfix 1 101"},
		{"docker compose, no host", "postfix         | 2026-11-23T16:00:02.1+00:00 INFO    postfix/smtp[101]: ",
			"2026-11-23T16:00:02.1Z  postfix 1 101"},
		{"a container's log file", "2026-11-23T16:00:02.1Z stdout F Nov 23 16:00:01 mail postfix/smtp[101]: ",
			"2026-11-23T16:00:02.1Z mail postfix 1 101"},
		{"stored as it was sent", "<22>Nov 23 16:00:02 mail postfix/smtp[101]: ",
			"2026-11-23T16:00:02Z mail postfix 1 101"},
		{"RFC 5424", "<22>1 2026-11-23T16:00:02.1Z mail postfix/smtp 101 - - ",
			"2026-11-23T16:00:02.1Z mail postfix 1 101"},
		{"RFC 5424 with structured data and a mark", "<22>1 2026-11-23T16:00:02Z mail postfix/smtp 101 ID47 " +
			`[x@1 a="\]\"]: y"][z] ` + "\xef\xbb\xbf", "2026-11-23T16:00:02Z mail postfix 1 101"},
		{"RFC 5424 without host and pid", "<22>1 2026-11-23T16:00:02Z - postfix/smtp - - - ",
			"2026-11-23T16:00:02Z  postfix 1 0"},
		{"RFC 5424 without a time", "<22>1 - mail postfix/smtp 101 - - ", "- mail postfix 1 101"},
		{"an IPv6 address for a host", "Nov 23 16:00:02 2001:db8::25 postfix/smtp[101]: ",
			"2026-11-23T16:00:02Z 2001:db8::25 postfix 1 101"},
		{"an instance", "Nov 23 16:00:02 mail postfix-out/smtp[101]: ", "2026-11-23T16:00:02Z mail postfix-out 1 101"},
		{"a service with a name (3.4)", "Nov 23 16:00:02 mail postfix/relay/smtp[101]: ",
			"2026-11-23T16:00:02Z mail postfix/relay 1 101"},
		{"the error service", "Nov 23 16:00:02 mail postfix/error[101]: ", "2026-11-23T16:00:02Z mail postfix 2 101"},
		{"the queue manager", "Nov 23 16:00:02 mail postfix/qmgr[101]: ", "2026-11-23T16:00:02Z mail postfix 3 101"},
		{"no time", "mail postfix/smtp[101]: ", "- mail postfix 1 101"},
		{"a time that does not exist", "Nov 23 25:00:02 mail postfix/smtp[101]: ", "- mail postfix 1 101"},
		{"a time that cannot be read, and no host", "23.11.26 16:00:02 postfix/smtp[101]: ", "-  postfix 1 101"},

		{"the SMTP server", "Nov 23 16:00:02 mail postfix/smtpd[101]: ", ""},
		{"the local agent", "Nov 23 16:00:02 mail postfix/local[101]: ", ""},
		{"another program of that name", "Nov 23 16:00:02 mail smtp[101]: ", ""},
		{"no instance", "Nov 23 16:00:02 mail /smtp[101]: ", ""},
		{"no pid", "Nov 23 16:00:02 mail postfix/smtp: ", ""},
		{"another program's text", "Nov 23 16:00:02 mail evil: postfix/smtp[101]: ", ""},
		{"another program's text, with a pid", "Nov 23 16:00:02 mail sshd[7]: user postfix/smtp[101]: ", ""},
		{"the kernel's time", "Nov 23 16:00:02 mail kernel: [  12.5] postfix/smtp[101]: ", ""},
		{"far into a line", strings.Repeat("x", maxHeader) + " postfix/smtp[101]: ", ""},
		{"RFC 5424, another program", "<22>1 2026-11-23T16:00:02Z mail evil/smtpd 101 - - ", ""},
	}
}

func TestFronts(t *testing.T) {
	const text = "4F0C31A2B3: removed by hand: [x]"
	for _, c := range frontLines() {
		h, ok := parseHeader([]byte(c.front + text))
		got := ""
		if ok {
			var l Line
			h.fill(clock{zone: time.UTC, newest: noon()}, &l)
			at := "-"
			if !l.Time.IsZero() {
				at = l.Time.UTC().Format(time.RFC3339Nano)
			}
			got = strings.Join([]string{at, string(l.Host), string(l.Instance), string(rune('0' + l.Program)),
				strconv.Itoa(l.PID)}, " ")
			if string(l.Text) != text {
				t.Errorf("%s: the text is %q", c.why, l.Text)
			}
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.why, got, c.want)
		}
	}
}

func TestYears(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	at := func(s string) time.Time {
		parsed, err := time.ParseInLocation("2006-01-02 15:04:05", s, berlin)
		if err != nil {
			t.Fatal(err)
		}
		return parsed
	}
	for _, c := range []struct{ why, newest, stamp, want string }{
		{"today", "2026-11-27 12:00:00", "Nov 27 11:59:59", "2026-11-27 11:59:59"},
		{"a clock that is some minutes ahead", "2026-11-27 12:00:00", "Nov 27 12:09:00", "2026-11-27 12:09:00"},
		{"tomorrow is last year's", "2026-11-27 12:00:00", "Nov 29 12:00:00", "2025-11-29 12:00:00"},
		{"a log that spans the turn of the year", "2027-01-02 00:00:01", "Dec 31 23:59:59", "2026-12-31 23:59:59"},
		{"the last second of a year, read at once", "2026-12-31 23:59:59", "Jan  1 00:00:00", "2027-01-01 00:00:00"},
		{"a leap day", "2029-11-27 12:00:00", "Feb 29 01:00:00", "2028-02-29 01:00:00"},
		{"a leap day over a century", "2103-11-27 12:00:00", "Feb 29 01:00:00", "2096-02-29 01:00:00"},
		{"the hour that comes twice", "2026-11-27 12:00:00", "Oct 25 02:30:00", "2026-10-25 02:30:00"},
		{"a file of years ago", "2019-03-01 00:00:00", "Feb 28 01:00:00", "2019-02-28 01:00:00"},
	} {
		got, _, ok := clock{zone: berlin, newest: at(c.newest)}.parse([]byte(c.stamp + " mail"))
		if !ok || !got.Equal(at(c.want)) {
			t.Errorf("%s: %s is %v, want %s", c.why, c.stamp, got, c.want)
		}
	}
}
