#!/bin/sh
# `make release`: the packages, bare binaries for Linux and FreeBSD on amd64 and arm64, and an apt repository (apt.sh)
# in build/release. The version is that of git's tag; without a tag, the newest heading of CHANGELOG.md and the commit.
# The same commit, built by the same Go, makes the same files, bit by bit, wherever and whenever that is; signatures
# apart.
set -eu
cd "$(dirname "$0")/../.."
go=${GO:-go}
build=build/package # packaging/nfpm.yaml looks here
release=build/release
export CGO_ENABLED=0 LC_ALL=C TZ=UTC
umask 022

# git distrusts a clone that belongs to another user, and so does go build, which asks it for the version.
export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0="$PWD"
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH

rm -rf "$build" "$release"
mkdir -p "$build/man" "$build/completion" "$release"

for arch in amd64 arm64; do
	for os in linux freebsd; do
		GOOS=$os GOARCH=$arch "$go" build -buildvcs=true -trimpath -ldflags='-s -w' -o "$release/stsmapd_${os}_$arch" \
			./cmd/stsmapd
	done
done
VERSION=$("$go" version -m "$release/stsmapd_linux_amd64" | awk '$1 == "mod" { print $3 }')
# In a git worktree go build finds no version; this is the one that it makes of a commit without a tag.
[ "$VERSION" != '(devel)' ] || VERSION=$(git log -1 --abbrev=12 --date=format-local:%Y%m%d%H%M%S --format=v0.0.0-%cd-%h)
# Without a tag it is a version before the next one, as the binary says it (cmd/stsmapd/version.go).
case $VERSION in
v0.0.0-*) VERSION=v$(sed -n 's/^## \([0-9.]*\).*/\1/p' CHANGELOG.md | head -n 1)-0.${VERSION#v0.0.0-} ;;
esac
export VERSION
REVISION=$(git log -1 --format=%H)
printf 'VERSION=%s\nREVISION=%s\nSOURCE_DATE_EPOCH=%s\n' "$VERSION" "$REVISION" "$SOURCE_DATE_EPOCH" >"$build/version"
echo "release: $VERSION"

# compress packs standard input, without a name or time.
compress() {
	gzip -9n >"$build/$1.gz"
}

for page in packaging/man/*.[58]; do
	compress "man/$(basename "$page")" <"$page"
done
"$go" build -o "$build/host" ./cmd/stsmapd
for shell in bash zsh fish; do
	"$build/host" completion "$shell" >"$build/completion/$shell"
done
packaging/tools/licenses.sh | compress licenses
compress changelog <CHANGELOG.md
compress changelog.Debian <<END
stsmapd ($(echo "${VERSION#v}" | sed 's/-/~/')-1) unstable; urgency=medium

  * See /usr/share/doc/stsmapd/changelog.gz.

 -- The stsmapd authors <stsmapd@users.noreply.github.com>  $(date -R -d "@$SOURCE_DATE_EPOCH")
END

for ARCH in amd64 arm64; do
	export ARCH
	cp "$release/stsmapd_linux_$ARCH" "$build/stsmapd"
	for format in deb rpm; do
		"$go" tool -modfile=packaging/tools/go.mod nfpm package -f packaging/nfpm.yaml -p "$format" -t "$release" \
			>"$build/log" 2>&1 || {
			cat "$build/log" >&2
			exit 1
		}
	done
done
(cd "$release" && sha256sum -- * >"../package/SHA256SUMS" && mv ../package/SHA256SUMS .)
packaging/tools/apt.sh
for binary in "$release"/stsmapd_*_a*64; do
	echo "release: $(wc -c <"$binary") bytes: $(basename "$binary")"
done
