"""/metrics for Prometheus. Counters come from the shared memory of the forwarders, by name and not by id.

One scrape at a time: others wait, so that however many ask, one thread is busy with it.
"""

import asyncio
import logging
from collections.abc import Iterable, Iterator
from itertools import accumulate

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from api import control_metrics, forwarder_metrics
from api.deps import Controlled
from glbpy import __version__, counters
from glbpy._native import FLOW_STATS, REASONS, reason_verdict
from glbpy.controller import Controller
from glbpy.counters import Counters, Traffic
from glbpy.desired import Desired
from glbpy.errors import GlbError
from glbpy.models import Health, State
from glbpy.status import BackendStatus, DirectorStatus

log = logging.getLogger(__name__)
VERDICTS = {name: reason_verdict(reason) for reason, name in enumerate(REASONS)}

router = APIRouter(tags=["health"])


@router.get("/metrics", response_class=Response, responses={200: {"content": {CONTENT_TYPE_LATEST: {}}}})
async def metrics(request: Request, controller: Controlled) -> Response:
    """Counters and gauges in Prometheus' text format."""
    async with request.app.state.scraping:
        body = await asyncio.to_thread(lambda: Scrape(controller).text())
    return Response(body, media_type=CONTENT_TYPE_LATEST)


class Scrape(Collector):
    """All that one scrape sees, beside the controller's loop, which goes on: each thing is looked at once.

    Forwarders are not asked: the controller knows what they said half a second ago at most.
    """

    def __init__(self, controller: Controller) -> None:
        self.state: Desired = controller.desired
        self.backends: list[BackendStatus] = controller.backend_statuses()
        self.directors: list[DirectorStatus] = controller.director_statuses()
        self.compiles = controller.compile_trouble is None
        self.work = control_metrics.Work(controller, self.backends)
        self.stats: dict[str, Counters] = {}

    def text(self) -> bytes:
        for director in self.directors:
            stats = read(director)
            if stats is not None:
                self.stats[director.name] = stats
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        return generate_latest(registry)

    def collect(self) -> Iterator[Metric]:
        yield info()
        yield gauge("glb_revision", "Newest revision of the configuration.", [([], self.state.revision)])
        yield gauge("glb_compiles", "1 when the configuration compiles.", [([], self.compiles)])
        yield from self.work.collect()
        yield from self.director_gauges()
        yield from forwarder_metrics.loads(self.directors)
        yield from forwarder_metrics.lists(self.directors)
        yield from self.backend_gauges()
        yield from self.packets()
        yield from self.effort()
        yield from self.flow_caches()
        yield from forwarder_metrics.lcores(self.stats)
        yield from forwarder_metrics.ports(self.directors)
        yield from forwarder_metrics.punt(self.directors)
        yield from forwarder_metrics.next_hops(self.directors)
        yield from forwarder_metrics.path_mtus(self.directors)
        yield from self.traffic("service", ["service"], self.service_names())
        yield from self.refused()
        yield from self.traffic("backend", ["pool", "backend"], self.backend_names())

    def director_gauges(self) -> Iterator[Metric]:
        for name, text, field in (
            ("reachable", "1 when the forwarder answers.", "reachable"),
            ("in_force", "1 when it forwards by the newest snapshot.", "in_force"),
            ("muted", "1 while it waits to take over from the process that forwards.", "muted"),
            ("generation", "Snapshots loaded since it started.", "generation"),
            ("revision", "Revision that it forwards by.", "confirmed_revision"),
            ("uptime_seconds", "Since the forwarder started.", "uptime_s"),
        ):
            seen = [([director.name], getattr(director, field)) for director in self.directors]
            known = [(labels, value) for labels, value in seen if value is not None]
            yield gauge(f"glb_director_{name}", text, known, ["director"])

    def backend_gauges(self) -> Iterator[Metric]:
        labels = ["pool", "backend"]
        available = [([b.pool, b.backend], b.available) for b in self.backends]
        yield gauge("glb_backend_available", "1 when it is given new connections.", available, labels)
        health = [([b.pool, b.backend, str(h)], b.health == h) for b in self.backends for h in Health]
        yield gauge("glb_backend_health", "1 for the health that it has.", health, [*labels, "health"])
        state = [([b.pool, b.backend, str(s)], b.state == s) for b in self.backends for s in State]
        yield gauge("glb_backend_state", "1 for the state that it has.", state, [*labels, "state"])

    def packets(self) -> Iterator[Metric]:
        """Frames and packets of a director as a whole, and the reason of each packet."""
        reasons = CounterMetricFamily(
            "glb_packets", "Packets by what became of them and why.", labels=["director", "verdict", "reason"]
        )
        for name, stats in self.stats.items():
            for reason, count in stats.reasons.items():
                reasons.add_metric([name, VERDICTS[reason], reason], count)
        yield reasons
        for field, text in (
            ("rx_packets", "Frames received."),
            ("rx_bytes", "Bytes of frames received."),
            ("tx_packets", "Frames sent."),
            ("tx_bytes", "Bytes of frames sent."),
        ):
            family = CounterMetricFamily(f"glb_director_{field}", text, labels=["director"])
            for name, stats in self.stats.items():
                family.add_metric([name], getattr(stats, field))
            yield family

    def effort(self) -> Iterator[Metric]:
        """Where the workers' time goes: divide busy seconds by packets."""
        bursts = CounterMetricFamily(
            "glb_director_bursts", "Polls that brought packets.", labels=["director"]
        )
        busy = CounterMetricFamily(
            "glb_director_busy_seconds", "Time of polls that brought packets.", labels=["director"]
        )
        latency = HistogramMetricFamily(
            "glb_director_burst_seconds", "Sampled bursts, from received to sent.", labels=["director"]
        )
        for name, stats in self.stats.items():
            bursts.add_metric([name], stats.bursts)
            busy.add_metric([name], stats.busy_cycles / stats.tsc_hz if stats.tsc_hz else 0.0)
            counts = list(accumulate(stats.latency))
            bounds = [*(repr(2e-9 * 2**bucket) for bucket in range(len(counts) - 1)), "+Inf"]
            latency.add_metric([name], list(zip(bounds, counts, strict=True)), None)
        stuck = GaugeMetricFamily(
            "glb_director_stuck_workers", "Workers that the watchdog finds stuck.", labels=["director"]
        )
        stalls = CounterMetricFamily(
            "glb_director_stalls", "Times that a worker was found stuck.", labels=["director"]
        )
        for name, stats in self.stats.items():
            stuck.add_metric([name], stats.stuck)
            stalls.add_metric([name], stats.stalls)
        yield stuck
        yield stalls
        yield bursts
        yield busy
        yield latency

    def flow_caches(self) -> Iterator[Metric]:
        """All workers' flow caches together; docs/operations.md says what each means."""
        now = {"entries": "Flows remembered now.", "capacity": "Most flows that can be remembered."}
        for field in FLOW_STATS:
            kind = GaugeMetricFamily if field in now else CounterMetricFamily
            text = now.get(field, f"Flow caches: {field.replace('_', ' ')}.")
            family = kind(f"glb_flow_cache_{field}", text, labels=["director"])
            for name, stats in self.stats.items():
                family.add_metric([name], stats.flows[field])
            yield family

    def traffic(self, kind: str, labels: list[str], names: dict[int, list[str]]) -> Iterator[Metric]:
        """Packets and bytes of services or backends. Those that are gone have no name, and are left out."""
        for unit, text in (("packets", "Client packets."), ("bytes", "Bytes of client IP packets.")):
            family = CounterMetricFamily(f"glb_{kind}_{unit}", text, labels=["director", *labels])
            for director, stats in self.stats.items():
                found: dict[int, Traffic] = stats.services if kind == "service" else stats.backends
                for number, traffic in sorted(found.items()):
                    if number in names:
                        family.add_metric([director, *names[number]], getattr(traffic, unit))
            yield family

    def refused(self) -> Iterator[Metric]:
        """Packets that services' limits and lists refused."""
        family = CounterMetricFamily(
            "glb_service_refused_packets",
            "Client packets that the service's own limits and source lists refused.",
            labels=["director", "service", "reason"],
        )
        names = self.service_names()
        for director, stats in self.stats.items():
            for number, counts in sorted(stats.refused.items()):
                for reason, count in counts.items():
                    if number in names:
                        family.add_metric([director, *names[number], reason], count)
        yield family

    def service_names(self) -> dict[int, list[str]]:
        return {n: [path.split("/")[1]] for path, n in self.state.ids.items() if path.startswith("services/")}

    def backend_names(self) -> dict[int, list[str]]:
        return {b.id: [b.pool, b.backend] for b in self.backends}


def read(director: DirectorStatus) -> Counters | None:
    """Return a director's counters; none when its forwarder is away or has just gone."""
    if director.stats_path is None:
        return None
    try:
        return counters.read(director.stats_path)
    except GlbError as error:
        log.warning("%s", error)
        return None


def gauge(
    name: str,
    text: str,
    samples: Iterable[tuple[list[str], float]],
    labels: list[str] | None = None,
) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels or [])
    for values, value in samples:
        family.add_metric(values, float(value))
    return family


def info() -> Metric:
    family = GaugeMetricFamily("glb_build_info", "Always 1; the version is a label.", labels=["version"])
    family.add_metric([__version__], 1)
    return family
