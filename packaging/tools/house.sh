#!/bin/sh
# Checks what CONTRIBUTING.md says of the house and can be counted: who imports whom, the size of folders, files,
# functions and types, the length of lines, and words. Prints each problem as `path:line: what; the rule`. `make lint`
# runs it; cmd/stsmapd/e2e/docs tests it.
set -eu
cd "$(dirname "$0")/../.."
go=${GO:-go}
export LC_ALL=C
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM
found=$scratch/found
: >"$found"

# Who imports whom, tests too. A folder stands for itself alone, and with /... also for those below it. A folder without
# a line here is an error. "all" is for the tests of the whole daemon.
cat >"$scratch/house" <<'END'
resolver/dnsname:
resolver/fault:
resolver/fair: resolver/dnsname
resolver/clock:
resolver/due: resolver/dnsname resolver/fair
resolver/lookups:
resolver/pace: resolver/dnsname resolver/fault
resolver/txtrecord:
resolver/mtasts: resolver/dnsname resolver/txtrecord
resolver/dnsclient: resolver/dnsname resolver/fault
resolver/tlsrpt: resolver/dnsname resolver/txtrecord
resolver/fetch: resolver/dnsclient resolver/dnsname resolver/fair resolver/fault resolver/mtasts resolver/tlsrpt
resolver/dane: resolver/dnsclient resolver/dnsname resolver/fault resolver/lookups
resolver: resolver/...
socketmap/netstring:
socketmap: socketmap/netstring
socketmap/tlspolicy: socketmap socketmap/netstring resolver/...
cache: resolver/...
cache/record: resolver/...
cache/store/boltfile: cache/record resolver/...
cache/store: cache/store/boltfile cache/record resolver/...
cache/shared/guard:
cache/shared: cache/shared/guard cache/record resolver/...
cmd/stsmapd/logging:
cmd/stsmapd/systemd: socketmap
cmd/stsmapd/term:
cmd/stsmapd/history:
cmd/stsmapd/maillog: resolver/dnsname
cmd/stsmapd/check: cmd/stsmapd/term resolver/... socketmap/...
cmd/stsmapd/hostlog: cmd/stsmapd/term cmd/stsmapd/maillog
cmd/stsmapd/deliveries: cmd/stsmapd/term cmd/stsmapd/maillog cmd/stsmapd/check resolver/... socketmap/...
cmd/stsmapd/doctor: cmd/stsmapd/term resolver/... socketmap/...
cmd/stsmapd/trial: cmd/stsmapd/doctor resolver/... socketmap/...
cmd/stsmapd/usage: cmd/stsmapd/term
cmd/stsmapd/config: cmd/stsmapd/logging cmd/stsmapd/term cache/... resolver/... socketmap/...
cmd/stsmapd/admin/httplimit:
cmd/stsmapd/admin: cmd/stsmapd/admin/httplimit cmd/stsmapd/term cmd/stsmapd/history cache/... resolver/... socketmap/...
cmd/stsmapd: cache/... resolver/... socketmap/... packaging/man cmd/stsmapd/logging cmd/stsmapd/systemd
cmd/stsmapd: cmd/stsmapd/term cmd/stsmapd/maillog cmd/stsmapd/check cmd/stsmapd/doctor cmd/stsmapd/admin
cmd/stsmapd: cmd/stsmapd/hostlog cmd/stsmapd/deliveries cmd/stsmapd/config cmd/stsmapd/usage cmd/stsmapd/history
cmd/stsmapd: cmd/stsmapd/trial
cmd/stsmapd/e2e/...: all
cmd/bench: all
cmd/bench/proc:
cmd/bench/internet: cmd/stsmapd/e2e/world resolver/...
cmd/bench/load: cmd/bench/internet cmd/bench/proc socketmap/...
packaging/man:
END

# Folders that only tests import, each with what it imports: any test may.
cat >"$scratch/helpers" <<'END'
resolver/testkit:
resolver/dnsclient/dnstest:
resolver/memorytest: resolver/...
cache/store/storetest: resolver/...
cache/shared/enginetest: resolver/testkit
END

