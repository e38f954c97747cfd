#!/bin/sh
# Prints the licences of what the binary is linked with: Go itself, and the modules.
set -eu
cd "$(dirname "$0")/../.."
go=${GO:-go}

own() {
	for file in "$2"/LICENSE* "$2"/LICENCE* "$2"/NOTICE* "$2"/COPYING*; do
		[ -f "$file" ] || continue
		printf '%s: %s\n\n' "$1" "$(basename "$file")"
		cat "$file"
		printf '\n----------------------------------------\n'
		found=1
	done
}

own "The Go standard library" "$("$go" env GOROOT)"
# shellcheck disable=SC2016
"$go" list -deps -f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}' ./cmd/stsmapd |
	sort -u | while read -r path version dir; do
		found=
		own "$path $version" "$dir"
		[ -n "$found" ] || {
			echo "licenses: $path has no licence" >&2
			exit 1
		}
	done
