#!/bin/sh
# Runs every fuzz target of the module for FUZZTIME each, one after the other.
set -eu
cd "$(dirname "$0")/../.."
go=${GO:-go}

# `go test -list` prints the names of a package's targets and then a line with the package.
list=$("$go" test -list '^Fuzz' ./...)
targets=$(echo "$list" | awk '/^Fuzz/ { names[++n] = $1 } /^ok/ { for (i = 1; i <= n; i++) print $2, names[i]; n = 0 }')
if [ -z "$targets" ]; then
	echo "fuzz: no targets found" >&2
	exit 1
fi
echo "$targets" | while read -r package name; do
	echo "fuzz: $name of $package"
	"$go" test -run '^$' -fuzz "^$name\$" -fuzzminimizetime 10x -fuzztime "${FUZZTIME:-30s}" "$package" </dev/null
done
