#!/bin/sh
# Makes an apt repository, which a plain web server can serve, of the Debian packages in build/release:
# build/release/apt with the suite `stable`, component `main`, for every Debian from 12 on. APT_KEY names the key of
# GNUPGHOME that signs it; without it the repository is not signed. Needs apt-ftparchive (apt-utils) and, to sign, gpg.
set -eu
cd "$(dirname "$0")/../../build/release"

if ! command -v apt-ftparchive >/dev/null; then
	echo 'release: WARNING: no apt-ftparchive (package apt-utils), so no apt repository' >&2
	exit 0
fi
rm -rf apt
mkdir -p apt/pool
cp ./*.deb apt/pool/
cd apt
architectures=
for deb in pool/*.deb; do
	arch=${deb%.deb}
	arch=${arch##*_}
	architectures="$architectures $arch"
	mkdir -p "dists/stable/main/binary-$arch"
	apt-ftparchive --arch "$arch" packages pool >"dists/stable/main/binary-$arch/Packages"
	gzip -9nk "dists/stable/main/binary-$arch/Packages"
done
option() { printf ' -o APT::FTPArchive::Release::%s' "$1"; }
date=$(date -u -R -d "@$SOURCE_DATE_EPOCH" | sed 's/+0000/UTC/')
# shellcheck disable=SC2046
apt-ftparchive $(option Origin=stsmapd) $(option Label=stsmapd) $(option Suite=stable) $(option Codename=stable) \
	$(option Components=main) -o APT::FTPArchive::Release::Architectures="${architectures# }" \
	-o APT::FTPArchive::Release::Date="$date" release dists/stable >Release
mv Release dists/stable/Release

if [ -z "${APT_KEY:-}" ]; then
	echo 'release: WARNING: APT_KEY is not set: the apt repository is not signed' >&2
	exit 0
fi
gpg --batch --yes --local-user "$APT_KEY" --clearsign --output dists/stable/InRelease dists/stable/Release
gpg --batch --yes --local-user "$APT_KEY" --armor --detach-sign --output dists/stable/Release.gpg dists/stable/Release
gpg --batch --yes --armor --output stsmapd.asc --export "$APT_KEY"
