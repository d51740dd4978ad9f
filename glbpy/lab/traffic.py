"""Real HTTP traffic from a namespace, and an account of it: requests, downloads, connections that stay.

Everything runs on one asyncio loop in a thread that lives in the client's namespace. Every byte of every
answer is checked: one that is cut, stalls, is mixed up or comes from two backends is a failure.
"""

import asyncio
import concurrent.futures
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeVar

from glbpy.lab import netns
from glbpy.lab.slow import pattern

T = TypeVar("T")
TIMEOUT_S = 10.0  # for a connection, an answer, or the next bytes of a download


class BrokenError(Exception):
    """A connection or an answer did not go as it must."""


@dataclass(frozen=True)
class Result:
    """One request, or one download. Times are time.monotonic(); `error` is None when all went well."""

    vip: str
    sport: int
    began: float
    ended: float
    backend: str | None  # who answered; None when nobody did
    error: str | None = None


@dataclass
class Account:
    """What became of requests. One thread writes; others may read at any time."""

    results: list[Result] = field(default_factory=list)

    def failures(self) -> list[Result]:
        return [result for result in self.results if result.error]

    def per_backend(self, since: float = 0.0, until: float = float("inf")) -> Counter[str]:
        """Answers by backend, of requests that began in [since, until)."""
        return Counter(
            result.backend
            for result in list(self.results)
            if result.backend and not result.error and since <= result.began < until
        )


