#!/bin/sh
# Unpacks Debian's postfix-mta-sts-resolver, and the Python packages that it needs, into a folder, for `bench -rival`
# and cmd/stsmapd/e2e/rivals. Nothing is installed. Any user on Debian with python3 can run it; the packages come from
# the machine's apt sources. With a second folder, a clone of https://github.com/Zuplu/postfix-tlspol, it builds that
# too.
set -eu
folder=${1:?usage: rival.sh FOLDER [CLONE OF postfix-tlspol]}
mkdir -p "$folder/debs"
folder=$(cd "$folder" && pwd)
[ -z "${2:-}" ] || (cd "$2" && "${GO:-go}" build -o "$folder/postfix-tlspol" .)
cd "$folder"

# All that apt would install, apart from Python itself and what it needs.
wanted=$(apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces \
	--no-enhances postfix-mta-sts-resolver python3-uvloop |
	grep -xE 'postfix-mta-sts-resolver|python3-[a-z-]*|libuv1|libc-ares2|libhiredis[0-9.]*' |
	grep -vxE 'python3-minimal|python3-distutils|python3-lib2to3')
# shellcheck disable=SC2086
(cd debs && apt-get -qq -o APT::Sandbox::User="$(id -un)" download $wanted)
for deb in debs/*.deb; do
	dpkg -x "$deb" .
done
rm -r debs
