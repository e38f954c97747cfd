#!/bin/sh
# Makes the folder with Debian sid in it from which the tests take a Postfix that is newer than the machine's (one built with
# libtlsrpt) and a validating resolver (unbound). It takes a minute and stays: the next run finds it. Remove the folder
# to have it made of what sid is then. Nothing in it is ever started here, and the tests never write into it.
#
# As root on Debian only. The mirror is the one that the machine's own apt uses; its signature is checked.
set -eu

# packaging/e2e/world/tree.go looks for it in the same place.
cache=${XDG_CACHE_HOME:-/var/cache}/stsmapd-test
folder=$cache/debian-sid
packages=postfix,unbound
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

[ ! -d "$folder" ] || exit 0

fail() {
	echo "chroot: no folder with Debian sid, so no tests with a newer Postfix: $1" >&2
	exit 1
}

[ "$(id -u)" = 0 ] || fail 'not root'
for program in debootstrap unshare flock apt-get apt-config; do
	command -v "$program" >/dev/null || fail "$program is not installed"
done

# Of apt's sources, those of the release itself; its mirror has the other releases too. Which one is sid's is found by trying.
# shellcheck disable=SC1091
release=$(. /etc/os-release && echo "${VERSION_CODENAME:-sid}")
# shellcheck disable=SC2016
mirrors=$(apt-get indextargets --format '$(RELEASE) $(CODENAME) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
	awk -v release="$release" '($1 == release || $2 == release) && $3 == "main" && $4 ~ /^https?:/ && !seen[$4]++ { print $4 }')
[ -n "$mirrors" ] || fail "apt has no source of $release, component main, by HTTP"

# debootstrap fetches with wget, which knows nothing of apt's proxy.
eval "$(apt-config shell http_proxy Acquire::http::Proxy https_proxy Acquire::https::Proxy)"
[ -z "${http_proxy:-}" ] || export http_proxy
[ -z "${https_proxy:-}" ] || export https_proxy

mkdir -p "$cache"
chmod 700 "$cache"
exec 9>"$cache/lock"
flock 9
[ ! -d "$folder" ] || exit 0 # another run has just made it
new=$folder.new
log=$cache/debian-sid.log
trap 'rm -rf "$new"' EXIT
trap 'exit 1' HUP INT TERM

# Unpacked in a mount namespace, so that no mount stays behind; configured in one without a network and with its own
# processes, so that nothing that a package might start can outlive it or take a port.
make_from() {
	rm -rf "$new"
	unshare --mount -- debootstrap --foreign --variant=minbase --include="$packages" --keyring="$keyring" --force-check-gpg \
		sid "$new" "$1" &&
		printf '#!/bin/sh\nexit 101\n' >"$new/usr/sbin/policy-rc.d" &&
		chmod 755 "$new/usr/sbin/policy-rc.d" &&
		DEBIAN_FRONTEND=noninteractive unshare --mount --net --pid --fork --kill-child -- \
			chroot "$new" /debootstrap/debootstrap --second-stage
}

for mirror in $mirrors; do
	echo "chroot: making $folder"
	if make_from "$mirror" </dev/null >"$log" 2>&1; then
		rm -rf "$new/var/cache/apt/archives" "$new/var/lib/apt/lists" "$new/etc/resolv.conf"
		: >"$new/etc/resolv.conf" # a file to mount over
		mv -T "$new" "$folder"
		exit 0
	fi
	cat "$log" >&2
done
fail "debootstrap did not make it"
