"""A lab: the whole network with its programs, brought up, changed while it runs, and taken down.

Nothing stays in memory between calls: what runs is found in the run directory and in the namespaces.
"""

import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from glbpy.client import Client, Target, path_of
from glbpy.errors import ForwarderError, LabError
from glbpy.forwarder import Forwarder
from glbpy.lab import backend as programs
from glbpy.lab import director, netns, redirect, topology
from glbpy.lab.driver import Driver
from glbpy.lab.encapsulation import Encapsulation
from glbpy.lab.encapsulations import (
    POOL_V4,
    POOL_V6,
    Extra,
    extras,
    loopback_vips,
    redirect_options,
    uses_udp,
)
from glbpy.lab.rundir import Namespaces, RunDir, State
from glbpy.lab.topology import PORT, VIP4, VIP6, Backend, Director
from glbpy.lab.traffic import Client as TrafficClient
from glbpy.lab.traffic import request

SERVICE, POOL = "www", POOL_V4
BACKENDS = 3
HOPS = 3  # any two of the backends may drain at once
INTERVAL_MS, TIMEOUT_MS, RISE, FALL = 300, 300, 2, 3
DETECTION_S = (FALL * INTERVAL_MS + TIMEOUT_MS) / 1000  # within which a dead backend is found

Say = Callable[[str], None]


def document(backends: list[Backend], services: Collection[Extra] = ()) -> dict[str, Any]:
    """The lab's configuration, as for `glb apply`, with further services."""
    check = {"type": "http", "port": PORT, "path": "/healthz"}
    times = {"interval_ms": INTERVAL_MS, "timeout_ms": TIMEOUT_MS, "rise": RISE, "fall": FALL}
    pools = {POOL: [{"name": each.name, "address": each.address4} for each in backends]}
    if any(each.pool == POOL_V6 for each in services):
        pools[POOL_V6] = [{"name": each.name, "address": each.address6} for each in backends]
    service = {"name": SERVICE, "vips": [VIP4, VIP6], "protocol": "tcp", "ports": [PORT], "pool": POOL}
    fields = ["src_addr", "dst_addr", "src_port", "dst_port"]  # so that one client's connections spread
    return {
        "pools": [
            {"name": name, "backends": members, "health_check": check | times}
            for name, members in pools.items()
        ],
        "services": [
            service | {"hops": HOPS, "hash_fields": fields},
            *(each.document() for each in services),
        ],
    }


def vips_of(services: Collection[Extra]) -> list[str]:
    """The VIPs that the router sends to the directors: those of `www`, and of these."""
    return [VIP4, VIP6, *sorted({vip for each in services for vip in each.vips})]


def forwarder_name(one: Director) -> str:
    """What a director's forwarder is called among the lab's programs."""
    return "forwarder" if one.number == 1 else f"{one.name}-forwarder"


