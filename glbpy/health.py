"""Health checks: is a backend there, by TCP or HTTP, at its own address, and if wanted through the tunnel.

A Monitor runs one task per backend. Checks start every ``interval`` (the first within one, at random, so
that they spread), end after ``timeout`` at the latest, and never overlap; so a failure is found within
fall * interval + timeout. Time is the event loop's. What follows from health is the controller's business.
"""

import asyncio
import logging
import os
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from glbpy import __version__
from glbpy.models import Health, HealthCheck, parse_range
from glbpy.store import HealthRecord, utc_now
from glbpy.tunnel_check import Endpoint, UnansweredError, handshake

log = logging.getLogger(__name__)

STATUS_LINE_MAX = 8192  # bytes
DETAIL_MAX = 200  # characters of what a check says that are kept
TUNNEL_SHARE = 0.9  # of a check's time: so that it says what did not answer before that time is over


@dataclass(frozen=True)
class Target:
    """What is checked, and how."""

    address: str
    check: HealthCheck
    endpoints: tuple[Endpoint, ...] = ()  # that must answer through the tunnel


@dataclass
class Checks:
    """How many checks of a backend there were since it is watched, and how long they took together."""

    passed: int = 0
    failed: int = 0
    seconds: float = 0.0


class CheckFailed(Exception):
    """A check found something wrong; the message says what."""


class TunnelRefused(CheckFailed):
    """The backend said so."""


class TunnelSilent(CheckFailed):
    """Nothing came back. Kernels limit how often they refuse: what one said just before may still hold."""


Probe = Callable[[Target], Awaitable[str]]  # returns what it saw; raises CheckFailed, OSError
Changed = Callable[[int, HealthRecord | None], None]


async def check(target: Target) -> str:
    """Check once, without a time limit of its own; return what was seen. Raises CheckFailed, OSError."""
    ends = asyncio.get_running_loop().time() + target.check.timeout_ms / 1000 * TUNNEL_SHARE
    seen = await _directly(target)
    if target.endpoints:
        wanted = [_through_tunnel(target.address, endpoint, ends, seen) for endpoint in target.endpoints]
        asked = sum(await asyncio.gather(*wanted))
        return f"{seen}, and {asked} of {len(wanted)} VIPs through the tunnel"
    return seen


async def _through_tunnel(address: str, wanted: Endpoint, ends: float, seen: str) -> bool:
    """Whether it was asked; then it answered before the time ``ends``. Raises CheckFailed, OSError."""
    try:
        async with asyncio.timeout_at(ends):
            return await handshake(address, wanted)
    except TimeoutError:
        raise TunnelSilent(f"{seen}, but through the tunnel {wanted} did not answer") from None
    except UnansweredError as error:
        raise TunnelRefused(f"{seen}, but through the tunnel {wanted} {error}") from None
    except PermissionError as error:
        raise CheckFailed(f"a check through the tunnel needs CAP_NET_RAW: {error.strerror}") from None


async def _directly(target: Target) -> str:
    reader, writer = await asyncio.open_connection(target.address, target.check.port, limit=STATUS_LINE_MAX)
    try:
        if target.check.type == "tcp":
            return "connected"
        return await _http(target, reader, writer)
    finally:
        # The answer is known: do not wait for the peer's end of the connection.
        writer.transport.abort()


