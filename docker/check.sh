#!/bin/bash
# Builds the lab's image, brings the lab up on docker compose, checks traffic and a drain through it, and takes it down.
# Works with docker-compose 1.29 and with the compose plugin. Needs a Docker engine; not part of CI.
set -eu
cd "$(dirname "$0")"

if docker compose version >/dev/null 2>&1; then compose=(docker compose); else compose=(docker-compose); fi
compose+=(-p glbpy-lab -f compose.yaml)

docker info >/dev/null 2>&1 || { echo "lab-docker: no Docker engine answers: apt-get install docker.io docker-compose" >&2; exit 1; }
./base-image.sh
mkdir -p authority
trap 'rm -rf authority' EXIT
touch authority/.keep
[ ! -f /etc/ssl/certs/ca-certificates.crt ] || cp /etc/ssl/certs/ca-certificates.crt authority/ca.crt
echo "lab-docker: building the image"
docker build -q -t glbpy-lab -f Dockerfile .. >/dev/null

finish() {
	status=$?
	[ "$status" -eq 0 ] || "${compose[@]}" logs --tail 30 || true
	"${compose[@]}" down -v --timeout 3 >/dev/null 2>&1 || true
	rm -rf authority
	exit "$status"
}
trap finish EXIT
"${compose[@]}" up -d

inside() { # role, command...
	local role=$1
	shift
	docker exec "$("${compose[@]}" ps -q "$role")" "$@"
}

wait_for() { # what, command...: at most 60 s
	local what=$1 tries=0
	shift
	until "$@" >/dev/null 2>&1; do
		tries=$((tries + 1))
		[ "$tries" -lt 120 ] || { echo "lab-docker: gave up waiting for $what" >&2; return 1; }
		sleep 0.5
	done
}

failures() { # address, count: prints how many of count requests failed
	inside client sh -c '
		failed=0
		for i in $(seq "$2"); do curl -sf -m 5 "http://$1/" >/dev/null || failed=$((failed + 1)); done
		echo "$failed"' sh "$1" "$2"
}

expect() { # what, wanted, got
	[ "$2" = "$3" ] || { echo "lab-docker: $1: wanted $2, got $3" >&2; return 1; }
	echo "lab-docker: $1: $3"
}

wait_for "the API" inside director glb get pools
inside director glb apply -f /etc/glb/config.yaml
for vip in 203.0.113.10 '[2001:db8:f::10]'; do
	wait_for "traffic through $vip" inside client curl -sf -m 2 "http://$vip/"
	expect "failed requests of 100 to $vip" 0 "$(failures "$vip" 100)"
done

echo "lab-docker: draining each backend in turn under 12 downloads"
downloads=$(inside client sh -c '
	for i in $(seq 12); do
		curl -s -m 60 "http://203.0.113.10/slow?seconds=15&bytes=1000000" | wc -c &
	done
	wait' & echo $! >/dev/null; for backend in backend1 backend2 backend3; do
		sleep 2
		inside director glb drain --wait "web/$backend" >&2
		expect "failed requests of 20 with $backend drained" 0 "$(failures 203.0.113.10 20)" >&2
		inside director glb undrain "web/$backend" >&2
	done; wait)
expect "whole downloads of 12" 12 "$(grep -c '^1000000$' <<<"$downloads")"
echo "lab-docker: passed"
