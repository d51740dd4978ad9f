#!/bin/sh
# One role of the lab on docker compose: client, router, director or backend. Addresses come from compose.yaml.
set -eu
role=$1

device_with() { # the interface that has this IPv4 address
	ip -o -4 addr show | awk -v want="$1" '{split($4, a, "/"); if (a[1] == want) print $2}'
}

route_by() { # default routes through the router, and no way out of the lab
	ip route replace default via "$1"
	ip -6 route replace default via "$2"
}

case $role in
client)
	route_by "$ROUTER_OUTSIDE4" "$ROUTER_OUTSIDE6"
	exec sleep infinity ;;

router)
	ip route del default 2>/dev/null || true
	ip -6 route del default 2>/dev/null || true
	inside=$(device_with "$ROUTER4")
	# What AF_PACKET gets must be as on a real wire: checksums filled in, no super-packets.
	ethtool -K "$inside" tx off >/dev/null
	ip route replace "$VIP4" via "$DIRECTOR4"
	ip -6 route replace "$VIP6" via "$DIRECTOR6"
	exec sleep infinity ;;

director)
	route_by "$ROUTER4" "$ROUTER6"
	device=$(device_with "$DIRECTOR4")
	until ping -c 1 -W 1 "$ROUTER4" >/dev/null 2>&1; do :; done
	gateway_mac=$(ip -4 neigh show "$ROUTER4" dev "$device" | awk '{print $3}')
	cat > /etc/glb/director.toml <<-TOML
		[director]
		name = "director1"
		[forward]
		outer_source_v4 = "$DIRECTOR4"
		gateway_mac = "$gateway_mac"
		[eal]
		args = ["--no-huge", "-m", "128", "--no-pci"]
		[[port]]
		devargs = "net_af_packet0,iface=$device,framecnt=4096,blocksz=65536"
	TOML
	exec glb serve --config /etc/glb/director.toml ;;

backend)
	route_by "$ROUTER4" "$ROUTER6"
	device=$(device_with "$ADDRESS4")
	ip addr add "$VIP4/32" dev lo
	ip -6 addr add "$VIP6/128" dev lo nodad
	ethtool -K "$device" gro off >/dev/null
	mkdir -p /run/glb/backend
	python - "$NAME" <<-'PYTHON'
		import sys
		from pathlib import Path
		from glbpy.lab.backend import write_config
		write_config(sys.argv[1], Path("/run/glb/backend"))
	PYTHON
	python -m glbpy.lab.slow /run/glb/backend/slow.sock "$NAME" &
	mkdir /run/glb/bpf
	mount -t bpf bpf /run/glb/bpf
	glb-redirect attach "$device" --pin-dir /run/glb/bpf --allow "$SEGMENT4" --peer "$SEGMENT4"
	exec nginx -c /run/glb/backend/nginx.conf ;;

*)
	echo "entrypoint: role must be client, router, director or backend" >&2
	exit 2 ;;
esac