# Words that a reader of Postfix's and Go's manuals would stumble over: a pattern for whole words, and what to say.
cat >"$scratch/words" <<'END'
anew|again
be had|available; can be fetched, found
heed(s|ed|ing)?|follow, obey
whoever|the client that, the caller that
thereby|by this; or nothing
sees? to it|ensures; or the verb itself
(does|do|did|is|are|was) so([.,;:]|$)|name what is done
does so|name what is done
its time has come|it is due
for long|for a long time, or the time
strangers?|clients, hosts: who they are
goes? on alone|continues with the local store
(is|was) ending|is shutting down
END

# Terms that have given way to others, also as a part of an identifier.
cat >"$scratch/terms" <<'END'
[Aa]genda|refreshQueue
fleet_?[Nn]ews|the subscription
[Ll]ineup|nameservers
[Oo]verrul|overridden
[Rr]oster|nameservers
[Ss]aver|pendingWrites
[Tt]idings|SharedState
[Ww]aived|none
END

# files lists the files of the tree whose paths match none of the patterns in $1, without what git ignores.
files() {
	pattern=$1
	shift
	find . \( -name .git -o -path ./build -o -path '*/testdata/fuzz' \) -prune -o -type f "$@" -print | sed 's,^\./,,' |
		grep -vE "$pattern" | sort
}
none='^$'
tests='_test[.]go$|^cmd/bench/|^cmd/stsmapd/e2e/|^resolver/testkit/|/(dns|store|engine)test/'

# Folders: at most 20 product files, and no five whose names begin alike (what stands before the first _).
files "$tests" -name '*.go' | awk '{
	dir = $0; sub("/[^/]*$", "", dir); name = $0; sub(".*/", "", name)
	files[dir]++
	if (split(name, part, "_") > 1) prefix[dir "/" part[1] "_"]++
} END {
	for (d in files) if (files[d] > 20) print d ": " files[d] " product files; at most 20"
	for (p in prefix) if (prefix[p] > 4) print p "*: " prefix[p] " files share a prefix; such files are a package"
}' >>"$found"