class Lab:
    def __init__(self, name: str) -> None:
        """Raises InvalidInputError when `name` cannot name a lab. Makes nothing yet."""
        self.name = name
        self.rundir = RunDir(name)
        self.path = self.rundir.path
        self.director_dir = self.path / "director1"

    # ---- up and down ----

    def up(
        self,
        say: Say = lambda text: None,
        driver: Driver = Driver.AF_PACKET,
        encapsulations: Collection[Encapsulation] = (),
        directors: int = 1,
    ) -> bool:
        """Bring the lab up; false when it was up already. On failure or interruption, takes it down again.

        What a crash has left is removed first; but where programs still run, or the lab is up on another
        driver, with other encapsulations or with another number of directors, LabError.
        """
        if os.geteuid() != 0:
            raise LabError("the lab makes network namespaces: run it as root")
        with self.rundir.locked():
            if running := self.rundir.read():
                broken = self.broken()
                if not broken:
                    self._check_same(running, driver, encapsulations, directors)
                if not broken:
                    return False
                if self.rundir.traces()["processes"]:
                    raise LabError(
                        f"lab {self.name} runs, but is damaged ({', '.join(broken)}): "
                        f"glb lab down --name {self.name}"
                    )
            self.rundir.remove()
            try:
                self._up(say, driver, encapsulations, directors)
            except BaseException as error:
                said = self.logs() if isinstance(error, LabError) else ""
                self.rundir.remove()
                if said:
                    raise LabError(f"{error}\n{said}") from error
                raise
        return True

    def _check_same(
        self, running: State, driver: Driver, encapsulations: Collection[Encapsulation], directors: int
    ) -> None:
        """Raises LabError when the lab that is up is not the one that is asked for."""
        down = f"glb lab down --name {self.name} first, or --name another"
        if running.driver != driver:
            raise LabError(f"lab {self.name} is up on {running.driver}, not {driver}: {down}")
        if extras(running.encapsulations) != extras(encapsulations):
            has = ", ".join(running.encapsulations) or "none"
            raise LabError(f"lab {self.name} is up with other encapsulations ({has}): {down}")
        if (has_directors := len(running.namespaces.directors)) != directors:
            raise LabError(f"lab {self.name} is up with directors: {has_directors}, not {directors}: {down}")

    def _up(
        self, say: Say, driver: Driver, encapsulations: Collection[Encapsulation], directors: int
    ) -> None:
        backends = [Backend(self.name, number) for number in range(1, BACKENDS + 1)]
        services = extras(encapsulations)
        first, *others = machines = [Director(self.name, number) for number in range(1, directors + 1)]
        say(f"network: client, router, {'director' if not others else f'{directors} directors'}")
        topology.build_core(self.name)
        for one in machines:
            topology.build_director(one)
        topology.route_vips(self.name, machines, vips_of(services))
        redirect.mount(self.path)
        pids: dict[str, int] = {}
        for each in backends:
            say(f"{each.name}: nginx and glb-redirect")
            pids |= self._start_backend(each, backends, machines, services)
        for each in backends:
            programs.wait_ready(each, self.path / each.name)
        for one in machines:
            director.write_config(one, self.path / one.name, driver, services, machines if others else ())
        for one in others:
            say(f"{one.name}: glb-forwarder on {driver}")
            director.start_forwarder(one, self.path / one.name)
        say(f"director1: glb serve and glb-forwarder on {driver}")
        pids["serve"], url = director.start_serve(first, self.director_dir, self._runs(others))
        state = State(
            name=self.name,
            api_url=url,
            token=None,
            namespaces=Namespaces(
                client=topology.namespace(self.name, "client"),
                router=topology.namespace(self.name, "router"),
                directors=[one.ns for one in machines],
                backends=[each.ns for each in backends],
            ),
            service=SERVICE,
            pool=POOL,
            backends=[each.name for each in backends],
            vip4=VIP4,
            vip6=VIP6,
            port=PORT,
            driver=driver,
            encapsulations=sorted(encapsulations),
            services=[each.describe() for each in services],
            pids=pids,
        )
        director.wait_answer(pids["serve"], url, self.director_dir)
        say("configuration, and a first request")
        with Client(Target(url, None, f"lab {self.name}")) as api:
            api.post("/v1/apply", document(backends, services))
        director.wait_answer(pids["serve"], url, self.director_dir, "/readyz")
        self._wait_traffic(state)
        self.rundir.write(state)

    def _runs(self, directors: Collection[Director]) -> list[Path]:
        return [self.path / each.name for each in directors]

    def _start_backend(
        self,
        backend: Backend,
        peers: list[Backend],
        directors: list[Director],
        services: Collection[Extra],
    ) -> dict[str, int]:
        topology.build_backend(backend, loopback_vips(services))
        redirect.attach(backend, self.path, peers, directors, redirect_options(services))
        return programs.start(backend, self.path / backend.name, uses_udp(services))

    def _wait_traffic(self, state: State) -> None:
        """Return when both VIPs have answered."""
        with TrafficClient(state.namespaces.client) as client:
            for vip in (state.vip4, state.vip6):
                netns.wait_until(
                    lambda vip=vip: client.run(request(vip, state.port, timeout_s=2.0)).error is None,  # type: ignore[misc]
                    f"an answer from {vip}",
                )

    def down(self) -> bool:
        """Remove every trace of the lab; false when there was none."""
        if not any(self.rundir.traces().values()):
            return False
        with self.rundir.locked():
            self.rundir.remove()
            self.rundir.remove_empty()
        left = {kind: found for kind, found in self.rundir.traces().items() if found}
        if left:
            raise LabError(f"lab {self.name} is not wholly gone: {left}")
        return True

    # ---- looking ----

    def state(self) -> State:
        """Raises LabError when the lab is not up."""
        state = self.rundir.read()
        if state is None:
            half = any(self.rundir.traces().values())
            hint = f"is not complete: glb lab down --name {self.name}" if half else "is not up: glb lab up"
            raise LabError(f"lab {self.name} {hint}")
        return state

    def broken(self) -> list[str]:
        """Names of the programs and namespaces of a lab that was up which are gone."""
        state = self.state()
        names = [state.namespaces.client, state.namespaces.router]
        names += [*state.namespaces.directors, *state.namespaces.backends]
        inside = {pid for name in names for pid in netns.processes(name)}
        gone = [name for name in names if not netns.exists(name)]
        gone += [name for name, pid in state.pids.items() if pid not in inside]
        return gone + [name for name, pid in self.forwarder_pids().items() if pid not in inside]

    def forwarder_pids(self) -> dict[str, int | None]:
        """By program's name, the pids of the forwarders that answer on their control sockets; they may be
        older than `glb serve`."""
        return {forwarder_name(each): self._forwarder_pid(each) for each in self.directors()}

    def _forwarder_pid(self, one: Director) -> int | None:
        try:
            return self.forwarder(one.name, timeout_s=2.0).status().pid
        except ForwarderError:
            return None

    def directors(self) -> list[Director]:
        return [self.director(ns.rpartition("-")[2]) for ns in self.state().namespaces.directors]

    def director(self, name: str) -> Director:
        return Director(self.name, int(name.removeprefix("director")))

    def forwarder(self, name: str = "director1", timeout_s: float = 10.0) -> Forwarder:
        """A director's forwarder, by its control socket."""
        return Forwarder(self.path / name / "control.sock", timeout_s=timeout_s)

    def forwarders(self) -> list[Forwarder]:
        return [self.forwarder(each.name) for each in self.directors()]

    def extras(self) -> list[Extra]:
        """The services with other encapsulations."""
        return extras(self.state().encapsulations)

    def backends(self) -> list[Backend]:
        return [self.backend(name) for name in self.state().backends]

    def backend(self, name: str) -> Backend:
        return Backend(self.name, int(name.removeprefix("backend")))

    def api(self) -> Client:
        state = self.state()
        return Client(Target(state.api_url, state.token, f"lab {self.name}"))

    def wait_in_force(self, api: Client, revision: int = 0, timeout_s: float = 10.0) -> None:
        """Return when all directors forward by the newest snapshot, `revision` at least. Raises LabError."""

        def in_force() -> bool:
            directors = [each["status"] for each in api.items(path_of("directors"))]
            return all(each["in_force"] and each["confirmed_revision"] >= revision for each in directors)

        netns.wait_until(in_force, "the directors to forward by the newest snapshot", timeout_s)

    def wait_filled(self, api: Client, timeout_s: float = 10.0) -> None:
        """Return when no backend fills any more, and every director forwards by that. Raises LabError."""

        def filled() -> bool:
            members = api.items(path_of("pools", POOL, "backends"))
            return all(each["spec"]["state"] != "filling" for each in members)

        netns.wait_until(filled, "the backends to have filled", timeout_s)
        self.wait_in_force(api)

    def drain(self, name: str, undrain: bool = False) -> None:
        """Drain a backend, or undrain it; return when every director forwards by it."""
        with self.api() as api:
            verb = "undrain" if undrain else "drain"
            written = api.post(path_of("pools", POOL, "backends", name, verb))
            self.wait_in_force(api, written["revision"])
            if undrain:
                self.wait_filled(api)

    def health(self, api: Client) -> dict[str, str]:
        """By backend, what the health check observed: healthy, unhealthy, unknown."""
        return {
            each["name"]: each["status"]["health"] for each in api.items(path_of("pools", POOL, "backends"))
        }

    def second_chances(self) -> dict[str, int]:
        """By backend, the packets that it sent on to the next hop."""
        return {each.name: redirect.counters(each, self.path)["forwarded"] for each in self.backends()}

    def logs(self, lines: int = 15) -> str:
        """The last lines of every log, for messages."""
        parts = []
        for log in sorted(self.path.rglob("*.log")):
            tail = log.read_text(errors="replace").splitlines()[-lines:]
            if tail:
                parts.append("\n".join([f"--- {log.relative_to(self.path)}", *tail]))
        return "\n".join(parts)

    def counters(self) -> dict[str, int]:
        """Packets by reason, of all directors together."""
        each = [forwarder.status().counters for forwarder in self.forwarders()]
        return {reason: sum(counters[reason] for counters in each) for reason in each[0]}

    # ---- changing ----

    def add_backend(self) -> Backend:
        """Plug in one more backend, known to its peers, and add it to the pool."""
        state = self.state()
        others = self.backends()
        new = Backend(self.name, max(each.number for each in others) + 1)
        services = self.extras()
        pids = self._start_backend(new, others, self.directors(), services)
        for each in others:
            redirect.allow(each, self.path, new)
        programs.wait_ready(new, self.path / new.name)
        spaces = state.namespaces.model_copy(update={"backends": [*state.namespaces.backends, new.ns]})
        self._update(namespaces=spaces, backends=[*state.backends, new.name], pids=state.pids | pids)
        with self.api() as api:
            for pool, address in ((POOL, new.address4), (POOL_V6, new.address6)):
                if pool == POOL or any(each.pool == pool for each in services):
                    path = path_of("pools", pool, "backends", new.name)
                    body = {"name": new.name, "address": address}
                    api.request("PUT", path, body, {"If-None-Match": "*"})
        return new

    def remove_backend(self, name: str) -> None:
        """Delete a backend from the pool, and then its machine."""
        state = self.state()
        gone = self.backend(name)
        with self.api() as api:
            for pool in sorted({POOL, *(each.pool for each in self.extras())}):
                api.delete(path_of("pools", pool, "backends", name))
            self.wait_in_force(api)
        netns.stop(netns.processes(gone.ns))
        redirect.detach(gone, self.path)
        for each in self.backends():
            if each != gone:
                redirect.forget(each, self.path, gone)
        netns.remove(gone.ns)
        spaces = state.namespaces.model_copy(
            update={"backends": [ns for ns in state.namespaces.backends if ns != gone.ns]}
        )
        self._update(
            namespaces=spaces,
            backends=[each for each in state.backends if each != name],
            pids={key: pid for key, pid in state.pids.items() if not key.startswith(f"{name}-")},
        )

    def _update(self, **changes: Any) -> None:
        self.rundir.write(self.state().model_copy(update=changes))

    def kill_serve(self) -> None:
        """kill -9 of the control plane. The forwarders go on."""
        netns.stop([self.state().pids["serve"]], grace_s=0)

    def start_serve(self) -> None:
        """Start `glb serve` anew, on the same URL, and wait until it is ready."""
        state = self.state()
        port = int(state.api_url.rpartition(":")[2])
        first, *others = self.directors()
        pid, url = director.start_serve(first, self.director_dir, self._runs(others), port)
        self._update(pids=state.pids | {"serve": pid})
        director.wait_answer(pid, url, self.director_dir, "/readyz")

    def kill_forwarder(self, name: str = "director1") -> None:
        """kill -9 of a director's forwarder."""
        netns.stop([self.forwarder(name).status().pid], grace_s=0)

    def start_forwarder(self, name: str = "director1") -> None:
        """Start a forwarder by itself, as without a control plane; wait until it answers."""
        director.start_forwarder(self.director(name), self.path / name)

    def route(self, names: Collection[str] = ()) -> None:
        """Have the router spread the VIPs over these directors only; over all of them when none is named."""
        to = [each for each in self.directors() if not names or each.name in names]
        topology.route_vips(self.name, to, vips_of(self.extras()))

    def kill_director(self, name: str) -> None:
        """As when its machine loses power; director1's takes `glb serve` with it. The router does not know:
        route()."""
        one = self.director(name)
        topology.unplug(one)
        netns.stop(netns.processes(one.ns), grace_s=0)

    def revive_director(self, name: str) -> None:
        """Undo kill_director(). Routes stay as they are."""
        topology.plug(self.director(name))
        self.start_forwarder(name)
        if "serve" in self.broken():
            self.start_serve()

    def kill_backend(self, name: str) -> None:
        """As when its machine loses power: the cable is dead, and so is everything that ran."""
        backend = self.backend(name)
        topology.unplug(backend)
        netns.stop(netns.processes(backend.ns), grace_s=0)

    def revive_backend(self, name: str) -> None:
        """Undo kill_backend()."""
        backend = self.backend(name)
        pids = programs.start(backend, self.path / name, uses_udp(self.extras()))
        programs.wait_ready(backend, self.path / name)
        topology.plug(backend)
        self._update(pids=self.state().pids | pids)
