"""Metrics of the control plane's own work: compiles, health checks, drains, and what settles."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from glbpy.controller import Controller
from glbpy.desired import Desired, backend_path, service_path
from glbpy.health import Checks
from glbpy.models import State
from glbpy.settling import settling_members
from glbpy.status import BackendStatus

BACKEND = ["pool", "backend"]


class Work:
    """What one scrape sees of a controller. Used in a thread beside its loop."""

    def __init__(self, controller: Controller, backends: Sequence[BackendStatus]) -> None:
        self.state: Desired = controller.desired
        self.backends = backends
        self.checks: Mapping[int, Checks] = controller.checks()
        self.runs, self.seconds = controller.compiles, controller.compile_s
        self.store = controller.store

    def collect(self) -> Iterator[Metric]:
        yield from self.compiles()
        yield from self.health_checks()
        yield self.drains()
        yield from self.settling()

    def compiles(self) -> Iterator[Metric]:
        yield CounterMetricFamily("glb_compile_runs", "Snapshots compiled, good or bad.", self.runs)
        yield CounterMetricFamily("glb_compile_seconds", "Time that compiling them took.", self.seconds)

    def health_checks(self) -> Iterator[Metric]:
        done = CounterMetricFamily(
            "glb_health_checks", "Health checks of a backend by outcome.", labels=[*BACKEND, "result"]
        )
        took = CounterMetricFamily(
            "glb_health_check_seconds", "Time that health checks of a backend took.", labels=BACKEND
        )
        for backend in self.backends:
            seen = self.checks.get(backend.id)
            if seen is not None:
                name = [backend.pool, backend.backend]
                done.add_metric([*name, "passed"], seen.passed)
                done.add_metric([*name, "failed"], seen.failed)
                took.add_metric(name, seen.seconds)
        yield done
        yield took

    def drains(self) -> Metric:
        """When each drain began: when a draining backend was last written."""
        family = GaugeMetricFamily(
            "glb_backend_drain_start_time_seconds",
            "When the drain began that a backend is in, by the clock of the server (Unix time).",
            labels=BACKEND,
        )
        draining = [(b.pool, b.backend) for b in self.backends if b.state == State.DRAINING]
        found = {name: self.state.versions.get(backend_path(*name)) for name in draining}
        versions = {name: version for name, version in found.items() if version is not None}  # not gone since
        written: dict[int, datetime] = self.store.written_at(set(versions.values()))
        for name, version in versions.items():
            if version in written:
                family.add_metric(list(name), written[version].timestamp())
        return family

    def settling(self) -> Iterator[Metric]:
        gone = settling_members(self.state)
        members = GaugeMetricFamily(
            "glb_settling_backends",
            "Backends that were removed and keep their connections yet.",
            labels=["pool"],
        )
        for pool in sorted(gone.keys() | {pool.name for pool in self.state.document.pools}):
            members.add_metric([pool], len(gone.get(pool, ())))
        priors = GaugeMetricFamily(
            "glb_service_prior_states",
            "Former states of its rows that connections may live by.",
            labels=["service"],
        )
        for service in self.state.document.services:
            priors.add_metric([service.name], len(self.state.priors.get(service_path(service.name), ())))
        yield members
        yield priors