async def _http(target: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
    host = target.check.host or (f"[{target.address}]" if ":" in target.address else target.address)
    if target.check.host is None and target.check.port != 80:
        host += f":{target.check.port}"
    request = (
        f"GET {target.check.path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: glbpy-health/{__version__}\r\n"
        "Accept: */*\r\nConnection: close\r\n\r\n"
    )
    writer.write(request.encode("ascii"))
    await writer.drain()
    try:
        line = await reader.readline()
    except ValueError:
        raise CheckFailed(f"no end of the status line within {STATUS_LINE_MAX} bytes") from None
    words = line.split(None, 2)
    if not line.endswith(b"\n") or len(words) < 2 or not words[0].startswith(b"HTTP/1."):
        raise CheckFailed("the answer is not HTTP" if line else "closed without an answer")
    if len(words[1]) != 3 or not words[1].isdigit():
        raise CheckFailed("the answer's status is not a number")
    status = int(words[1])
    for wanted in target.check.expected_status or ():
        first, last = parse_range(wanted)
        if first <= status <= last:
            return f"status {status}"
    raise CheckFailed(f"status {status}")


class Monitor:
    """Keeps checking the targets that it is told to watch. Lives on one event loop.

    ``changed`` is called, on the loop, when a backend's health turns over, with None when it is forgotten.
    ``records`` are the last known ones, by backend id; they hold until checks say otherwise.
    """

    def __init__(
        self,
        records: Mapping[int, HealthRecord],
        changed: Changed,
        *,
        probe: Probe = check,
        now: Callable[[], datetime] = utc_now,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._records = dict(records)
        self._changed = changed
        self._probe = probe
        self._now = now
        self._jitter = jitter
        self._tasks: dict[int, tuple[Target, asyncio.Task[None]]] = {}
        self.checks: dict[int, Checks] = {}  # by backend id

    def record(self, backend: int) -> HealthRecord:
        return self._records.get(backend, HealthRecord())

    def watch(self, targets: Mapping[int, Target]) -> None:
        """Check exactly these from now on. Health of others is forgotten: nobody would find it changed."""
        for backend in self._tasks.keys() - targets.keys():
            self._tasks.pop(backend)[1].cancel()
            self.checks.pop(backend, None)
        for backend in self._records.keys() - targets.keys():
            del self._records[backend]
            self._changed(backend, None)
        for backend, target in targets.items():
            known = self._tasks.get(backend)
            if known is not None and known[0] == target:
                continue
            if known is not None:
                known[1].cancel()
            checks = self.checks.setdefault(backend, Checks())
            task = asyncio.create_task(self._run(backend, target, checks), name=f"health {backend}")
            self._tasks[backend] = (target, task)

    async def close(self) -> None:
        """Stop all checks and wait until they have ended."""
        tasks = [task for _, task in self._tasks.values()]
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, backend: int, target: Target, checks: Checks) -> None:
        loop = asyncio.get_running_loop()
        interval = target.check.interval_ms / 1000
        due = loop.time() + interval * self._jitter()
        good = bad = 0  # in a row
        refusal = ""  # the tunnel's, since when it has said nothing else
        while True:
            await asyncio.sleep(max(0.0, due - loop.time()))
            due = max(due + interval, loop.time())  # after a stall: no burst of late checks
            began = loop.time()
            passed, detail, refusal = await self._once(target, refusal)
            checks.passed += passed
            checks.failed += not passed
            checks.seconds += loop.time() - began
            good, bad = (good + 1, 0) if passed else (0, bad + 1)
            self._judge(backend, target.check, good, bad, detail)

    async def _once(self, target: Target, refusal: str) -> tuple[bool, str, str]:
        """Return whether it passed, what was seen, and the refusal that explains a silence after it."""
        try:
            async with asyncio.timeout(target.check.timeout_ms / 1000):
                return True, await self._probe(target), ""
        except TimeoutError:
            return False, f"no answer in {target.check.timeout_ms} ms", ""
        except TunnelRefused as error:
            refusal = str(error)[:DETAIL_MAX]
            return False, refusal, refusal
        except TunnelSilent as error:
            return False, refusal or str(error)[:DETAIL_MAX], refusal
        except CheckFailed as error:
            return False, str(error)[:DETAIL_MAX], ""
        except OSError as error:
            return False, (os.strerror(error.errno) if error.errno else str(error))[:DETAIL_MAX], ""
        except Exception as error:  # a check that cannot be made is a failed one, never the end of checking
            log.exception("health check of %s", target.address)
            return False, f"{type(error).__name__}: {error}"[:DETAIL_MAX], ""

    def _judge(self, backend: int, how: HealthCheck, good: int, bad: int, detail: str) -> None:
        old = self.record(backend).health
        if old != Health.UNHEALTHY and bad >= how.fall:
            new = Health.UNHEALTHY
        elif (old == Health.UNHEALTHY and good >= how.rise) or (old == Health.UNKNOWN and good):
            new = Health.HEALTHY
        else:
            return
        record = HealthRecord(health=new, since=self._now(), detail=detail)
        self._records[backend] = record
        level = logging.WARNING if Health.UNHEALTHY in (old, new) else logging.INFO
        log.log(level, "backend %d is %s: %s", backend, new, detail)
        self._changed(backend, record)
