"""Health checks: how soon a failure is found, on a clock that does not wait; then on real sockets."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from glbpy.health import CheckFailed, Monitor, Target, TunnelRefused, TunnelSilent, check
from glbpy.models import Health, HealthCheck, parse
from glbpy.store import HealthRecord, utc_now
from tests.unit.fakes import run_fake_time

TCP = parse(HealthCheck, {"type": "tcp", "port": 80})  # every 2 s, timeout 1 s, rise 2, fall 3


class Backends:
    """Probes by address: what is in ``dead`` refuses, what is in ``hung`` never answers."""

    def __init__(self) -> None:
        self.dead: set[str] = set()
        self.hung: set[str] = set()
        self.checks: list[tuple[float, str]] = []
        self.changes: list[tuple[float, int, Health | None]] = []

    async def probe(self, target: Target) -> str:
        self.checks.append((asyncio.get_running_loop().time(), target.address))
        if target.address in self.hung:
            await asyncio.sleep(3600)
        if target.address in self.dead:
            raise ConnectionRefusedError(111, "Connection refused")
        return "connected"

    def changed(self, backend: int, record: HealthRecord | None) -> None:
        now = asyncio.get_running_loop().time()
        self.changes.append((now, backend, record.health if record else None))

    def monitor(self, records: dict[int, HealthRecord] | None = None, jitter: float = 0.0) -> Monitor:
        return Monitor(records or {}, self.changed, probe=self.probe, jitter=lambda: jitter)


def fake_time(body: Callable[[Backends], Awaitable[None]]) -> None:
    run_fake_time(lambda: body(Backends()))


@pytest.mark.parametrize("jitter", [0.0, 0.5, 0.999])
@pytest.mark.parametrize("fails_at", [10.0, 10.001, 11.3, 11.999])
@pytest.mark.parametrize("kind", ["dead", "hung"])
def test_a_failure_is_found_in_fall_times_interval_plus_timeout(jitter: float, fails_at: float, kind: str):
    async def body(backends: Backends) -> None:
        monitor = backends.monitor(jitter=jitter)
        monitor.watch({7: Target("10.0.0.1", TCP)})
        await asyncio.sleep(fails_at)
        assert monitor.record(7).health == Health.HEALTHY
        getattr(backends, kind).add("10.0.0.1")
        await asyncio.sleep(60)
        (when,) = [at for at, _, health in backends.changes if health == Health.UNHEALTHY]
        assert 2 * 2.0 <= when - fails_at <= 3 * 2.0 + 1.0
        await monitor.close()

    fake_time(body)


def test_checks_start_every_interval_and_never_overlap():
    async def body(backends: Backends) -> None:
        backends.hung.add("10.0.0.1")
        monitor = backends.monitor(jitter=0.5)
        monitor.watch({7: Target("10.0.0.1", TCP)})
        await asyncio.sleep(10)
        assert [at for at, _ in backends.checks] == [1.0, 3.0, 5.0, 7.0, 9.0]
        await monitor.close()

    fake_time(body)


def test_unknown_is_healthy_with_the_first_good_check_and_unhealthy_only_after_fall():
    async def body(backends: Backends) -> None:
        backends.dead.add("10.0.0.2")
        monitor = backends.monitor()
        monitor.watch({1: Target("10.0.0.1", TCP), 2: Target("10.0.0.2", TCP)})
        assert monitor.record(1).health == Health.UNKNOWN
        await asyncio.sleep(10)
        assert backends.changes == [(0.0, 1, Health.HEALTHY), (4.0, 2, Health.UNHEALTHY)]
        assert monitor.record(2).detail == "Connection refused"
        await monitor.close()

    fake_time(body)


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        ((TunnelRefused, TunnelSilent, TunnelSilent), "0 TunnelRefused"),  # kernels do not say it each time
        ((TunnelRefused, TunnelRefused, TunnelSilent), "1 TunnelRefused"),
        ((TunnelSilent, TunnelRefused, CheckFailed), "2 CheckFailed"),
        ((TunnelRefused, CheckFailed, TunnelSilent), "2 TunnelSilent"),
        ((TunnelSilent, TunnelSilent, TunnelSilent), "2 TunnelSilent"),
    ],
)
def test_silence_of_a_tunnel_has_the_reason_that_was_given_just_before(
    seen: tuple[type[CheckFailed], ...], why: str
) -> None:
    async def body(backends: Backends) -> None:
        left = iter(enumerate(seen))

        async def probe(target: Target) -> str:
            number, error = next(left)
            raise error(f"{number} {error.__name__}")

        monitor = Monitor({}, backends.changed, probe=probe, jitter=lambda: 0.0)
        monitor.watch({1: Target("10.0.0.1", TCP)})
        await asyncio.sleep(5)
        assert (monitor.record(1).health, monitor.record(1).detail) == (Health.UNHEALTHY, why)
        await monitor.close()

    fake_time(body)


def test_a_flapping_backend_needs_fall_or_rise_in_a_row():
    async def body(backends: Backends) -> None:
        monitor = backends.monitor()
        monitor.watch({1: Target("10.0.0.1", TCP)})
        await asyncio.sleep(1)
        for _ in range(10):  # two bad, one good
            backends.dead.add("10.0.0.1")
            await asyncio.sleep(4)
            backends.dead.clear()
            await asyncio.sleep(2)
        assert [health for _, _, health in backends.changes] == [Health.HEALTHY]
        await monitor.close()

    fake_time(body)


def test_last_known_health_holds_until_checks_say_otherwise():
    async def body(backends: Backends) -> None:
        record = HealthRecord(health=Health.UNHEALTHY, since=utc_now(), detail="dead before the restart")
        monitor = backends.monitor({1: record})
        monitor.watch({1: Target("10.0.0.1", TCP)})
        await asyncio.sleep(1)
        assert monitor.record(1) == record
        await asyncio.sleep(2)
        assert backends.changes == [(2.0, 1, Health.HEALTHY)]  # the second good one: rise is 2
        await monitor.close()

    fake_time(body)


def test_checks_of_removed_backends_stop_and_their_health_is_forgotten():
    async def body(backends: Backends) -> None:
        monitor = backends.monitor()
        monitor.watch({1: Target("10.0.0.1", TCP), 2: Target("10.0.0.2", TCP)})
        await asyncio.sleep(5)
        monitor.watch({1: Target("10.0.0.1", TCP)})
        checks = len([1 for _, address in backends.checks if address == "10.0.0.2"])
        await asyncio.sleep(20)
        assert len([1 for _, address in backends.checks if address == "10.0.0.2"]) == checks
        assert monitor.record(2).health == Health.UNKNOWN
        assert backends.changes[-1][1:] == (2, None)
        assert len([1 for at, address in backends.checks if address == "10.0.0.1" and at > 5]) == 10
        await monitor.close()
        assert len(asyncio.all_tasks()) == 1

    fake_time(body)


def test_another_check_starts_anew_but_keeps_the_health():
    async def body(backends: Backends) -> None:
        backends.dead.add("10.0.0.1")
        monitor = backends.monitor()
        monitor.watch({1: Target("10.0.0.1", TCP)})
        await asyncio.sleep(5)
        assert monitor.record(1).health == Health.UNHEALTHY
        backends.checks.clear()
        monitor.watch({1: Target("10.0.0.1", TCP.model_copy(update={"interval_ms": 1000}))})
        assert monitor.record(1).health == Health.UNHEALTHY
        await asyncio.sleep(2.5)
        assert [at for at, _ in backends.checks] == [5.0, 6.0, 7.0]
        await monitor.close()

    fake_time(body)


# ---- the checks themselves, on real sockets ----


@asynccontextmanager
async def server(answer: bytes | None, host: str = "127.0.0.1") -> AsyncIterator[tuple[int, list[bytes]]]:
    """Serve ``answer`` to whatever comes; None never answers. Yields the port and the requests seen."""
    requests: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            requests.append(await reader.readuntil(b"\r\n\r\n"))
            if answer is None:
                await asyncio.sleep(3600)
            else:
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            return
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, host, 0)
    async with listening:
        yield listening.sockets[0].getsockname()[1], requests


def http(port: int, **options: object) -> HealthCheck:
    return parse(HealthCheck, {"type": "http", "port": port, "path": "/healthz", **options})


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_tcp_and_http_checks_of_a_live_server(host: str):
    async def body() -> None:
        async with server(b"HTTP/1.1 204 No Content\r\n\r\n", host) as (port, requests):
            assert await check(Target(host, parse(HealthCheck, {"type": "tcp", "port": port}))) == "connected"
            assert await check(Target(host, http(port))) == "status 204"
            head = requests[-1].decode().split("\r\n")
            assert head[0] == "GET /healthz HTTP/1.1"
            assert head[1] == (f"Host: [::1]:{port}" if ":" in host else f"Host: 127.0.0.1:{port}")
            await check(Target(host, http(port, host="www.example.com")))
            assert b"\r\nHost: www.example.com\r\n" in requests[-1]

    asyncio.run(body())


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"HTTP/1.1 503 Busy\r\n\r\n", "status 503"),
        (b"HTTP/1.0 302 Found\r\n\r\n", "status 302"),
        (b"SSH-2.0-OpenSSH\r\n", "not HTTP"),
        (b"HTTP/1.1\r\n", "not HTTP"),
        (b"HTTP/1.1 2xx OK\r\n", "not a number"),
        (b"HTTP/1.1 200 OK", "not HTTP"),
        (b"", "closed without an answer"),
        (b"HTTP/1.1 200 " + b"x" * 100_000, "no end of the status line"),
    ],
)
def test_http_answers_that_are_not_good(answer: bytes, message: str):
    async def body() -> None:
        async with server(answer) as (port, _):
            with pytest.raises((CheckFailed, ConnectionError), match=message):
                await check(Target("127.0.0.1", http(port)))

    asyncio.run(body())


def test_expected_statuses_are_the_pool_s_choice():
    async def body() -> None:
        async with server(b"HTTP/1.1 401 Unauthorized\r\n\r\n") as (port, _):
            target = Target("127.0.0.1", http(port, expected_status=["200-204", 401]))
            assert await check(target) == "status 401"

    asyncio.run(body())


def test_a_monitor_finds_refused_and_silent_servers_in_time():
    async def body() -> None:
        async with server(b"") as (closed, _):
            pass
        async with server(None) as (port, _):
            changes: dict[int, HealthRecord | None] = {}
            monitor = Monitor({}, changes.__setitem__)
            quick = {"interval_ms": 100, "timeout_ms": 100, "fall": 2}
            start = asyncio.get_running_loop().time()
            monitor.watch(
                {
                    1: Target("127.0.0.1", http(port, **quick)),
                    2: Target("127.0.0.1", http(closed, **quick)),
                }
            )
            while len(changes) < 2:
                await asyncio.sleep(0.01)
                assert asyncio.get_running_loop().time() - start < 5  # 0.3 s on a quiet machine
            await monitor.close()
            details = [record.detail for record in changes.values() if record]
            assert sorted(details) == ["Connection refused", "no answer in 100 ms"]

    asyncio.run(body())
