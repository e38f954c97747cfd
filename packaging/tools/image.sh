#!/bin/sh
# `make image`: OCI archives of stsmapd alone for amd64 and arm64, build/image/stsmapd_ARCH.tar, of the binaries that
# `make release` built and the CA certificates of this machine: no shell, no user but 65534. The same binaries and
# certificates make the same bits. Needs buildah, as root or in a user namespace (buildah unshare).
set -eu
cd "$(dirname "$0")/../.."
out=build/image
umask 022
[ -e build/release/stsmapd_linux_amd64 ] || packaging/tools/release.sh
# shellcheck disable=SC1091
. build/package/version # VERSION, REVISION, SOURCE_DATE_EPOCH

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM
b() { buildah --root "$scratch/root" --runroot "$scratch/run" --storage-driver vfs "$@"; }

rm -rf "$out"
mkdir -p "$out" "$scratch/own/var/lib/stsmapd" "$scratch/own/run/stsmapd"
for arch in amd64 arm64; do
	image=$(b from --arch "$arch" scratch)
	b copy --quiet --chown 65534:65534 "$image" "$scratch/own" / >/dev/null
	b copy --quiet --chown 0:0 --chmod 0644 "$image" /etc/ssl/certs/ca-certificates.crt \
		/etc/ssl/certs/ca-certificates.crt >/dev/null
	b copy --quiet --chown 0:0 --chmod 0755 "$image" "build/release/stsmapd_linux_$arch" /usr/bin/stsmapd >/dev/null
	b config --arch "$arch" --os linux --created-by 'make image' --author '' \
		--user 65534:65534 --workingdir / --port 8461 --volume /var/lib/stsmapd \
		--env STATE_DIRECTORY=/var/lib/stsmapd --env RUNTIME_DIRECTORY=/run/stsmapd \
		--entrypoint '["/usr/bin/stsmapd"]' --cmd 'serve --listen inet:0.0.0.0:8461' \
		--label org.opencontainers.image.title=stsmapd \
		--label org.opencontainers.image.description='MTA-STS policies for Postfix' \
		--label org.opencontainers.image.licenses=MIT \
		--label org.opencontainers.image.source=https://github.com/stsmapd/stsmapd \
		--label org.opencontainers.image.version="$VERSION" \
		--label org.opencontainers.image.revision="$REVISION" "$image"
	b commit --quiet --rm --format oci --disable-compression=false --timestamp "$SOURCE_DATE_EPOCH" "$image" \
		"oci:$scratch/$arch:stsmapd:${VERSION#v}" >/dev/null
	tar -C "$scratch/$arch" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner \
		--mode=go=rX,u+rw -cf "$out/stsmapd_$arch.tar" .
done
ls -l "$out"
