"""Packets of every size reach the backends whole: full-size ones, and bulk from the client's kernel."""

import pytest

from glbpy.lab import netns
from glbpy.lab.lab import Lab
from glbpy.lab.topology import PORT, VIP4, VIP6, Backend
from glbpy.lab.traffic import Client, Connection


def checksum_errors(backend: Backend) -> int:
    """TCP segments that the backend's kernel refused, for either family."""
    counters = netns.run_in(backend.ns, ["nstat", "-asz", "TcpInCsumErrors"])
    return int(counters.split("TcpInCsumErrors")[1].split()[0])


@pytest.mark.parametrize(("vip", "payload"), [(VIP4, 1500 - 28), (VIP6, 1500 - 48)])
def test_full_size_packets_pass_unfragmented(lab: Lab, vip: str, payload: int) -> None:
    argv = ["ping", "-n", "-q", "-M", "do", "-s", str(payload), "-c", "20", "-i", "0.01", "-w", "10", vip]
    assert "20 received" in netns.run_in(lab.state().namespaces.client, argv)


@pytest.mark.parametrize("vip", [VIP4, VIP6])
def test_bulk_from_the_client_arrives_with_good_checksums(lab: Lab, client: Client, vip: str) -> None:
    """Requests of seven kilobytes: super-packets at the client, which must be cut before AF_PACKET."""
    lost = lab.counters()

    async def ask() -> None:
        connection = await Connection(vip, PORT).open()
        for _ in range(20):
            await connection.get("/" + "x" * 7000, timeout_s=2)
        connection.close()

    for _ in range(10):
        client.run(ask())
    now = lab.counters()
    assert {reason: now[reason] - lost[reason] for reason in ("too_long", "ipv4_bad_length", "tx_full")} == {
        "too_long": 0,
        "ipv4_bad_length": 0,
        "tx_full": 0,
    }
    assert [checksum_errors(backend) for backend in lab.backends()] == [0, 0, 0]
