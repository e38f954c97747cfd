#!/bin/sh
# gofmt, the checks of house.sh, go vet and staticcheck over the whole module. staticcheck's version is pinned in go.mod
# beside this script.
set -eu
cd "$(dirname "$0")/../.."
go=${GO:-go}

unformatted=$("$("$go" env GOROOT)/bin/gofmt" -l .)
if [ -n "$unformatted" ]; then
	echo "gofmt would change:" >&2
	echo "$unformatted" >&2
	exit 1
fi
packaging/tools/house.sh
"$go" vet ./...
"$go" tool -modfile=packaging/tools/go.mod staticcheck ./...
echo "lint: gofmt, go vet and staticcheck found nothing"
