"""Sockets that are not yet, or no longer, connections: the second chance must not take them for one.

A backend is muted by having it believe in a wrong MAC for the router: it receives, and answers into the void.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from glbpy.lab import netns
from glbpy.lab.lab import Lab
from glbpy.lab.topology import PORT, VIP4, VIP6, Backend
from glbpy.lab.traffic import Client, Connection

GATEWAYS = ["10.0.0.1", "2001:db8:b::1"]


@contextmanager
def muted(backend: Backend) -> Iterator[None]:
    netns.ip(
        backend.ns,
        [f"neigh replace {via} lladdr 02:00:00:00:00:fe dev eth0 nud permanent" for via in GATEWAYS],
    )
    try:
        yield
    finally:
        netns.ip(backend.ns, [f"neigh del {via} dev eth0" for via in GATEWAYS])


def sockets(backend: Backend, state: str, sport: int) -> int:
    """Sockets of a backend in `state` whose client port is `sport`."""
    want = ["ss", "-Htn", "state", state, f"sport = :{PORT} and dport = :{sport}"]
    return len(netns.run_in(backend.ns, want).splitlines())


def wait_socket(backend: Backend, state: str, sport: int) -> None:
    netns.wait_until(lambda: sockets(backend, state, sport) == 1, f"{backend.name}: {state} for {sport}", 15)


async def ask_once(vip: str, sport: int, reset: bool = False) -> tuple[str, int]:
    """One request from `sport` (0: any). Ended by a reset, or by the server, which then is in TIME_WAIT."""
    connection = await Connection(vip, PORT, sport).open()
    await connection.get(close=not reset)
    if reset:
        connection.reset()
    else:
        assert await connection.reader.read() == b""
        connection.close()
    assert connection.backend is not None
    return connection.backend, connection.sport


@pytest.mark.parametrize("vip", [VIP4, VIP6])
def test_syn_half_open_on_two_backends(lab: Lab, client: Client, vip: str) -> None:
    first, sport = client.run(ask_once(vip, 0, reset=True))
    lab.drain(first)
    second, _ = client.run(ask_once(vip, sport, reset=True))
    lab.drain(first, undrain=True)
    assert first != second
    a, b = lab.backend(first), lab.backend(second)

    with ExitStack() as mute_a:
        with muted(b):
            mute_a.enter_context(muted(a))
            connection = Connection(vip, PORT, sport)
            opening = client.start(connection.open(timeout_s=30))
            wait_socket(a, "syn-recv", sport)
            lab.drain(first)
            wait_socket(b, "syn-recv", sport)  # by the client's second SYN
            lab.drain(first, undrain=True)
            assert sockets(a, "syn-recv", sport) == 1
            assert not opening.done()
        # Only b is heard now. The client's ACK meets a first, whose own request it does not fit.
        opening.result(30)
        client.run(connection.get())
        assert connection.backend == second
        assert sockets(a, "syn-recv", sport) == 1, "the test proves nothing unless a is still half-open"
    # Now a, half-open still, is heard as well.
    for _ in range(20):
        client.run(connection.get())
    assert client.run(connection.download(0.5, 100_000)) == 100_000
    assert connection.backend == second
    client.loop.call_soon_threadsafe(connection.close)


@pytest.mark.parametrize("vip", [VIP4, VIP6])
def test_tuple_reused_while_in_time_wait_on_the_other_backend(lab: Lab, client: Client, vip: str) -> None:
    first, sport = client.run(ask_once(vip, 0))
    a = lab.backend(first)
    wait_socket(a, "time-wait", sport)
    lab.drain(first)
    connection = Connection(vip, PORT, sport)
    client.run(connection.open())
    client.run(connection.get())
    second = connection.backend
    assert second != first
    lab.drain(first, undrain=True)
    forwarded = lab.second_chances()[first]
    for _ in range(20):
        client.run(connection.get())
        assert sockets(a, "time-wait", sport) == 1, "the test proves nothing without the TIME_WAIT socket"
    assert client.run(connection.download(0.5, 100_000)) == 100_000
    assert connection.backend == second
    assert lab.second_chances()[first] > forwarded + 20
    client.loop.call_soon_threadsafe(connection.close)


@pytest.mark.parametrize("vip", [VIP4, VIP6])
def test_tuple_reused_on_the_backend_that_has_it_in_time_wait(lab: Lab, client: Client, vip: str) -> None:
    first, sport = client.run(ask_once(vip, 0))
    wait_socket(lab.backend(first), "time-wait", sport)
    assert client.run(ask_once(vip, sport)) == (first, sport)
