"""The lab's network: names, addresses, and the commands that make it. No programs run here.

      glb-NAME-client                glb-NAME-router                      glb-NAME-director1
    +-----------------+        +------------------------+               +----------------------+
    | eth0            |--------| client          br0    |---director1---| eth0   glb-forwarder |
    |  198.51.100.2   |        |  198.51.100.1          |               |  10.0.0.2  (no VIP,  |
    |  2001:db8:c::2  |        |  2001:db8:c::1         |               |  ip_forward=0)       |
    +-----------------+        |         10.0.0.1       |               +----------------------+
                               |         2001:db8:b::1  |                 glb-NAME-backend1 …
                               |                        |               +----------------------+
      VIPs routed to director1 |      MTU 1600 on br0   |---backend1----| eth0          nginx  |
      203.0.113.10             |      and all its ports |---backend2-…  |  10.0.0.11           |
      2001:db8:f::10           +------------------------+---backend3-…  |  2001:db8:b::11      |
                                                                        | lo   the VIPs        |
    client --> router --> director1 --GUE--> router --> backend         +----------------------+
       ^------------------ router <---- direct return -----'

A director has one arm: packets leave by the port that they came in on, to the router's MAC. With several,
which are alike, the router spreads flows over them (equal-cost routes, by a hash of addresses and ports). All
addresses are from private and documentation ranges and exist inside the namespaces only.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from glbpy.errors import InvalidInputError
from glbpy.lab import netns

NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?")
PORT = 80
VIP4 = "203.0.113.10"
VIP6 = "2001:db8:f::10"
MTU = 1600  # of the backend segment: 1500 bytes of client packet and the longest outer header
ROUTER_MAC = "02:00:0a:00:00:01"
CLIENT4, CLIENT6 = "198.51.100.2", "2001:db8:c::2"
DIRECTOR4, DIRECTOR6 = "10.0.0.2", "2001:db8:b::2"  # of director1
DIRECTORS_MAX = 8

# No waiting for duplicate address detection, no path filters: packets may come and go by different ways.
EVERYWHERE: dict[str, int | str] = {
    "ipv6/conf/all/accept_dad": 0,
    "ipv6/conf/default/accept_dad": 0,
    "ipv6/conf/all/accept_ra": 0,
    "ipv6/conf/default/accept_ra": 0,
    "ipv4/conf/all/rp_filter": 0,
    "ipv4/conf/default/rp_filter": 0,
    "core/somaxconn": 16384,
}
# Outer packets leave by the bridge that they came in on: no redirects for that. A flow goes to one of several
# directors by its addresses and ports.
ROUTER: dict[str, int | str] = {
    "ipv4/fib_multipath_hash_policy": 1,
    "ipv6/fib_multipath_hash_policy": 1,
    "ipv4/ip_forward": 1,
    "ipv6/conf/all/forwarding": 1,
    "ipv4/conf/all/send_redirects": 0,
    "ipv4/conf/default/send_redirects": 0,
}
CLIENT: dict[str, int | str] = {"ipv4/ip_local_port_range": "10000 65000"}
# The kernel sees every VIP packet as well as the forwarder: it must neither forward nor answer.
DIRECTOR: dict[str, int | str] = {"ipv4/ip_forward": 0, "ipv6/conf/all/forwarding": 0}
# A VIP on lo is nobody else's business: ARP speaks for the backend's own address only.
BACKEND: dict[str, int | str] = {
    "ipv4/conf/all/arp_ignore": 1,
    "ipv4/conf/all/arp_announce": 2,
    "ipv4/tcp_max_syn_backlog": 16384,
}


def check_name(lab: str) -> None:
    """Raises InvalidInputError when `lab` cannot name a lab."""
    if not NAME.fullmatch(lab):
        raise InvalidInputError(f"lab name {lab!r}: want 1 to 20 of a-z, 0-9 and inner dashes")


def namespace(lab: str, role: str) -> str:
    return f"glb-{lab}-{role}"


def namespaces(lab: str) -> list[str]:
    """The namespaces of `lab` that exist, whoever made them and however far they came."""
    ours = re.compile(rf"glb-{re.escape(lab)}-(client|router|(director|backend)[0-9]+)")
    return sorted(entry.name for entry in netns.NETNS.glob("glb-*") if ours.fullmatch(entry.name))


@dataclass(frozen=True)
class Backend:
    """Backend number 1, 2, …; its name is that of its role in the lab."""

    lab: str
    number: int

    @property
    def name(self) -> str:
        return f"backend{self.number}"

    @property
    def ns(self) -> str:
        return namespace(self.lab, self.name)

    @property
    def address4(self) -> str:
        return f"10.0.0.{10 + self.number}"

    @property
    def address6(self) -> str:
        return f"2001:db8:b::{10 + self.number}"


@dataclass(frozen=True)
class Director:
    """Director number 1, 2, … up to DIRECTORS_MAX."""

    lab: str
    number: int

    @property
    def name(self) -> str:
        return f"director{self.number}"

    @property
    def instance(self) -> str:
        """The name in its configuration: labs of one machine have different ones."""
        return f"{self.lab}-{self.name}"

    @property
    def ns(self) -> str:
        return namespace(self.lab, self.name)

    @property
    def address4(self) -> str:
        return f"10.0.0.{1 + self.number}"

    @property
    def address6(self) -> str:
        return f"2001:db8:b::{1 + self.number}"


def cable(port: str, peer: str, mtu: int) -> list[str]:
    """Commands for a veth pair between the router's `port` and eth0 of namespace `peer`."""
    return [
        f"link add {port} mtu {mtu} type veth peer name eth0 mtu {mtu} netns {peer}",
        f"link set {port} up",
    ]


