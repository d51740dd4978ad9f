"""Real TCP finds the size that fits, both ways: told by the director, and by routers around a backend."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from glbpy import _native as native
from glbpy.client import path_of
from glbpy.lab import director, netns
from glbpy.lab.lab import POOL, Lab
from glbpy.lab.slow import pattern
from glbpy.lab.topology import CLIENT4, CLIENT6, VIP4, VIP6

GLB = str(Path(sys.executable).with_name("glb"))
EGRESS = 1400  # from the director to backends
NARROW = 1300  # from the router to the client
BYTES = 20_000_000
# From the router to backends. 1286 bytes are left for clients: less than NARROW, because a backend that has
# learned of that tells it in its SYN-ACKs, and nothing would be too big there.
NARROW_WAY = 1330
WAY_BYTES = 2_500_000


@pytest.fixture(scope="module")
def lab(lab_name: Callable[[str], str]) -> Iterator[Lab]:
    """A lab whose director may send 1400 bytes, and whose router sends the client 1300 at most."""
    lab = Lab(lab_name("mtu"))
    lab.down()  # of a run that was killed
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(director, "MTU", EGRESS)
        lab.up()
    router = lab.state().namespaces.router
    routes = [f"{CLIENT4}/32 dev client", f"{CLIENT6}/128 dev client"]
    netns.ip(router, [f"route replace {route} mtu lock {NARROW}" for route in routes])
    yield lab
    lab.down()
    assert not any(lab.rundir.traces().values())


def fits(lab: Lab) -> int:
    """Return what clients are told: GUE over IPv4, and the longest chain, former states' hops included."""
    [table] = native.Snapshot((lab.director_dir / "snapshot.glb").read_bytes()).tables
    return EGRESS - 36 - 4 * (table.hops - 1)


def path_mtu(ns: str, address: str) -> int:
    words = netns.run_in(ns, ["ip", "route", "get", address]).split()
    return int(words[words.index("mtu") + 1]) if "mtu" in words else 0


@pytest.mark.parametrize(("vip", "client"), [(VIP4, CLIENT4), (VIP6, CLIENT6)])
def test_tcp_finds_the_size_both_ways(lab: Lab, vip: str, client: str, tmp_path: Path) -> None:
    """20 MB to the backend, and 20 MB back on the same connection; nginx answers when it has them all."""
    sent, answer = tmp_path / "sent", tmp_path / "answer"
    sent.write_bytes(bytes(range(256)) * (BYTES // 256) + bytes(BYTES % 256))
    before, ns = lab.counters(), lab.state().namespaces.client
    where = f"http://[{vip}]" if ":" in vip else f"http://{vip}"
    curl = ["curl", "-gsS", "-m", "60", "-o", str(answer), "-H", "Expect:", "--data-binary", f"@{sent}"]
    told = "%{size_upload} %{num_connects} %header{x-backend}"
    said = netns.run_in(ns, [*curl, "-w", told, f"{where}/slow?seconds=0&bytes={BYTES}"])
    size, connections, name = said.split()
    assert (int(size), int(connections)) == (BYTES, 1)
    assert answer.read_bytes() == pattern(name, 0, BYTES)
    assert path_mtu(ns, vip) == fits(lab)
    assert path_mtu(lab.backend(name).ns, client) == NARROW
    now = lab.counters()
    assert now["oversize_answered"] > before["oversize_answered"]
    lost = ("too_long", "oversize_limited", "icmp_not_ours", "icmp_not_taken")
    assert [now[reason] - before[reason] for reason in lost] == [0, 0, 0, 0]


@pytest.mark.parametrize("vip", [VIP4, VIP6])
def test_pings_are_told_the_size(lab: Lab, vip: str) -> None:
    """The client's kernel takes the answer for one about its own packet, and tells ping."""
    headers, size = 28 if vip == VIP4 else 48, fits(lab)
    ns = lab.state().namespaces.client
    netns.run_in(ns, ["ip", "-6" if ":" in vip else "-4", "route", "flush", "cache"])
    before = lab.counters()["oversize_answered"]

    def ping(length: int) -> str:
        argv = f"ping -n -M do -c 1 -W 1 -s {length - headers} {vip} || true"  # the way back is narrower
        return netns.run_in(ns, ["sh", "-c", argv])

    assert f"mtu={size}" in ping(size + 1).replace("mtu = ", "mtu=")
    assert lab.counters()["oversize_answered"] == before + 1
    ping(size)
    assert lab.counters()["oversize_answered"] == before + 1


@pytest.mark.parametrize("vip", [VIP4, VIP6])
def test_a_narrow_link_between_director_and_backend(lab: Lab, vip: str, tmp_path: Path) -> None:
    """A router there says so to the director, which tells the client; the API shows what was learned."""
    router, ns = lab.state().namespaces.router, lab.state().namespaces.client
    ways = [f"{backend.address4}/32 dev br0" for backend in lab.backends()]
    netns.ip(router, [f"route replace {way} mtu lock {NARROW_WAY}" for way in ways])
    before, sent = lab.counters(), tmp_path / "sent"
    sent.write_bytes(bytes(WAY_BYTES))
    where = f"http://[{vip}]" if ":" in vip else f"http://{vip}"
    curl = ["curl", "-gsS", "-m", "60", "-o", "/dev/null", "-H", "Expect:", "--data-binary", f"@{sent}"]
    told = "%{size_upload} %{num_connects} %header{x-backend}"
    said = netns.run_in(ns, [*curl, "-w", told, f"{where}/slow?seconds=0&bytes=1"])
    size, connections, _ = said.split()
    assert (int(size), int(connections)) == (WAY_BYTES, 1)
    assert path_mtu(ns, vip) == fits(lab) - (EGRESS - NARROW_WAY)
    now = lab.counters()
    assert now["outer_too_big"] > before["outer_too_big"] or vip == VIP6  # the ways are known by then
    assert now["outer_too_big_ignored"] == 0
    deadline, seen = time.monotonic() + 10, []
    with lab.api() as api:
        while not seen and time.monotonic() < deadline:  # of those that this client's packets went to
            paths = [path_of("pools", POOL, "backends", backend.name) for backend in lab.backends()]
            seen = [way for path in paths for way in api.get(path)["status"]["path_mtus"]]
    assert seen
    assert {way["mtu"] for way in seen} == {NARROW_WAY}
    shown = subprocess.run(
        [GLB, "get", "backends", "--url", lab.state().api_url],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert f"{NARROW_WAY} from {seen[0]['director']}, " in shown
