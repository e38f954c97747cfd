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
# What ships, for the other systems; the end-to-end tests are for Linux.
# shellcheck disable=SC2046
CGO_ENABLED=0 GOOS=freebsd "$go" vet $("$go" list ./... | grep -v '/cmd/stsmapd/e2e\|/cmd/bench')
CGO_ENABLED=0 GOOS=openbsd "$go" build -o /dev/null ./cmd/stsmapd
"$go" tool -modfile=packaging/tools/go.mod staticcheck ./...
echo "lint: gofmt, go vet (FreeBSD too) and staticcheck found nothing"
