"""A net_ring port: what is sent to it comes in by it, so each packet goes through the forwarder twice.

::

    far0 ── director0  VIP → 10.2.0.2 by the ring  ─┐
                       10.2.0.2, GUE → 10.1.0.12  ◄─┘ ring

The kernel knows the way into the ring by the interface that stands for it, ``director1``.
"""

from collections.abc import Callable
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from oracle.build import IPV4, ethernet, ipv4, tcp

from dataplane.rig import SOURCE, VIP, Director
from dataplane.test_nexthop import MODELS, PORTS, Wires, wires
from glbpy import _native as native

__all__ = ["wires"]
BETWEEN, LAST = "10.2.0.2", "10.1.0.12"
LAST_MAC = "02:00:00:00:01:12"
OUTER = 20 + 8 + 4 + 4  # of GUE with one hop

Make = Callable[..., Director]
Name = Callable[[str], str]


def two_services(path: Path) -> None:
    """Clients' web service, and one that takes the GUE of the first."""
    pools = tuple(
        native.PoolInput(f"pool{n}", (native.BackendInput("b", n, ip_address(address)),))
        for n, address in enumerate((BETWEEN, LAST), 1)
    )
    binds = (
        native.BindInput(ip_network(VIP), "tcp", 80, 80),
        native.BindInput(ip_network(BETWEEN), "udp", 19523, 19523),
    )
    services = tuple(
        native.ServiceInput(
            name=f"s{n}", id=n + 1, pool=n, hash_key=bytes(16), seed=bytes(16), rows=1024, binds=(bind,)
        )
        for n, bind in enumerate(binds)
    )
    path.write_bytes(native.compile_snapshot(native.ConfigInput(pools, services, 1)))


@pytest.mark.parametrize("run_model", MODELS)
def test_there_and_back(make: Make, name: Name, wires: Wires, run_model: str) -> None:
    wires.machines |= {BETWEEN: "02:00:00:00:02:02", LAST: LAST_MAC}
    forward = {"outer_source_v4": SOURCE, "mtu": 1600, "filter_mac": False, "run_model": run_model}
    director = make(name("ring"), prefix=wires.prefix, forward=forward)
    del director.document["forward"]["gateway_mac"]
    ring = {"devargs": "net_ring0", "kernel_interface": "director1"}
    director.document["port"] = [{"devargs": PORTS[0]}, ring]
    director.write()
    two_services(director.snapshot)
    director.start()
    ports = director.client.status().ports
    assert [(port.driver, port.link_up) for port in ports] == [("net_af_packet", True), ("net_ring", True)]

    sports = range(1024, 1224)
    wires.send(sports)
    frames = wires.wires[0].receive(len(sports))
    wanted = [ethernet(ipv4("192.0.2.77", VIP, 6, tcp(sport, 80)), IPV4)[14:] for sport in sports]
    assert [frame[14 + 2 * OUTER :] for frame in frames] == wanted
    assert {frame[:6].hex(":") for frame in frames} == {LAST_MAC}
    assert {str(ip_address(frame[30:34])) for frame in frames} == {LAST}
    assert {str(ip_address(frame[30 + OUTER : 34 + OUTER])) for frame in frames} == {BETWEEN}
    counters = director.counters()
    assert (counters["forwarded"], counters["tx_full"]) == (2 * len(sports), 0)
    assert director.terminate() == 0
