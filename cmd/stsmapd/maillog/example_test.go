package maillog_test

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/maillog"
)

func Example() {
	const log = `Nov 23 16:00:01 mail postfix/smtp[101]: Verified TLS connection established to ` +
		`mx1.example.com[192.0.2.1]:25: …
Nov 23 16:00:02 mail postfix/smtp[101]: 4F0C31A2B3: to=<u@example.com>, relay=mx1.example.com[192.0.2.1]:25, ` +
		`delay=1, delays=0/0/1/0, dsn=2.0.0, status=sent (250 Ok)
Nov 23 16:00:09 mail postfix/smtp[102]: 4F0C31A2B4: to=<u@example.net>, relay=mx1.example.net[192.0.2.2]:25, ` +
		`delay=9, delays=0/0/9/0, dsn=4.7.4, status=deferred (TLS is required, but was not offered by host ` +
		`mx1.example.net[192.0.2.2])
`
	in, err := maillog.Open("-", strings.NewReader(log), time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC))
	if err != nil {
		fmt.Println(err)
		return
	}
	in.Zone = time.UTC
	report := maillog.NewReport(maillog.DefaultLimits())
	if _, err := in.Scan(context.Background(), report.Add); err != nil {
		fmt.Println(err)
		return
	}
	for _, domain := range report.Domains() {
		fmt.Println(domain.Name, report.Counts(domain).Verified, "verified")
	}
	for _, wait := range report.Waiting() {
		fmt.Println(wait.Domain.Name, wait.Messages, "waiting since", wait.Oldest, wait.Record.Reason, wait.Record.MX)
	}
	// Output:
	// example.com 1 verified
	// example.net 0 verified
	// example.net 1 waiting since 2026-11-23 16:00:00 +0000 UTC no-starttls mx1.example.net
}
