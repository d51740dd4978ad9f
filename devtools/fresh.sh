#!/bin/bash
# README's commands on a fresh clone of HEAD, each as the first one typed in a bare Debian 12 container of its own (only git and make).
# Needs root and a Docker engine. FRESH_TARGETS limits what is tried, for example FRESH_TARGETS=demo.
set -eu
cd "$(dirname "$0")/.."
targets=${FRESH_TARGETS:-demo test}

docker info >/dev/null 2>&1 || {
	echo "fresh: no Docker engine answers: apt-get install docker.io, then start dockerd" >&2
	exit 1
}
docker/base-image.sh
docker build -q -t glbpy-bare - >/dev/null <<-'DOCKERFILE'
	FROM debian:bookworm-slim
	RUN apt-get update && apt-get install -y --no-install-recommends git make && rm -rf /var/lib/apt/lists/*
DOCKERFILE

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
git clone -q --bare . "$work/glbpy.git"

# Behind a proxy that opens TLS, pip needs the proxy's authority too.
authority=/etc/ssl/certs/ca-certificates.crt
options=()
[ ! -f "$authority" ] || options=(-v "$authority:/authority.crt:ro" -e PIP_CERT=/authority.crt)

# Where this machine may not hand out every capability, --privileged is refused: then all but that one.
if docker run --rm --privileged glbpy-bare true 2>/dev/null; then
	options+=(--privileged)
else
	options+=(--device /dev/net/tun --cap-add=ALL --cap-drop=SYS_RESOURCE --security-opt seccomp=unconfined
		--security-opt apparmor=unconfined --security-opt systempaths=unconfined)
fi

for target in $targets; do
	echo "fresh: make $target in a bare container"
	# shellcheck disable=SC2016
	docker run --rm "${options[@]}" -v "$work/glbpy.git:/glbpy.git:ro" glbpy-bare sh -ec '
		git config --global --add safe.directory "*"
		git clone -q /glbpy.git /root/glbpy
		cd /root/glbpy
		exec make '"$target"
	echo "fresh: make $target passed"
done
