#!/bin/sh
# `make test`, and with STSMAPD_TEST_ALL=1 `make test-all`. Ends with how long each step took, what only `make test-all`
# covers, and what was left out because this machine lacks something.
set -eu
cd "$(dirname "$0")/../.."
go=${GO:-go}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM
STSMAPD_TEST_LEFT_OUT=$scratch/left-out
export STSMAPD_TEST_LEFT_OUT
: >"$STSMAPD_TEST_LEFT_OUT"
failed=

# step runs a part of the whole, and notes how long it took.
step() {
	name=$1
	shift
	echo "=== $name"
	begin=$(date +%s)
	result=passed
	"$@" || result=FAILED
	[ "$result" = passed ] || failed=1
	printf '%6d s  %s: %s\n' $(($(date +%s) - begin)) "$name" "$result" >>"$scratch/steps"
}

# tests runs go test on packages one after the other: each of them fills the machine by itself. -timeout only ends what
# hangs. -count=1: the daemon that most of them run is no import of theirs, so the test cache cannot see it change.
tests() {
	"$go" test -count=1 -v -p 1 -timeout 60m "$@"
}

units() {
	race=$(packaging/tools/race.sh)
	apart='/e2e\($\|/contract\|/monitor\|/sendmail\|/load\|/torture\|/fleet\|/install\)'
	# shellcheck disable=SC2046,SC2086
	"$go" test $race -timeout 60m $("$go" list ./... | grep -v "$apart")
}

# The model once more, for longer and without the race detector.
model() {
	events=2000000
	if [ "${STSMAPD_TEST_ALL:-}" != 1 ]; then
		events=300000
		echo "ONLY IN make test-all: TestModel: 2000000 events, here $events" >>"$STSMAPD_TEST_LEFT_OUT"
	fi
	STSMAPD_MODEL_EVENTS=${STSMAPD_MODEL_EVENTS:-$events} tests -run '^TestModel$' ./cmd/stsmapd/e2e/model
}

step 'what the tests need (make deps)' packaging/tools/deps.sh
step 'lint' packaging/tools/lint.sh
step 'unit tests, with the race detector' units
# Without the race detector: these measure memory and time.
step 'load' tests ./cmd/stsmapd/e2e/load
step 'fleet' tests ./cmd/stsmapd/e2e/fleet
step 'torture' tests -parallel $((2 * $(nproc))) ./cmd/stsmapd/e2e/torture/... # each fault has a daemon under load
step 'the model' model
step 'end to end' packaging/tools/e2e.sh
step 'packages' tests ./cmd/stsmapd/e2e/install

echo
cat "$scratch/steps"
sort -u "$STSMAPD_TEST_LEFT_OUT"
# Where the tests gate something, a part left out for want of something is no success.
if [ "${CI:-}" = true ] && grep -q '^NOT TESTED: ' "$STSMAPD_TEST_LEFT_OUT"; then
	failed=1
fi
if [ -n "$failed" ]; then
	echo 'make test: FAILED'
	exit 1
fi
