"""Long-lived connections, over IPv4 and IPv6, that must not notice what happens around them: two hundred, if
not said otherwise.

Some ask again and again on the same connection, some download without end, some are idle until finish().
Every byte is checked by the traffic client, and that the backend stays the same.
"""

import asyncio
import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from glbpy.lab import netns
from glbpy.lab.topology import PORT, VIP4, VIP6
from glbpy.lab.traffic import BrokenError, Client, Connection


@dataclass(frozen=True)
class Crowd:
    """How many, what they do in turn, how often they ask (s), how fast they download (bytes a second)."""

    count: int = 200
    kinds: tuple[str, ...] = ("ask", "ask", "download", "download", "idle")
    ask_s: float = 0.4
    rate: int = 100_000


class Stayer:
    def __init__(self, number: int, crowd: Crowd) -> None:
        self.crowd = crowd
        self.kind = crowd.kinds[number // 2 % len(crowd.kinds)]
        self.vip = (VIP4, VIP6)[number % 2]
        self.connection: Connection | None = None
        self.steps = 0  # answers, or chunks of a download
        self.error: str | None = None

    @property
    def backend(self) -> str:
        assert self.connection is not None
        return self.connection.backend or ""

    async def run(self, stop: threading.Event) -> None:
        try:
            self.connection = Connection(self.vip, PORT)
            await self.connection.open()
            if self.kind == "download":
                await self.connection.download(600, 600 * self.crowd.rate, stop, on_bytes=self.step)
            else:
                await self.ask(stop)
        except BrokenError as broken:
            self.error = str(broken)
        finally:
            if self.connection:
                self.connection.close()

    async def ask(self, stop: threading.Event) -> None:
        assert self.connection is not None
        while True:
            last = stop.is_set()
            await self.connection.get()
            self.step()
            if last:
                return
            await self.pause(stop)
            while self.kind == "idle" and not stop.is_set():
                await self.pause(stop)

    async def pause(self, stop: threading.Event) -> None:
        for _ in range(max(1, round(self.crowd.ask_s / 0.4))):
            if not stop.is_set():
                await asyncio.sleep(min(0.4, self.crowd.ask_s))

    def step(self) -> None:
        self.steps += 1

    def __str__(self) -> str:
        sport = self.connection.sport if self.connection else 0
        return f"{self.kind} from port {sport} to {self.vip} on {self.backend}: {self.error}"


class Stayers:
    """`with Stayers(client) as stayers:` — all are connected and answered inside the block."""

    def __init__(self, client: Client, crowd: Crowd = Crowd()) -> None:
        self.client = client
        self.all = [Stayer(number, crowd) for number in range(crowd.count)]
        self.stop = threading.Event()

    def __enter__(self) -> Self:
        self.running = [self.client.start(each.run(self.stop)) for each in self.all]
        netns.wait_until(lambda: all(each.steps or each.error for each in self.all), "all to be answered", 20)
        broken = self.broken()
        assert broken == []
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop.set()
        for each in self.running:
            each.result(30)

    def broken(self) -> list[str]:
        return [str(each) for each in self.all if each.error]

    def exercise(self) -> None:
        """Return when each that is not idle has been answered once more; none may have broken."""
        before = [each.steps for each in self.all]
        netns.wait_until(
            lambda: all(
                each.error or each.kind == "idle" or each.steps >= steps + 2
                for each, steps in zip(self.all, before, strict=True)
            ),
            "every connection to be used",
            20,
        )
        broken = self.broken()
        assert broken == []

    def on(self, backend: str) -> int:
        return sum(each.backend == backend for each in self.all)

    def finish(self) -> None:
        """Use all of them a last time, the idle ones too; none may have broken."""
        self.stop.set()
        for each in self.running:
            each.result(30)
        broken = self.broken()
        assert broken == []
