"""Two forwarders back to back on net_memif: in on the first's wire, out on the second's.

::

    far0 ── director0  FIRST  memif (server) ══ shared memory ══ memif (client)  SECOND  director1 ── far1
                       VIP → 10.2.0.2 by the memif               10.2.0.2, GUE → 10.2.0.12 by director1

Each has a namespace of its own. The second takes what the first sends to its backend as packets to a VIP of
its own, and wraps them once more. The kernel knows the way into a memif by the interface that stands for it,
the other veth.
"""

import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from oracle.build import IPV4, ethernet, ipv4, tcp

from dataplane.rig import SOURCE, VIP, Director, snapshot
from dataplane.test_nexthop import Wires
from glbpy import _native as native
from glbpy.errors import ForwarderError

BETWEEN, LAST = "10.2.0.2", "10.2.0.12"
MACS = ("02:00:00:00:03:01", "02:00:00:00:03:02")  # of the memif's ends
LAST_MAC = "02:00:00:00:02:12"
OUTER = 20 + 8 + 4 + 4  # of GUE with one hop

Make = Callable[..., Director]
Name = Callable[[str], str]


def gue_snapshot(path: Path) -> None:
    """A service that takes GUE itself, as clients' packets, to one backend."""
    pool = native.PoolInput("last", (native.BackendInput("last1", 101, ip_address(LAST)),))
    service = native.ServiceInput(
        name="gue", id=1, pool=0, hash_key=bytes(16), seed=bytes(16), rows=1024,
        binds=(native.BindInput(ip_network(BETWEEN), "udp", 19523, 19523),),
        hash_fields=("src_addr", "src_port"),
    )  # fmt: skip
    path.write_bytes(native.compile_snapshot(native.ConfigInput((pool,), (service,), 1)))


class Pair:
    def __init__(self, make: Make, name: Name, wires: tuple[Wires, Wires], folder: Path) -> None:
        self.wires = wires
        shared = f"id=0,socket={folder}/memif.sock,socket-abstract=no"  # across namespaces
        wires[0].machines[BETWEEN] = MACS[1]
        wires[1].machines[LAST] = LAST_MAC
        self.first, self.second = (
            self.director(make, name(f"m{n}"), n, f"net_memif0,role={role},mac={MACS[n]},{shared}")
            for n, role in enumerate(("server", "client"))
        )
        snapshot(self.first.snapshot, backends=(BETWEEN,))
        gue_snapshot(self.second.snapshot)

    def director(self, make: Make, name: str, n: int, memif: str) -> Director:
        """The first or the second: its own wire is veth `n`, the other veth stands for the memif."""
        made = make(name, prefix=self.wires[n].prefix, forward={"outer_source_v4": SOURCE, "mtu": 1600})
        del made.document["forward"]["gateway_mac"]
        wire = f"net_af_packet0,iface=director{n},framecnt=4096,blocksz=65536"
        made.document["port"] = [
            {"devargs": wire}, {"devargs": memif, "kernel_interface": f"director{1 - n}"},
        ]  # fmt: skip
        made.write()
        return made

    def through(self, sports: range) -> list[bytes]:
        """Send a client's packets in on the first wire; what comes out on the second."""
        self.wires[0].send(sports)
        return self.wires[1].wires[1].receive(len(sports), 10)


def memif(director: Director) -> dict[str, Any]:
    ports = director.client.request({"version": 1, "command": "status"})["ports"]
    assert isinstance(ports, list)
    (found,) = (each for each in ports if each["name"] == "net_memif0")
    assert isinstance(found, dict)
    return found


def link_up(director: Director) -> bool:
    return bool(memif(director)["link_up"])


def wait_linked(*directors: Director, timeout_s: float = 20) -> None:
    """Wait until both ends say that the memif is connected."""
    deadline = time.monotonic() + timeout_s
    while not all(link_up(each) for each in directors):
        assert time.monotonic() < deadline, "the memif does not connect"
        time.sleep(0.05)


def inner(sport: int) -> bytes:
    return ethernet(ipv4("192.0.2.77", VIP, 6, tcp(sport, 80)), IPV4)[14:]


@pytest.fixture
def pair(make: Make, name: Name, tmp_path: Path) -> Iterator[Pair]:
    wires = (Wires("memif1"), Wires("memif2"))
    try:
        made = Pair(make, name, wires, tmp_path)
        made.first.start()
        made.second.start()
        wait_linked(made.first, made.second)
        yield made
    finally:
        for each in wires:
            each.close()


def test_back_to_back(pair: Pair) -> None:
    sports = range(1024, 1524)
    frames = [frame for n in range(10) for frame in pair.through(sports[n * 50 : n * 50 + 50])]
    assert [frame[14 + 2 * OUTER :] for frame in frames] == [inner(sport) for sport in sports]
    assert {str(ip_address(frame[30:34])) for frame in frames} == {LAST}
    assert {str(ip_address(frame[30 + OUTER : 34 + OUTER])) for frame in frames} == {BETWEEN}
    assert {frame[:6].hex(":") for frame in frames} == {LAST_MAC}
    for director in (pair.first, pair.second):
        counters = director.counters()
        assert counters["forwarded"] == len(sports)
        assert counters["tx_full"] == 0
        assert director.terminate() == 0


@pytest.mark.parametrize("who", ["first", "second"])
@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_one_end_comes_back(pair: Pair, who: str, how: str) -> None:
    """They connect again, whichever listens; the other end goes on meanwhile, and says what it misses."""
    again, stays = (pair.first, pair.second) if who == "first" else (pair.second, pair.first)
    for round_ in range(2):
        assert len(pair.through(range(1024, 1074))) == 50
        if how == "killed":
            again.kill()
        else:
            assert again.terminate() == 0
        deadline = time.monotonic() + 10
        while link_up(stays) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not link_up(stays)
        if stays is pair.first:  # there is nowhere to send to: counted, and nothing hangs
            pair.wires[0].send(range(1024, 1034))
            full = 10 * (round_ + 1)
            assert stays.wait_for("tx_full", full)["tx_full"] == full
        assert memif(stays)["interface"] == "gone"
        again.start()
        wait_linked(pair.first, pair.second)
    seen = memif(stays)
    assert (seen["interface"], seen["vanished"], seen["reopened"]) == ("up", 2, 2)
    assert "net_memif0: its peer is gone" in stays.log.read_text()
    assert len(pair.through(range(1024, 1074))) == 50


@pytest.mark.parametrize("abstract", ["yes", "no"])
def test_names_of_sockets(make: Make, name: Name, tmp_path: Path, abstract: str) -> None:
    """As a file or without one: found again after a crash, and one that is in use is left alone."""
    path = name("memif") if abstract == "yes" else f"{tmp_path}/memif.sock"
    devargs = f"net_memif0,id=0,socket={path},socket-abstract={abstract},role="
    server, client = (
        make(name("ms"), f"{devargs}server").start(),
        make(name("mc"), f"{devargs}client").start(),
    )
    wait_linked(server, client)
    with pytest.raises(ForwarderError, match="did not come up"):
        make(name("mx"), f"{devargs}server").start()
    assert link_up(server)
    assert link_up(client)
    server.kill()
    server.start()
    wait_linked(server, client)
