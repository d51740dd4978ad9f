"""What a forwarder says of itself, as the API shows it: lcores, ports, next hops.

Counters by service and backend are not here: those are read from the counter file (``glbpy.counters``).
"""

from pydantic import Field

from glbpy.forwarder import ForwarderStatus
from glbpy.models import Model


class LastErrorSeen(Model):
    """Why the forwarder refused the last snapshot that it was given, by whomever."""

    code: str
    message: str
    path: str


class LastLoadSeen(Model):
    """What the last good load took, in microseconds."""

    load_us: int = Field(description="Reading and checking the file.")
    switch_us: int = Field(description="Until the last worker had left the old snapshot.")


class LcoreSeen(Model):
    """A worker lcore; in a pipeline also a receiver or sender. Counters are since the forwarder's start."""

    worker: int
    role: str = Field(description="worker, receiver or sender.")
    lcore: int
    rx_packets: int
    tx_packets: int
    sleeps: int
    stalls: int = Field(description="Times that the watchdog found it stuck.")
    stuck: str | None = Field(description="Now: spins or stands; null: it is well.")
    ring_high_water: int = Field(description="Most packets seen waiting in one of its rings.")


class PortSeen(Model):
    """A port of the forwarder. Counters are the driver's; ``xstats`` has those that are not 0."""

    name: str
    driver: str
    mac: str
    mtu: int = Field(description="Bytes of IP on the way out; 0: no limit.")
    link_up: bool
    interface: str = Field(
        description="Of the kernel, behind the port: up, down, gone; unknown: there is none."
    )
    vanished: int = Field(description="Times that its interface went away.")
    reopened: int = Field(description="Times that it was opened again.")
    rx_missed: int = Field(description="Packets that the driver had no room for.")
    rx_errors: int
    tx_errors: int
    xdp_taken: int | None = Field(description="af_xdp: packets handed to the forwarder.")
    xdp_unserved: int | None = Field(
        description="af_xdp: packets to a VIP on queues that no worker serves: lost."
    )
    xstats: dict[str, int]


class PuntSeen(Model):
    """Packets of one class on their way from a port that DPDK owns to the kernel."""

    port: int
    interface: str
    traffic: str = Field(description="neighbour, routing or other.")
    to_kernel: int
    limited: int = Field(description="Above the rate of their class.")
    queue_full: int
    refused: int = Field(description="Not taken by the kernel's interface: is it up?")


class MissingHop(Model):
    """A backend whose packets are dropped as ``no_next_hop``."""

    backend: str = Field(
        description="POOL/BACKEND; without POOL when it is not in the configuration any more."
    )
    id: int
    address: str
    why: str = Field(description="no_route, other_interface, own_address or no_neighbour.")


class NextHopsSeen(Model):
    """Whether the director knows where packets to its backends go next."""

    source: str = Field(description="kernel: its routes and neighbours; gateway_mac: all to one address.")
    backends: int = Field(description="Of the snapshot; inactive ones are left out.")
    unresolved: int
    missing: tuple[MissingHop, ...] = Field(description="The first 16 of the unresolved.")


class PathMtuSeen(Model):
    """A backend that is behind a link with a smaller MTU: a router on the way has said so."""

    backend: str = Field(
        description="POOL/BACKEND; without POOL when it is not in the configuration any more."
    )
    id: int
    address: str
    mtu: int = Field(description="Bytes of IP, outer headers included.")
    said_s: float = Field(description="Seconds ago; it is forgotten after `forward.path_mtu_seconds`.")


def details(seen: ForwarderStatus, paths: dict[int, str]) -> dict[str, object]:
    """Return what of ``seen`` has a model here. ``paths`` are POOL/BACKEND by id."""
    error, load, hops = seen.last_error, seen.last_load, seen.next_hops
    mtus = seen.path_mtus.backends if seen.path_mtus else []
    return {
        "muted": seen.muted,
        "last_error": None if error is None else LastErrorSeen.model_validate(error.model_dump()),
        "last_load": None if load is None else LastLoadSeen(load_us=load.load_us, switch_us=load.switch_us),
        "lcores": tuple(
            LcoreSeen.model_validate(lcore.model_dump(include=set(LcoreSeen.model_fields)))
            for lcore in seen.workers
        ),
        "ports": tuple(
            PortSeen.model_validate(
                port.model_dump(include=set(PortSeen.model_fields))
                | {
                    "xdp_taken": port.xdp.taken if port.xdp else None,
                    "xdp_unserved": port.xdp.unserved if port.xdp else None,
                }
            )
            for port in seen.ports
        ),
        "punt": tuple(
            PuntSeen(port=punt.port, interface=punt.interface, traffic=name, **counts.model_dump())
            for punt in seen.punt
            for name, counts in punt.classes.items()
        ),
        "next_hops": None if hops is None else NextHopsSeen(
            source=hops.source,
            backends=hops.backends,
            unresolved=hops.unresolved,
            missing=tuple(
                MissingHop(backend=paths.get(m.id, m.name), id=m.id, address=m.address, why=m.why)
                for m in hops.missing
            ),
        ),
        "path_mtus": tuple(
            PathMtuSeen(
                backend=paths.get(m.id, m.name), id=m.id, address=m.address, mtu=m.mtu, said_s=m.said_s
            )
            for m in mtus
        ),
    }  # fmt: skip
