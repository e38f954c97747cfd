#!/bin/sh
# Makes the folders with other Debians in them that the tests need, and leaves those alone that are there: the next run
# finds them. Remove a folder to have it made of what that Debian is then. Nothing in them is ever started here, and no
# test writes into them: those that must write lay a file system in memory over one.
#
# debian-12-base  a small system that can be started; the packages that come with stsmapd's lie ready, so that apt-get
#                 needs no network to install them
#
# With STSMAPD_TEST_ALL=1, as `make test-all` has it, also:
#
# debian-13-base  the same
# debian-13       that release's Postfix, the first with policy attributes, and a Valkey
# debian-13-sendmail  that release's Sendmail, the first with FEATURE(`sts')
# debian-sid-base  as debian-12-base, of sid
# debian-sid      a Postfix that is newer than the machine's (one built with libtlsrpt)
#
# As root on Debian only. The mirror is the one that the machine's own apt uses; its signature is checked.
set -eu

# resolver/testkit looks for them in the same place.
cache=${XDG_CACHE_HOME:-/var/cache}/stsmapd-test
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
beside='postfix ca-certificates' # what stsmapd's package is installed with, and what it depends on

folders=debian-12-base
[ "${STSMAPD_TEST_ALL:-}" != 1 ] ||
	folders="$folders debian-13-base debian-13 debian-13-sendmail debian-sid-base debian-sid"

complete() {
	for name in $folders; do
		[ -d "$cache/$name" ] || return 1
	done
}
! complete || exit 0

fail() {
	echo "chroot: no folders with other Debians, so no tests in them: $1" >&2
	exit 1
}

[ "$(id -u)" = 0 ] || fail 'not root'
for program in debootstrap unshare flock apt-get apt-config; do
	command -v "$program" >/dev/null || fail "$program is not installed"
done

# Of apt's sources, those of the release itself; its mirror has the other releases too. Which one has them is found by
# trying.
# shellcheck disable=SC1091
release=$(. /etc/os-release && echo "${VERSION_CODENAME:-sid}")
# shellcheck disable=SC2016
mirrors=$(apt-get indextargets --format '$(RELEASE) $(CODENAME) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
	awk -v release="$release" '
		($1 == release || $2 == release) && $3 == "main" && $4 ~ /^https?:/ && !seen[$4]++ { print $4 }')
[ -n "$mirrors" ] || fail "apt has no source of $release, component main, by HTTP"

# debootstrap fetches with wget, which knows nothing of apt's proxy.
eval "$(apt-config shell http_proxy Acquire::http::Proxy https_proxy Acquire::https::Proxy)"
[ -z "${http_proxy:-}" ] || export http_proxy
[ -z "${https_proxy:-}" ] || export https_proxy

mkdir -p "$cache"
chmod 700 "$cache"
exec 9>"$cache/lock"
flock 9
! complete || exit 0 # another run has just made them
trap 'rm -rf "$cache"/*.new' EXIT
trap 'exit 1' HUP INT TERM

# apart runs a program of the folder $1 where there is no network, and where no process or mount of its can stay behind:
# nothing that a package might start outlives it or takes a port.
apart() {
	root=$1
	shift
	DEBIAN_FRONTEND=noninteractive unshare --mount --net --pid --fork --kill-child --mount-proc="$root/proc" -- \
		chroot "$root" "$@"
}

# bootstrap makes $1 of a release's most needed packages, from the mirror $3.
bootstrap() {
	unshare --mount -- debootstrap --foreign --variant=minbase --keyring="$keyring" --force-check-gpg "$2" "$1" "$3" &&
		printf '#!/bin/sh\nexit 101\n' >"$1/usr/sbin/policy-rc.d" &&
		chmod 755 "$1/usr/sbin/policy-rc.d" &&
		echo force-unsafe-io >"$1/etc/dpkg/dpkg.cfg.d/unsafe-io" &&
		apart "$1" /debootstrap/debootstrap --second-stage &&
		echo "deb [signed-by=$keyring] $3 $2 main" >"$1/etc/apt/sources.list" &&
		echo 'APT::Install-Recommends "false";' >"$1/etc/apt/apt.conf.d/no-recommends" &&
		rm -f "$1/etc/resolv.conf" "$1"/var/cache/apt/archives/*.deb &&
		: >"$1/etc/resolv.conf" # a file to mount over
}

# fetch puts packages, and what they depend on, into the folder's apt cache: with the machine's own apt, which knows its
# proxies.
fetch() {
	root=$1
	shift
	for step in update "-y --download-only install $*"; do
		# shellcheck disable=SC2086
		apt-get -q -o "Dir=$root" -o "Dir::State::status=$root/var/lib/dpkg/status" -o APT::Sandbox::User=root \
			-o APT::Install-Recommends=false $step || return
	done
}

# install installs packages in the folder, and removes what was only needed for that.
install() {
	root=$1
	shift
	fetch "$root" "$@" &&
		apart "$root" apt-get -q -y install "$@" &&
		rm -rf "$root/var/cache/apt/archives" "$root/var/lib/apt/lists"
}

# base makes a system that can be started, with packages that are fetched and not installed.
base() {
	# shellcheck disable=SC2086
	bootstrap "$1" "$2" "$3" && fetch "$1" systemd-sysv && apart "$1" apt-get -q -y install systemd-sysv &&
		fetch "$1" $beside
}

# What each folder is made of; $1 is where, $2 the mirror.
make_sid_base() { base "$1" sid "$2"; }
make_sid() { cp -a --reflink=auto "$cache/debian-sid-base" "$1" && install "$1" postfix; }
make_12_base() { base "$1" bookworm "$2"; }
make_13_base() { base "$1" trixie "$2"; }
make_13_sendmail() { cp -a --reflink=auto "$cache/debian-13-base" "$1" && install "$1" sendmail-bin sendmail-cf; }
make_13() { cp -a --reflink=auto "$cache/debian-13-base" "$1" && install "$1" postfix valkey-server; }

# make makes the folder $1 if it is not there, by the function $2.
make() {
	[ ! -d "$cache/$1" ] || return 0
	new=$cache/$1.new
	log=$cache/$1.log
	for mirror in $mirrors; do
		echo "chroot: making $cache/$1"
		rm -rf "$new"
		if "$2" "$new" "$mirror" </dev/null >"$log" 2>&1; then
			mv -T "$new" "$cache/$1"
			return 0
		fi
		cat "$log" >&2
	done
	return 1
}

# Two at a time: each keeps a processor busy.
failed=
if [ "${STSMAPD_TEST_ALL:-}" = 1 ]; then
	{ make debian-13-base make_13_base && make debian-13 make_13 && make debian-13-sendmail make_13_sendmail; } &
	thirteen=$!
	{ make debian-sid-base make_sid_base && make debian-sid make_sid; } || failed=1
fi
make debian-12-base make_12_base || failed=1
[ "${STSMAPD_TEST_ALL:-}" != 1 ] || wait $thirteen || failed=1
[ -z "$failed" ] || fail 'debootstrap or apt-get failed'
