#!/bin/sh
# Installs what the tests need and this machine lacks: as root on Debian (or a child of it) from the machine's own apt
# sources. Anywhere else it only says what is missing; the tests then leave out what they cannot do, and say so. With
# STSMAPD_TEST_ALL=1 it is what `make test-all` needs, otherwise what `make test` needs.
set -eu

# postfix: the end-to-end tests deliver mail with it. gcc, libc6-dev: go test -race. ca-certificates: fetching modules.
# debootstrap, and what it checks signatures with: chroot.sh. prometheus: the dashboard's queries and the alert rules
# are evaluated by it. systemd: its tools start the daemon and judge its unit. man-db: the manual pages are shown.
# bash-completion, zsh, fish: completions are tried in them. lintian, rpm: they judge the packages. redis-server: what a
# fleet shares is tested with it. unbound: the validating resolver of the tests of DANE. chromium, npm: the
# status page is looked at with it, and with axe-core. apt-utils, gnupg: the apt repository. buildah: the image.
# sqlite3: the cache of another daemon is read with it.
wanted='postfix gcc libc6-dev ca-certificates debootstrap gpgv debian-archive-keyring prometheus systemd man-db
	bash-completion zsh fish lintian rpm redis-server unbound apt-utils gnupg buildah sqlite3'
if [ "${STSMAPD_TEST_ALL:-}" = 1 ]; then
	wanted="$wanted chromium"
	command -v npm >/dev/null || wanted="$wanted npm" # it may not be Debian's
fi

# others has chroot.sh make its folders, and gets axe-core, whose rules the status page keeps. Where that cannot be
# done, the tests leave out what needs it and say so, or fail.
others() {
	"$(dirname "$0")/chroot.sh" || true
	[ "${STSMAPD_TEST_ALL:-}" != 1 ] || axe_core || echo 'deps: npm could not get axe-core' >&2
}

axe_core() {
	folder=${XDG_CACHE_HOME:-/var/cache}/stsmapd-test/axe-core
	[ ! -e "$folder/axe.min.js" ] || return 0
	fresh=$(mktemp -d)
	(cd "$fresh" && npm pack --silent axe-core@4.14.1 >/dev/null && tar -xzf axe-core-4.14.1.tgz package/axe.min.js) &&
		mkdir -p "$folder" && cp "$fresh/package/axe.min.js" "$folder/"
	result=$?
	rm -rf "$fresh"
	return "$result"
}

installed() {
	status=$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) && [ "$status" = installed ]
}

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
	echo "deps: not a Debian system; install these by hand: $wanted" >&2
	exit 0
fi

missing=
for package in $wanted; do
	installed "$package" || missing="$missing $package"
done
if [ -z "$missing" ]; then
	others
	exit 0
fi

if [ "$(id -u)" != 0 ]; then
	echo "deps: not root; missing, and not installed:$missing" >&2
	exit 0
fi

# No service may start on this machine because its tests were run.
policy=/usr/sbin/policy-rc.d
scratch=$(mktemp -d)
restore() {
	if [ -e "$scratch/policy-rc.d" ]; then
		cp -p "$scratch/policy-rc.d" "$policy"
	else
		rm -f "$policy"
	fi
	rm -rf "$scratch"
}
[ ! -e "$policy" ] || cp -p "$policy" "$scratch/policy-rc.d"
trap restore EXIT
trap 'exit 1' HUP INT TERM
printf '#!/bin/sh\nexit 101\n' >"$policy"
chmod 755 "$policy"

export DEBIAN_FRONTEND=noninteractive
# Another apt-get may run, as on a machine that has just started, and a mirror may fail once.
apt() {
	apt-get -qq -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3 "$@"
}
echo "deps: installing$missing"
# Postfix comes without a configuration of its own: there is no mail server to start, now or after a reboot.
echo 'postfix postfix/main_mailer_type select No configuration' | debconf-set-selections
# The package lists may be missing or too old to fetch from. A failing update is not the end: the lists may do.
apt update || echo 'deps: apt-get update failed; trying with the package lists as they are' >&2
# --no-remove: another mail server of this machine stays where it is; then this fails and says so.
# shellcheck disable=SC2086
apt -y --no-remove --no-install-recommends -o Dpkg::Use-Pty=0 install $missing </dev/null >"$scratch/log" 2>&1 || {
	cat "$scratch/log" >&2
	echo "deps: apt-get could not install:$missing" >&2
	exit 1
}
others
