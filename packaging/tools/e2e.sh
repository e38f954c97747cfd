#!/bin/sh
# The end-to-end tests. -count=1: the daemon they run is no import of theirs, so the test cache cannot see it change.
# -p 1: each package fills the machine by itself. -timeout only ends what hangs.
set -eu
cd "$(dirname "$0")/../.."
race=$(packaging/tools/race.sh)
# shellcheck disable=SC2086
exec "${GO:-go}" test $race -count=1 -v -p 1 -timeout 60m ./cmd/stsmapd/e2e ./cmd/stsmapd/e2e/contract \
	./cmd/stsmapd/e2e/monitor ./cmd/stsmapd/e2e/sendmail