class Connection:
    """One HTTP/1.1 connection from a known source port. All methods raise BrokenError."""

    def __init__(self, vip: str, port: int, sport: int = 0) -> None:
        """From source port `sport`, or a free one for 0. open() makes the socket, where it runs."""
        self.vip, self.port, self.sport = vip, port, sport
        self.backend: str | None = None
        self.connected = False

    async def open(self, timeout_s: float = TIMEOUT_S) -> Self:
        self.socket = socket.socket(socket.AF_INET6 if ":" in self.vip else socket.AF_INET)
        self.socket.setblocking(False)
        if self.sport:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(("", self.sport))
        self.sport = self.socket.getsockname()[1]
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.get_running_loop().sock_connect(self.socket, (self.vip, self.port))
                self.reader, self.writer = await asyncio.open_connection(sock=self.socket)
        except (OSError, TimeoutError) as error:
            self.socket.close()
            raise BrokenError(f"connect: {describe(error)}") from None
        except asyncio.CancelledError:
            self.socket.close()
            raise
        self.connected = True
        return self

    async def get(self, path: str = "/", close: bool = False, timeout_s: float = TIMEOUT_S) -> bytes:
        """Return the body of an answer, all of it; `self.backend` says who answered, and never changes."""
        length = await self._ask(path, close, timeout_s)
        try:
            async with asyncio.timeout(timeout_s):
                return await self.reader.readexactly(length)
        except (OSError, EOFError, TimeoutError) as error:
            raise BrokenError(f"body: {describe(error)}") from None

    async def download(
        self,
        seconds: float,
        length: int,
        stop: threading.Event | None = None,
        on_bytes: Callable[[], None] = lambda: None,
    ) -> int:
        """Read /slow to its end, or until `stop` is set; check every byte. Returns how many came.

        Calls `on_bytes` whenever good bytes have come.
        """
        promised = await self._ask(f"/slow?seconds={seconds:g}&bytes={length}", False, TIMEOUT_S)
        if promised != length:
            raise BrokenError(f"asked for {length} bytes, was promised {promised}")
        count = 0
        while count < length and not (stop and stop.is_set()):
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    data = await self.reader.read(min(65536, length - count))
            except (OSError, TimeoutError) as error:
                raise BrokenError(f"download, after {count} bytes: {describe(error)}") from None
            if not data:
                raise BrokenError(f"download: ended after {count} of {length} bytes")
            if data != pattern(self.backend or "", count, len(data)):
                raise BrokenError(f"download: wrong bytes after {count}")
            count += len(data)
            on_bytes()
        return count

    async def _ask(self, path: str, close: bool, timeout_s: float) -> int:
        """Send a request and read the head of its answer; return the body's length."""
        last = "Connection: close\r\n" if close else ""
        host = f"[{self.vip}]" if ":" in self.vip else self.vip
        try:
            self.writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{last}\r\n".encode())
            async with asyncio.timeout(timeout_s):
                head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except (OSError, EOFError, TimeoutError) as error:
            raise BrokenError(f"answer: {describe(error)}") from None
        status, *lines = head.rstrip().split("\r\n")
        headers = {key.lower(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
        backend = headers.get("x-backend")
        if not status.startswith("HTTP/1.1 200 ") or backend is None:
            raise BrokenError(f"answer: {status!r}")
        if self.backend not in (None, backend):
            raise BrokenError(f"{self.backend} became {backend} within a connection")
        self.backend = backend
        return int(headers["content-length"])

    def reset(self) -> None:
        """End the connection by a reset: neither side keeps anything of it."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    def close(self) -> None:
        if self.connected:
            self.writer.close()


def describe(error: BaseException) -> str:
    return "timed out" if isinstance(error, TimeoutError) else str(error) or type(error).__name__


async def request(vip: str, port: int, path: str = "/", timeout_s: float = TIMEOUT_S) -> Result:
    """One request on a connection of its own. Never raises BrokenError: the result says it."""
    began = time.monotonic()
    connection = Connection(vip, port)
    error = None
    try:
        await connection.open(timeout_s)
        body = await connection.get(path, timeout_s=timeout_s)
        if body != f"{connection.backend}\n".encode():
            error = f"body: {body[:40]!r} from {connection.backend}"
    except BrokenError as broken:
        error = str(broken)
    finally:
        connection.close()
    return Result(vip, connection.sport, began, time.monotonic(), connection.backend, error)


async def download(
    vip: str, port: int, seconds: float, length: int, begun: Callable[[str], None] = lambda backend: None
) -> Result:
    """One download of /slow, on a connection of its own. Never raises BrokenError: the result says it.

    Calls `begun` with the backend's name when its first bytes are here.
    """

    under_way = False

    def first_bytes() -> None:
        nonlocal under_way
        if not under_way:
            under_way = True
            begun(connection.backend or "")

    began = time.monotonic()
    connection = Connection(vip, port)
    error = None
    try:
        await connection.open()
        await connection.download(seconds, length, on_bytes=first_bytes)
    except BrokenError as broken:
        error = str(broken)
    finally:
        connection.close()
    return Result(vip, connection.sport, began, time.monotonic(), connection.backend, error)


@dataclass
class Load:
    """Short requests to one VIP, one after the other in each of `workers`, until stop()."""

    vip: str
    port: int
    workers: int = 4
    pause_s: float = 0.02
    timeout_s: float = TIMEOUT_S
    account: Account = field(default_factory=Account)
    stopped: bool = False

    async def run(self) -> None:
        await asyncio.gather(*(self._work() for _ in range(self.workers)))

    async def _work(self) -> None:
        while not self.stopped:
            self.account.results.append(await request(self.vip, self.port, timeout_s=self.timeout_s))
            await asyncio.sleep(self.pause_s)

    def stop(self) -> None:
        """No further requests; run() returns when those under way have ended. Any thread."""
        self.stopped = True


class Client:
    """A thread inside namespace `ns` with an asyncio loop, from which all traffic comes."""

    def __init__(self, ns: str) -> None:
        self.ns = ns
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self._main, name=f"traffic in {ns}", daemon=True)

    def _main(self) -> None:
        netns.join(self.ns)
        self.loop.run_forever()

    def start(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Have the loop run `work`; the future gives its result."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def run(self, work: Coroutine[Any, Any, T], timeout_s: float = 60.0) -> T:
        """start(), and wait for the result."""
        return self.start(work).result(timeout_s)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Cancel what still runs, close its sockets, and leave the namespace."""
        self.run(self._cancel_all())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    async def _cancel_all(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # lets closed transports close their sockets
