#!/bin/sh
# Looks for known vulnerabilities in what the binary really calls. It needs Go's vulnerability database
# (https://vuln.go.dev, or a copy of it that GOVULNDB names); without, it fails and says so.
set -eu
cd "$(dirname "$0")/../.."
go=${GO:-go}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
(cd packaging/tools/vuln && GOFLAGS='' "$go" build -o "$scratch/govulncheck" golang.org/x/vuln/cmd/govulncheck)
"$scratch/govulncheck" ${GOVULNDB:+-db "$GOVULNDB"} ./...