def addresses(v4: str, v6: str, gateway4: str = "", gateway6: str = "") -> list[str]:
    """Commands for eth0 of an end: up, addressed, with default routes when gateways are given."""
    lines = ["link set eth0 up", f"addr add {v4} dev eth0", f"addr add {v6} dev eth0 nodad"]
    if gateway4:
        lines += [f"route add default via {gateway4}", f"route add default via {gateway6}"]
    return lines


def build_core(lab: str) -> None:
    """Make the client and the router."""
    client, router = (namespace(lab, role) for role in ("client", "router"))
    for name, own in ((client, CLIENT), (router, ROUTER)):
        netns.add(name)
        netns.sysctl(name, EVERYWHERE | own)
    netns.ip(
        router,
        [
            f"link add br0 address {ROUTER_MAC} mtu {MTU} type bridge forward_delay 0 mcast_snooping 0",
            *cable("client", client, 1500),
            "link set br0 up",
            "addr add 198.51.100.1/24 dev client",
            "addr add 2001:db8:c::1/64 dev client nodad",
            "addr add 10.0.0.1/24 dev br0",
            "addr add 2001:db8:b::1/64 dev br0 nodad",
        ],
    )
    netns.ip(client, addresses(f"{CLIENT4}/24", f"{CLIENT6}/64", "198.51.100.1", "2001:db8:c::1"))


def build_director(director: Director) -> None:
    """Make a director and plug it into the bridge. route_vips() sends it packets."""
    router = namespace(director.lab, "router")
    netns.add(director.ns)
    netns.sysctl(director.ns, EVERYWHERE | DIRECTOR)
    netns.ip(router, [*cable(director.name, director.ns, MTU), f"link set {director.name} master br0"])
    netns.ip(
        director.ns,
        addresses(f"{director.address4}/24", f"{director.address6}/64", "10.0.0.1", "2001:db8:b::1"),
    )
    # What goes to AF_PACKET must be as on a real wire: checksums filled in, no super-packets. The
    # sending kernel does both at the last device in front of the director when that cannot.
    netns.run_in(router, ["ethtool", "-K", director.name, "tx", "off", "tso", "off"])


def route_vips(lab: str, to: "Iterable[Director | Backend]", vips: Iterable[str] = (VIP4, VIP6)) -> None:
    """Have the router spread the VIPs over these machines, normally the directors."""
    machines = list(to)
    lines = []
    for vip in vips:
        via = [each.address6 if ":" in vip else each.address4 for each in machines]
        hops = f"via {via[0]}" if len(via) == 1 else " ".join(f"nexthop via {address}" for address in via)
        lines.append(f"route replace {vip} {hops}")
    netns.ip(namespace(lab, "router"), lines)


def build_backend(backend: Backend, vips: Iterable[str] = ()) -> None:
    """Make a backend and plug it into the bridge. It has the VIPs of `www`, and these."""
    router = namespace(backend.lab, "router")
    netns.add(backend.ns)
    netns.sysctl(backend.ns, EVERYWHERE | BACKEND)
    netns.ip(
        router,
        [*cable(backend.name, backend.ns, MTU), f"link set {backend.name} master br0"],
    )
    netns.ip(
        backend.ns,
        [
            *(f"addr add {vip} dev lo{' nodad' if ':' in vip else ''}" for vip in (VIP4, VIP6, *vips)),
            *addresses(f"{backend.address4}/24", f"{backend.address6}/64", "10.0.0.1", "2001:db8:b::1"),
        ],
    )


def unplug(machine: Backend | Director) -> None:
    """Cut a machine's cable, as when it loses power: nobody learns of it."""
    netns.ip(namespace(machine.lab, "router"), [f"link set {machine.name} down"])


def plug(machine: Backend | Director) -> None:
    """Undo unplug()."""
    netns.ip(namespace(machine.lab, "router"), [f"link set {machine.name} up"])