# Files under 400 lines; functions of at most 60; types with at most 15 methods, of product code.
files '_test\.go$' -name '*.go' | xargs awk -v tests="$tests" '
function ended() { if (lines >= 400) print name ":" lines ": " lines " lines; fewer than 400" }
FNR == 1 { ended(); name = FILENAME; folder = name; sub("/[^/]*$", "", folder); product = name !~ tests; start = 0 }
{ lines = FNR }
/^func init\(\)/ { print FILENAME ":" FNR ": func init; what a package needs is passed to it" }
/^func / && !/}$/ { start = FNR }
/^}/ && start {
	if (product && FNR - start >= 60) print FILENAME ":" start ": a function of " FNR - start + 1 " lines; at most 60"
	start = 0
}
product && match($0, /^func \([^)]*\)/) {
	type = substr($0, RSTART + 6, RLENGTH - 7); sub(/\[.*/, "", type); sub(/^.* /, "", type); sub(/^\*/, "", type)
	if (++methods[folder "." type] == 1) first[folder "." type] = FILENAME ":" FNR
}
END {
	ended()
	for (t in methods) if (methods[t] > 15) print first[t] ": type " t " has " methods[t] " methods; at most 15"
}' >>"$found"

# Lines of at most 120 columns, a tab being 4. A table, an address or a literal that ends a line cannot be broken.
files '^CHANGELOG\.md$' \( -name '*.go' -o -name '*.sh' -o -name '*.md' -o -name Makefile \) | xargs awk '{
	line = $0; gsub(/\t/, "    ", line); gsub(/[\200-\277]/, "", line)
	if (length(line) <= 120 || line ~ /https?:\/\//) next
	if (FILENAME ~ /\.md$/ && line ~ /^[|]|^    / || FILENAME ~ /\.go$/ && line ~ /`[^`]*`[,)]*$/) next
	print FILENAME ":" FNR ": " length(line) " columns; at most 120"
}' >>"$found"

# Tests wait for events, or sleep on the clock of testing/synctest.
files "$none" -name '*.go' | xargs awk '
function folder(path) { sub("/[^/]*$", "", path); return path }
/"testing\/synctest"/ { bubble[folder(FILENAME)] = 1 }
/time\.Sleep\(/ && FILENAME ~ /_test\.go$|^cmd\/stsmapd\/e2e\// { slept[FILENAME ":" FNR] = folder(FILENAME) }
END {
	for (at in slept) if (!(slept[at] in bubble)) {
		print at ": time.Sleep; a test polls with a deadline, or uses synctest"
	}
}
' >>"$found"

# Imports.
module=$("$go" list -m)
# shellcheck disable=SC2016
"$go" list -f '{{$p := .ImportPath}}{{$p}}
{{range .Imports}}{{$p}} {{.}} product
{{end}}{{range .TestImports}}{{$p}} {{.}} test
{{end}}{{range .XTestImports}}{{$p}} {{.}} test
{{end}}' ./... >"$scratch/imports"
awk -v module="$module/" -v house="$scratch/house" -v helpers="$scratch/helpers" '
function within(path, folder) {
	if (sub(/\/\.\.\.$/, "", folder) && index(path, folder "/") == 1) return !(path in helper)
	return path == folder
}
function read(file, kind,   line, at, folder) {
	while ((getline line < file) > 0) {
		at = index(line, ":"); folder = substr(line, 1, at - 1)
		may[folder] = may[folder] substr(line, at + 1)
		if (kind == "helper") helper[folder] = 1
	}
}
BEGIN { read(house, ""); read(helpers, "helper") }
NF == 1 && $1 "/" == module { print ".", "-", "-", "no Go file stands at the top" }
NF == 0 || index($1, module) != 1 { next }
{
	from = substr($1, length(module) + 1); row = from in may ? from : ""
	for (r in may) if (row == "" && r ~ /\.\.\.$/ && within(from, r)) row = r
}
NF == 1 && row == "" { print from, "-", "-", "packaging/tools/house.sh has no line for this folder" }
NF == 3 && row != "" && index($2, module) == 1 {
	to = substr($2, length(module) + 1)
	if (to == from || may[row] == " all" || to in helper && $3 == "test") next
	n = split(may[row], list, " ")
	for (i = 1; i <= n; i++) if (within(to, list[i])) next
	print from, to, $3, row " may import " (n ? "only" may[row] : "nothing of ours")
}' "$scratch/imports" | sort -u | while read -r from to kind rule; do
	if [ "$to" = - ]; then
		echo "$from: $rule"
		continue
	fi
	for file in "$from"/*.go; do
		case $file in *_test.go) is=test ;; *) is=product ;; esac
		[ $is != "$kind" ] || grep -nF "\"$module/$to\"" /dev/null "$file" | awk -F: -v to="$to" -v rule="$rule" '{
			print $1 ":" $2 ": imports " to "; " rule
		}'
	done
done >>"$found"

# Words, in every text but licences, CHANGELOG.md and this script.
search() { # for the patterns of the table $1; the rest are options of grep
	table=$1
	shift
	while IFS='|' read -r line; do
		pattern=${line%|*}
		xargs grep -noIE "$@" -e "$pattern" /dev/null <"$scratch/texts" | awk -F: -v say="${line##*|}" '{
			path = $1 ":" $2; sub(/^[^:]*:[^:]*:/, ""); print path ": \"" $0 "\"; say: " say
		}' || true
	done <"$table"
}
files '^(CHANGELOG\.md|LICENSE|packaging/deb/copyright|packaging/tools/house\.sh|.*go\.(sum|mod))$' >"$scratch/texts"
{
	search "$scratch/words" -iw
	search "$scratch/terms"
} >>"$found"
# Tests have a world, which is a package or a variable of theirs.
grep -vE '_test\.go$|^cmd/(stsmapd/e2e|bench)/' "$scratch/texts" >"$scratch/product"
mv "$scratch/product" "$scratch/texts"
echo 'the world|what is meant: hosts, the network, other domains' >"$scratch/words"
search "$scratch/words" -iw >>"$found"

if [ -s "$found" ]; then
	sort -t: -k1,1 -k2,2n "$found" >&2
	echo "lint: $(wc -l <"$found") problems; CONTRIBUTING.md says how the house is kept" >&2
	exit 1
fi
echo "lint: folders, files, lines, imports and words are as CONTRIBUTING.md says"
