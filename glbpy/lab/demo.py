"""The demonstration: traffic through a lab, a drain under a long download, a backend killed, and a report.

It judges every request. One may fail only if the backend that it was on was killed, and only until the health
checks have found that out; every other failure makes the demonstration fail.
"""

import concurrent.futures
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from glbpy.lab.first_hop import FirstHop
from glbpy.lab.lab import DETECTION_S, Lab
from glbpy.lab.netns import wait_until
from glbpy.lab.topology import VIP4, VIP6
from glbpy.lab.traffic import Client, Load, Result, download

DOWNLOAD_S = 10
DOWNLOAD_BYTES = 5_000_000
DOWNLOADS = 6  # for each VIP
PHASE_S = 3.0  # of ordinary traffic, each
REQUEST_S = 5.0  # a request that takes longer has failed
SWITCH_S = 1.0  # from a backend found dead to the director's forwarding by it, at most


@dataclass
class Events:
    """When things happened, in time.monotonic() seconds, and to whom."""

    drained: str = ""
    drained_at: float = 0.0  # the director forwards by it
    undrained_at: float = 0.0
    killed: str = ""
    killed_at: float = float("inf")
    found_at: float = float("inf")

    def allows(self, failed: Result, first_hop: Callable[[str, int], str | None]) -> bool:
        """Whether a request may have failed: its backend was killed, and nobody could know yet."""
        known_at = min(self.found_at, self.killed_at + DETECTION_S + SWITCH_S)
        if failed.ended < self.killed_at or failed.began > known_at:
            return False
        return (failed.backend or first_hop(failed.vip, failed.sport)) == self.killed


@dataclass
class Report:
    """What the demonstration found."""

    events: Events
    requests: list[Result]
    downloads: list[Result]
    second_chances: dict[str, int]
    backends: list[str]
    expected: list[Result]
    unexpected: list[Result]
    strays: int  # new connections on the drained backend

    @property
    def good(self) -> bool:
        return not self.unexpected and not self.strays and bool(self.requests)

    def count(self, since: float, until: float) -> Counter[str]:
        return Counter(
            each.backend
            for each in self.requests
            if each.backend and not each.error and since <= each.began < until
        )


