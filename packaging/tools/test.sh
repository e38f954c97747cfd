#!/bin/sh
# `make test`. Ends with go test's own lines, and after them with what was left out, if anything was.
set -eu
cd "$(dirname "$0")/../.."
go=${GO:-go}

packaging/tools/deps.sh
packaging/tools/lint.sh

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM
STSMAPD_TEST_LEFT_OUT=$scratch/left-out
export STSMAPD_TEST_LEFT_OUT

race=$(packaging/tools/race.sh)
packages=$("$go" list ./...)
units=$(echo "$packages" | grep -v -e /packaging/e2e -e /packaging/load -e /packaging/torture -e /packaging/fleet -e /packaging/install)
failed=
# shellcheck disable=SC2086
"$go" test $race $units || failed=1
# Without the race detector: these measure memory and time.
"$go" test -count=1 -v ./packaging/load || failed=1
"$go" test -count=1 -v -timeout 20m ./packaging/fleet || failed=1
"$go" test -count=1 -v -short -timeout 20m -parallel 8 ./packaging/torture/... || failed=1
# And the model once more, for a million events.
STSMAPD_MODEL_EVENTS=${STSMAPD_MODEL_EVENTS:-1000000} "$go" test -count=1 -v -run '^TestModel$' ./resolver || failed=1
packaging/tools/e2e.sh || failed=1
# The packages, in systems of their own.
"$go" test -count=1 -v -timeout 20m ./packaging/install || failed=1

if [ -s "$STSMAPD_TEST_LEFT_OUT" ]; then
	sort -u "$STSMAPD_TEST_LEFT_OUT" | sed 's/^/NOT TESTED: /'
	# Where the tests gate something, a part left out is no success.
	[ "${CI:-}" != true ] || failed=1
fi
[ -z "$failed" ]
