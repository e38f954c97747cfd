package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/stsmapd/stsmapd/cache/store"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
)

// seed writes policies into the store of a daemon that does not run yet, one for each line of a file:
//
//	DOMAIN MODE AGE MAX_AGE MX,MX [FAILING_SINCE]
//
// AGE is the time since it was fetched.
func seed(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: seed STATE_DIR FILE")
	}
	store, err := store.Open(filepath.Join(ts.MkAbs(args[0]), "policies.db"), nil)
	ts.Check(err)
	for line := range strings.Lines(ts.ReadFile(args[1])) {
		e, err := seedEntry(strings.Fields(line), time.Now().UTC().Truncate(time.Second))
		ts.Check(err)
		ts.Check(store.Put(context.Background(), e))
	}
	ts.Check(store.Close())
}

func seedEntry(fields []string, now time.Time) (e resolver.Entry, err error) {
	if len(fields) < 5 {
		return e, fmt.Errorf("five fields are needed: %q", fields)
	}
	if e.Domain, err = dnsname.Parse(fields[0]); err != nil {
		return e, err
	}
	age, err := time.ParseDuration(fields[2])
	if err != nil {
		return e, err
	}
	maxAge, err := time.ParseDuration(fields[3])
	if err != nil {
		return e, err
	}
	text := fmt.Sprintf("version: STSv1\nmode: %s\nmax_age: %d\n", fields[1], maxAge/time.Second)
	for mx := range strings.SplitSeq(fields[4], ",") {
		text += "mx: " + mx + "\n"
	}
	if e.Policy, err = mtasts.ParsePolicy([]byte(text)); err != nil {
		return e, err
	}
	e.ID, e.Fetched, e.Checked, e.Used = "20260101", now.Add(-age), now.Add(-age), now.Add(-age)
	if len(fields) > 5 {
		since, err := time.ParseDuration(fields[5])
		if err != nil {
			return e, err
		}
		e.Failures = resolver.FetchFailures{Count: 4, ID: e.ID, Since: now.Add(-since),
			RetryAt: now.Add(40 * time.Minute), Alerted: now, Reason: "fetch https://mta-sts." + fields[0] + "/.well-known/mta-sts.txt: connection refused"}
	}
	return e, nil
}
