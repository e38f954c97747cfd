#!/bin/sh
# Checks what CONTRIBUTING.md says of the house and can be counted: how many product files a folder has and whether five of them share
# a prefix, how long files and lines are, who imports whom, and words to avoid. Part of `make lint`.
set -eu
cd "$(dirname "$0")/../.."
go=${GO:-go}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
found=$scratch/found
: >"$found"

sources() { git ls-files -co --exclude-standard -- "$@" | while read -r f; do [ ! -f "$f" ] || echo "$f"; done; }

# Folders: at most 20 product files, and no five whose names begin alike (what stands before the first _).
sources '*.go' | grep -v '_test\.go$' | awk '{
	dir = $0; sub("/[^/]*$", "", dir); name = $0; sub(".*/", "", name)
	files[dir]++
	if (split(name, part, "_") > 1) prefix[dir "/" part[1] "_"]++
} END {
	for (d in files) if (files[d] > 20) print d ": " files[d] " product files; at most 20"
	for (p in prefix) if (prefix[p] > 4) print p "*: " prefix[p] " files share a prefix; they are a package"
}' >>"$found"

# Files under 400 lines, lines of at most 120 characters.
sources '*.go' | grep -v '_test\.go$' | xargs awk 'FNR == 1 && NR > 1 && lines >= 400 { print name ": " lines " lines; fewer than 400" }
	{ name = FILENAME; lines = FNR } END { if (lines >= 400) print name ": " lines " lines; fewer than 400" }' >>"$found"
sources '*.go' '*.sh' '*.md' Makefile | xargs awk '{
	line = $0; gsub(/\t/, "    ", line)
	if (length(line) > 120 && line !~ /^\|/ && line !~ /https?:\/\// && line !~ /`[^`]*`,?$/) {
		n[FILENAME]++; first[FILENAME] = first[FILENAME] ? first[FILENAME] : FNR
	}
} END { for (f in n) print f ":" first[f] ": " n[f] " lines of more than 120 characters" }' >>"$found"

# Imports: a line for each folder with what it may import, itself and what is below it apart. Tests may import more, where a
# third column says so; every test may import resolver/testkit.
cat >"$scratch/allowed" <<'END'
resolver/dnsname |
resolver/testkit |
resolver/dnsclient | resolver/dnsname
resolver/mtasts | resolver/dnsname
resolver/tlsrpt | resolver/dnsname
resolver/fetch | resolver/mtasts resolver/dnsclient resolver/tlsrpt resolver/dnsname
resolver/dane | resolver/mtasts resolver/dnsclient resolver/tlsrpt resolver/dnsname
resolver | resolver/fetch resolver/dane resolver/mtasts resolver/dnsclient resolver/tlsrpt resolver/dnsname
socketmap/netstring |
socketmap | socketmap/netstring
socketmap/tlspolicy | socketmap resolver
cache/record | resolver
cache/store | cache/record resolver
cache/shared | cache/record resolver
cache | resolver
packaging |
cmd | cache resolver socketmap packaging
END
# shellcheck disable=SC2016
"$go" list -f '{{$p := .ImportPath}}{{range .Imports}}{{$p}} {{.}} product
{{end}}{{range .TestImports}}{{$p}} {{.}} test
{{end}}{{range .XTestImports}}{{$p}} {{.}} test
{{end}}' ./... | awk -v module="$("$go" list -m)/" -v allowed="$scratch/allowed" '
function home(path,   best, h) { # the longest folder of the table that the path is or lies in
	best = ""
	for (h in may) if ((path == h || index(path, h "/") == 1) && length(h) > length(best)) best = h
	return best
}
function within(path, folder) { return path == folder || index(path, folder "/") == 1 }
BEGIN {
	while ((getline line < allowed) > 0) { split(line, half, / *\| */); may[half[1]] = " " half[2] " " }
}
NF == 3 && index($2, module) == 1 {
	from = substr($1, length(module) + 1); to = substr($2, length(module) + 1)
	h = home(from)
	if (h == "") { print from ": a folder that the house does not know"; next }
	if (home(to) == h && within(to, h)) next
	if ($3 == "test" && to == "resolver/testkit") next
	n = split(may[h], list, " "); good = 0
	for (i = 1; i <= n; i++) if (within(to, list[i])) good = 1
	if (to == "resolver/testkit" && from ~ /test$|\/e2e(\/|$)|^cmd\/bench/) good = 1
	if (!good) print from " imports " to " (" $3 "): " h " may import" (n ? may[h] : " nothing of ours")
}' | sort -u >>"$found"

# Words that a reader of Postfix and Go manuals would stumble over.
words='anew|to be had|heed(s|ed|ing)?|whoever|thereby|sees? to it|does so\.|is so\.|goes on alone|has begun anew|is ending|strangers?'
sources '*.go' '*.md' '*.sh' '*.toml' '*.html' '*.yml' | grep -v -e '^packaging/tools/house\.sh$' -e '^CHANGELOG\.md$' |
	xargs grep -nEiw "$words" >"$scratch/words" || true
awk -F: '{ n[$1]++; if (!($1 in first)) first[$1] = $2 } END { for (f in n) print f ":" first[f] ": " n[f] " words to avoid" }' \
	"$scratch/words" | sort >>"$found"

if [ -s "$found" ]; then
	cat "$found" >&2
	exit 1
fi
echo "lint: folders, files, lines, imports and words are as CONTRIBUTING.md says"
