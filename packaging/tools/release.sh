#!/bin/sh
# `make release`: the packages and bare binaries for amd64 and arm64 in build/release. The version is that which git
# knows and the binary says. The same commit, built by the same Go, makes the same files, bit by bit, wherever and
# whenever that is.
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
	GOARCH=$arch "$go" build -buildvcs=true -trimpath -ldflags='-s -w' -o "$release/stsmapd_linux_$arch" ./cmd/stsmapd
done
VERSION=$("$go" version -m "$release/stsmapd_linux_amd64" | awk '$1 == "mod" { print $3 }')
# In a git worktree go build finds no version; this is the one that it makes of a commit without a tag.
[ "$VERSION" != '(devel)' ] || VERSION=$(git log -1 --abbrev=12 --date=format-local:%Y%m%d%H%M%S --format=v0.0.0-%cd-%h)
export VERSION
echo "release: $VERSION"

# compress packs standard input, without a name or time.
compress() {
	gzip -9n >"$build/$1.gz"
}

for page in packaging/man/*.[58]; do
	compress "man/$(basename "$page")" <"$page"
done
for shell in bash zsh fish; do
	"$go" run ./cmd/stsmapd completion "$shell" >"$build/completion/$shell"
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
