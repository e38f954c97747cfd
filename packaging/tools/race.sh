#!/bin/sh
# Prints -race where the race detector works: it needs a C compiler. Where it does not, notes that for the end of `make
# test`.
set -eu
if [ "$("${GO:-go}" env CGO_ENABLED)" = 1 ]; then
	echo -race
	exit 0
fi
echo "left out: the race detector: no C compiler" >&2
[ -z "${STSMAPD_TEST_LEFT_OUT:-}" ] || echo "NOT TESTED: the race detector: no C compiler" >>"$STSMAPD_TEST_LEFT_OUT"
