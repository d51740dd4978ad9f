#!/bin/sh
# Makes the image debian:bookworm-slim with debootstrap, for machines that reach Debian's packages but no image registry.
# Does nothing when the image is there already. Needs root and debootstrap.
set -eu
image=debian:bookworm-slim

docker image inspect "$image" >/dev/null 2>&1 && exit 0
if docker pull -q "$image" 2>/dev/null; then exit 0; fi
command -v debootstrap >/dev/null || {
	echo "base-image: no registry can be reached and debootstrap is missing: apt-get install debootstrap" >&2
	exit 1
}

root=$(mktemp -d)
trap 'rm -rf "$root" "$root.log"' EXIT
echo "base-image: no registry can be reached; making $image with debootstrap"
debootstrap --variant=minbase bookworm "$root" >"$root.log" 2>&1 || { tail -20 "$root.log" >&2; exit 1; }
rm -f "$root"/var/cache/apt/archives/*.deb
tar -C "$root" -c . | docker import - "$image" >/dev/null