class Demo:
    def __init__(self, lab: Lab, console: Console) -> None:
        self.lab = lab
        self.console = console
        self.events = Events()
        self.downloads: list[concurrent.futures.Future[Result]] = []

    def run(self) -> Report:
        """Drive a lab that is up through the whole story. Raises LabError when it cannot go on."""
        with Client(self.lab.state().namespaces.client) as client:
            loads = [Load(vip, 80, timeout_s=REQUEST_S) for vip in (VIP4, VIP6)]
            running = [client.start(load.run()) for load in loads]
            time.sleep(PHASE_S)
            self._drain(client)
            self._kill(client)
            for load in loads:
                load.stop()
            for each in running:
                each.result(REQUEST_S * 2)
            finished = [each.result(DOWNLOAD_S + 2 * REQUEST_S) for each in self.downloads]
            requests = [result for load in loads for result in load.account.results]
        return self._judge(requests, finished)

    def _say(self, text: str) -> None:
        self.console.print(f"[bold]·[/bold] {text}")

    def _start_downloads(self, client: Client) -> Counter[str]:
        """Start long downloads; return how many each backend has, when all of them are under way."""
        begun: list[str] = []
        started = [
            client.start(download(vip, 80, DOWNLOAD_S, DOWNLOAD_BYTES, begun.append))
            for vip in (VIP4, VIP6)
            for _ in range(DOWNLOADS)
        ]
        wait_until(lambda: len(begun) == len(started) or any(each.done() for each in started), "downloads")
        self.downloads += started
        return Counter(begun)

    def _drain(self, client: Client) -> None:
        """Drain the backend with the most downloads, wait for them to end, and undrain it."""
        self._say(f"{2 * DOWNLOADS} downloads of {DOWNLOAD_S} s begin, over IPv4 and IPv6")
        on = self._start_downloads(client)
        self.events.drained, count = on.most_common(1)[0]
        self.lab.drain(self.events.drained)
        self.events.drained_at = time.monotonic()
        self._say(f"{self.events.drained}, with {count} of them, is drained: new connections go elsewhere")
        for each in self.downloads:
            each.result(DOWNLOAD_S + 2 * REQUEST_S)
        broken = sum(each.result().error is not None for each in self.downloads)
        self._say(f"the downloads have ended, {broken} broken; {self.events.drained} is undrained")
        self.events.undrained_at = time.monotonic()
        self.lab.drain(self.events.drained, undrain=True)

    def _kill(self, client: Client) -> None:
        """Kill another backend under new downloads, and wait until the health checks have found it."""
        on = self._start_downloads(client)
        others = [name for name in self.lab.state().backends if name != self.events.drained]
        self.events.killed = max(others, key=lambda name: on[name])
        self._say(
            f"{self.events.killed} is killed, with {on[self.events.killed]} of {2 * DOWNLOADS} new downloads"
        )
        self.first_hop = FirstHop((self.lab.director_dir / "snapshot.glb").read_bytes())
        self.events.killed_at = time.monotonic()
        self.lab.kill_backend(self.events.killed)
        with self.lab.api() as api:
            wait_until(
                lambda: self.lab.health(api)[self.events.killed] == "unhealthy",
                f"the health check to find {self.events.killed} dead",
                DETECTION_S + 5.0,
            )
            found = time.monotonic() - self.events.killed_at
            self.lab.wait_in_force(api)
        self.events.found_at = time.monotonic()
        out = self.events.found_at - self.events.killed_at
        self._say(
            f"{self.events.killed} is found dead after {found:.1f} s, out of the chains after {out:.1f} s"
        )
        time.sleep(PHASE_S)

    def _judge(self, requests: list[Result], downloads: list[Result]) -> Report:
        failed = [result for result in requests + downloads if result.error]
        expected = [result for result in failed if self.events.allows(result, self.first_hop)]
        drain = self.events
        return Report(
            events=drain,
            requests=requests,
            downloads=downloads,
            second_chances=self.lab.second_chances(),
            backends=self.lab.state().backends,
            expected=expected,
            unexpected=[result for result in failed if result not in expected],
            strays=sum(
                result.backend == drain.drained and drain.drained_at < result.began < drain.undrained_at
                for result in requests
            ),
        )


def render(report: Report, console: Console) -> None:
    """Print what happened, as tables."""
    events = report.events
    began = min((result.began for result in report.requests), default=0.0)
    columns = {
        "before": (began, events.drained_at - 0.5),
        f"{events.drained} drained": (events.drained_at, events.undrained_at),
        f"{events.killed} killed": (events.found_at, float("inf")),
    }
    counts = {title: report.count(*span) for title, span in columns.items()}
    table = Table("backend", title="requests answered, by backend")
    for title in columns:
        table.add_column(title, justify="right")
    table.add_column("second-chance packets", justify="right")
    for name in report.backends:
        table.add_row(
            name, *(str(counts[title][name]) for title in columns), str(report.second_chances.get(name, 0))
        )
    console.print(table)

    totals = Table("", title="in all")
    for title in ("sent", "failed", "of these expected"):
        totals.add_column(title, justify="right")
    for title, results in (("requests", report.requests), ("downloads", report.downloads)):
        failed = sum(result.error is not None for result in results)
        allowed = sum(result in report.expected for result in results)
        totals.add_row(title, str(len(results)), str(failed), str(allowed))
    console.print(totals)
    console.print(
        f"expected: on {events.killed}, from its death until new connections went elsewhere "
        f"({events.found_at - events.killed_at:.1f} s later)"
    )
    for result in report.unexpected:
        console.print(
            f"[red]failed:[/red] port {result.sport} to {result.vip}, on {result.backend}: {result.error}"
        )
    if report.strays:
        console.print(
            f"[red]failed:[/red] {report.strays} new connections on {events.drained}, which was drained"
        )
