#!/bin/sh
# Unpacks Debian's postfix-mta-sts-resolver, and the Python packages that it needs, into a folder: for `bench -rival`. Nothing is
# installed. As any user on Debian with python3; the packages come from the machine's own apt sources.
set -eu
folder=${1:?usage: rival.sh FOLDER}
mkdir -p "$folder/debs"
cd "$folder"

# All that apt would install, but for Python itself and what it stands on.
wanted=$(apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances \
	postfix-mta-sts-resolver python3-uvloop | sed -n 's/^\(postfix-mta-sts-resolver\|python3-[a-z-]*\|libuv1\|libc-ares2\|libhiredis[0-9.]*\)$/\1/p' |
	grep -v -e '^python3-minimal$' -e '^python3-distutils$' -e '^python3-lib2to3$')
# shellcheck disable=SC2086
(cd debs && apt-get -qq -o APT::Sandbox::User="$(id -un)" download $wanted)
for deb in debs/*.deb; do
	dpkg -x "$deb" .
done
rm -r debs
