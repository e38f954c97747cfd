#!/bin/sh
# Compares the Go benchmarks of the tree with those of an older commit: bench-compare.sh REV [PACKAGE...]. Both are run
# in turns, so that what else the machine does meets both; benchstat says which differences are more than chance. BENCH
# chooses benchmarks by a regular expression (default: all), ROUNDS how often each is run (default: 6, the fewest that
# benchstat can judge by).
set -eu
cd "$(dirname "$0")/../.."
go=${GO:-go}
old=$(git rev-parse --verify "${1:?usage: bench-compare.sh REV [PACKAGE...]}^{commit}")
shift
[ $# -gt 0 ] || set -- ./socketmap/... ./resolver/...

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM
mkdir "$scratch/old"
git archive "$old" | tar -x -C "$scratch/old"

bench() { # in the current directory
	"$go" test -run '^$' -bench "${BENCH:-.}" -benchmem "$@"
}
round=0
while [ "$round" -lt "${ROUNDS:-6}" ]; do
	round=$((round + 1))
	echo "bench-compare: round $round of ${ROUNDS:-6}" >&2
	(cd "$scratch/old" && bench "$@") >>"$scratch/old.txt"
	bench "$@" >>"$scratch/new.txt"
done
"$go" tool -modfile=packaging/tools/go.mod benchstat "old=$scratch/old.txt" "new=$scratch/new.txt"
