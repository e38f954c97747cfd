#!/bin/sh
# Summary of a week: deliveries under TLS policies, policies that cannot be fetched, and the daemon's status. It is
# written to standard output, which stsmapd-summary.service sends to the journal. With MAILTO, one or more addresses, it
# is sent by mail too. The exit code is not 0 if the log cannot be read or the mail cannot be sent. Mail that waits is
# not a failure.
set -u
PATH=$PATH:/usr/sbin:/usr/lib

report=$(mktemp) || exit 1
trap 'rm -f "$report"' EXIT

{
	stsmapd deliveries --since 7d "$@"
	waits=$?
	printf '\nPolicies that cannot be fetched again, the first to expire first:\n\n'
	stsmapd cache list --failing --sort expires
	printf '\n'
	stsmapd status
} >"$report" 2>&1
cat "$report"

case $waits in
0) what='no mail waits because of a policy' failed=0 ;;
1) what='mail waits because of a policy' failed=0 ;;
*) what='the mail log cannot be read' failed=1 ;;
esac
if [ -n "${MAILTO:-}" ]; then
	{
		printf 'To: %s\nSubject: stsmapd on %s: %s\n' "$MAILTO" "$(uname -n)" "$what"
		printf 'Auto-Submitted: auto-generated\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n\n'
		cat "$report"
	} | sendmail -i -t || failed=1
fi
exit "$failed"
