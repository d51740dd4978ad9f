"""Who may send to a pool's backends in tunnels: what `glb-redirect allow watch` and `--allow-file` read.

The directors' outer addresses may send; backends may also be sent to, as next hops. Directors of other
controllers are not known here: lists may be put one behind the other.
"""

import ipaddress
import socket
from collections.abc import Iterable

from glbpy import settling
from glbpy.desired import Desired

GUE_PORT = 19523  # any would do: no packet is sent


def allow_list(state: Desired, pool: str, sources: Iterable[str]) -> str:
    """Return the list for the backends of ``pool``; ``sources`` may send. Raises NotFoundError.

    Backends that are inactive or were removed are in it while chains may have them, and so are those of
    pools that a service had or gets: chains then lead from one to the other.
    """
    state.pool(pool)
    gone = settling.settling_members(state)
    peers: set[str] = set()
    for name in together(state, pool):
        found = state.document.pool(name)
        peers.update(backend.address for backend in (found.backends if found else ()))
        peers.update(member.address for member in gone.get(name, ()))
    lines = [f"# glbpy: pool {pool}, revision {state.revision}"]
    lines += [prefix for prefix in _sorted(sources) if prefix not in set(_sorted(peers))]
    lines += [f"{prefix} peer" for prefix in _sorted(peers)]
    return "\n".join(lines) + "\n"


def together(state: Desired, pool: str) -> set[str]:
    """Return the pools whose backends may be in chains with those of ``pool``, itself included."""
    found = {pool}
    for service in state.document.services:
        own, alt = settling.split(state, service)
        pools = {service.pool, *(prior.service.pool for prior in (*own, *alt))}
        if pool in pools:
            found |= pools
    return found


def own_addresses(state: Desired, pool: str) -> set[str]:
    """Return this machine's addresses towards backends that it checks through the tunnel."""
    found = state.pool(pool)
    if found.health_check is None or found.health_check.via != "tunnel":
        return set()
    return {address for backend in found.backends if (address := _towards(backend.address)) is not None}


def _towards(address: str) -> str | None:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            asked.connect((address, GUE_PORT))
            return str(asked.getsockname()[0])
        except OSError:
            return None


def _sorted(prefixes: Iterable[str]) -> list[str]:
    """Return them once each, as glb-redirect prints them."""
    networks = {ipaddress.ip_network(prefix) for prefix in prefixes}
    return [str(net) for net in sorted(networks, key=lambda net: (net.version, net))]
