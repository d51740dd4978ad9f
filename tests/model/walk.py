"""Random walks: what operators, hosts, clients and directors do, from a seed; and how one is shrunk.

A step is two numbers, what kind of thing happens and a seed of its own, so that steps can be left out of a
walk, and the others still mean something.
"""

import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glbpy import desired, settling
from glbpy.desired import Desired
from glbpy.models import Backend, Document, Pool, Service, State, parse
from model.cluster import Cluster, Director
from model.world import Connection, World

SETTLE_S = 200
LAG_S = 40  # a director follows after so long at the latest
LIFE_S = 120  # connections last so long at the most; with that lag, less than SETTLE_S
POOLS = ("web", "other")
ADDRESSES = [f"10.1.0.{n}" for n in range(1, 13)]
SERVICES = {"www": "203.0.113.10", "api": "203.0.113.20"}
CONNECTIONS = 250  # at most, at a time

Step = tuple[str, int]
Change = Callable[[random.Random, Desired], Document | None]


@dataclass(frozen=True)
class Setting:
    """What a walk begins with. ``rails``: changes are refused that a report has something about.

    ``strict``: so are failures, and connections end before what keeps them settles. Then nothing may break
    while nobody's health turns over. ``healthy``: it does not.
    """

    seed: int
    directors: int
    rails: bool
    strict: bool
    healthy: bool
    services: tuple[dict[str, Any], ...]


def setting(seed: int, mode: str) -> Setting:
    rng = random.Random(seed)
    services = []
    for name, vip in SERVICES.items():
        algorithm = rng.choice(["rendezvous", "rendezvous", "maglev"])
        services.append(
            {
                "name": name, "vips": [vip], "ports": [80], "pool": rng.choice(POOLS),
                "protocol": rng.choice(["tcp", "tcp", "tcp", "udp"]),
                "algorithm": algorithm, "table_size": 256 if algorithm == "rendezvous" else 251,
                "hops": 2 if algorithm == "maglev" else rng.choice([1, 2, 2, 3, 4]),
                "encapsulation": rng.choice(["gue", "gue", "gue", "gue", "gre"]),
                "hash_fields": ["src_addr", "src_port"],
                "flow_cache": rng.choice(["off", "on"]), "settle_seconds": SETTLE_S,
            }
        )  # fmt: skip
    strict = mode == "strict"
    return Setting(
        seed, rng.choice([1, 2, 3]), mode != "forced", strict, strict and seed % 2 == 0, tuple(services)
    )


# ---- what operators change ----


def _name(address: str) -> str:
    return f"b{address.rpartition('.')[2]}"


def _pool(rng: random.Random, state: Desired) -> Pool:
    return rng.choice(state.document.pools)


def _with_backend(state: Desired, pool: Pool, backend: Backend) -> Document:
    return desired.put_backend(state, pool.name, backend)


def _add(rng: random.Random, state: Desired) -> Document | None:
    pool = _pool(rng, state)
    free = sorted(set(ADDRESSES) - {backend.address for backend in pool.backends})
    if len(pool.backends) > 8:
        return None
    address = rng.choice(free)
    weight = rng.choice([1, 1, 3])
    return _with_backend(state, pool, Backend(name=_name(address), address=address, weight=weight))


def _remove(rng: random.Random, state: Desired) -> Document | None:
    pool = _pool(rng, state)
    if len(pool.backends) < 3:
        return None
    return desired.remove_backend(state, pool.name, rng.choice(pool.backends).name)


def _address(rng: random.Random, state: Desired) -> Document:
    """Another server by the same name."""
    pool = _pool(rng, state)
    free = sorted(set(ADDRESSES) - {backend.address for backend in pool.backends})
    backend = rng.choice(pool.backends)
    return _with_backend(state, pool, backend.model_copy(update={"address": rng.choice(free)}))


def _state(*wanted: State) -> Change:
    def change(rng: random.Random, state: Desired) -> Document:
        pool = _pool(rng, state)
        backend = rng.choice(pool.backends)
        return _with_backend(state, pool, backend.model_copy(update={"state": rng.choice(wanted)}))

    return change


def _weight(rng: random.Random, state: Desired) -> Document:
    pool = _pool(rng, state)
    backend = rng.choice(pool.backends)
    return _with_backend(state, pool, backend.model_copy(update={"weight": rng.choice([0, 1, 1, 2, 5, 10])}))


def _service(fields: Callable[[random.Random, Service], dict[str, Any]]) -> Change:
    def change(rng: random.Random, state: Desired) -> Document:
        service = rng.choice(state.document.services)
        made = parse(Service, {**service.model_dump(mode="json"), **fields(rng, service)})
        return desired.put_service(state.document, made)

    return change


def _algorithm(rng: random.Random, service: Service) -> dict[str, Any]:
    if service.algorithm == "maglev":
        return {"algorithm": "rendezvous", "table_size": 256}
    return {"algorithm": "maglev", "table_size": 251, "hops": 2}


def _size(rng: random.Random, service: Service) -> dict[str, Any]:
    return {"table_size": rng.choice([251, 257] if service.algorithm == "maglev" else [256, 512])}


def _hops(rng: random.Random, service: Service) -> dict[str, Any]:
    return {"hops": rng.choice([1, 2] if service.algorithm == "maglev" else [1, 2, 3, 4])}


def _fields(rng: random.Random, service: Service) -> dict[str, Any]:
    if rng.random() < 0.2:
        return {"hash_fields": ["src_addr"], "source_affinity": {"v4_bits": rng.choice([28, 32])}}
    fields = rng.choice([["src_addr"], ["src_addr", "src_port"], ["src_addr", "dst_addr", "src_port"]])
    return {"hash_fields": fields, "source_affinity": None}


def _key(field: str) -> Callable[[random.Random, Service], dict[str, Any]]:
    return lambda rng, service: {field: rng.choice([None, rng.randbytes(16).hex()])}


CHANGES: dict[str, Change] = {
    "add": _add,
    "remove": _remove,
    "address": _address,
    "drain": _state(State.DRAINING),
    "undrain": _state(State.ACTIVE),
    "state": _state(State.INACTIVE, State.FILLING, State.ACTIVE),
    "weight": _weight,
    "hops": _service(_hops),
    "algorithm": _service(_algorithm),
    "size": _service(_size),
    "fields": _service(_fields),
    "hash_key": _service(_key("hash_key")),
    "seed": _service(_key("seed")),
    "pool": _service(lambda rng, service: {"pool": rng.choice(POOLS)}),
    "cache": _service(lambda rng, service: {"flow_cache": rng.choice(["off", "on"])}),
    "encapsulation": _service(lambda rng, service: {"encapsulation": rng.choice(["gue", "gue", "gre"])}),
    "settle_seconds": _service(lambda rng, service: {"settle_seconds": rng.choice([0, SETTLE_S, SETTLE_S])}),
}
OTHERS = {
    "open": 12, "send": 14, "end": 4, "load": 9, "time": 5, "settle": 5, "fail": 1.5, "recover": 2,
    "flap": 1.5, "apply": 2, "rollback": 1,
}  # fmt: skip
KINDS = {**OTHERS, **dict.fromkeys(CHANGES, 0.6), "add": 1.5, "remove": 1.2, "drain": 1.2, "undrain": 2.0}


# ---- the walk ----


class Walk:
    def __init__(self, directory: Path, given: Setting) -> None:
        self.given = given
        self.cluster = Cluster(directory, given.directors)
        protocols = {service["name"]: service["protocol"] for service in given.services}
        self.world = World(self.cluster, SERVICES, protocols, given.strict)
        self.loaded_s = {director.name: 0 for director in self.cluster.directors}
        self.changed = self.refused = 0
        backends = {"web": ADDRESSES[:5], "other": ADDRESSES[4:8]}
        pools = [
            {"name": name, "backends": [{"name": _name(a), "address": a} for a in addresses]}
            for name, addresses in backends.items()
        ]
        first = parse(Document, {"pools": pools, "services": list(given.services)})
        self.cluster.write(lambda state: desired.merge(state.document, first), admit=False)
        for _ in range(2):
            for director in self.cluster.directors:
                self.cluster.load(director)
            self.cluster.settle(admit=False)

    def close(self) -> None:
        self.cluster.close()

    def take(self, step: Step) -> None:
        kind, seed = step
        rng = random.Random(seed)
        if kind in CHANGES:
            self._change(rng, [CHANGES[kind]])
        elif kind == "apply":
            self._change(rng, rng.choices(list(CHANGES.values()), k=rng.randint(2, 4)))
        else:
            getattr(self, f"_{kind}")(rng)

    def _change(self, rng: random.Random, changes: list[Change]) -> None:
        document = self.cluster.document
        for change in changes:
            made = change(rng, Desired(document=document))
            document = document if made is None else made
        self._write(document)

    def _write(self, document: Document) -> None:
        if self.cluster.write(lambda state: document, admit=self.given.rails):
            self.changed += 1
        else:
            self.refused += 1

    def _rollback(self, rng: random.Random) -> None:
        past = self.cluster.store.state(rng.randint(1, self.cluster.state.revision))
        document = settling.activate(past, past.filling)
        self._write(document)

    def _director(self, rng: random.Random) -> Director:
        return rng.choice(self.cluster.directors)

    def _some(self, rng: random.Random, most: int) -> list[Connection]:
        connections = list(self.world.connections.values())
        return rng.sample(connections, min(len(connections), rng.randint(1, most)))

    def _open(self, rng: random.Random) -> None:
        if len(self.world.connections) >= CONNECTIONS:
            return
        keys = [
            (f"192.0.2.{rng.randrange(1, 200)}", rng.randrange(2000, 2030), rng.choice(list(SERVICES)))
            for _ in range(rng.randint(1, 24))
        ]
        self.world.open(self._director(rng), list(dict.fromkeys(keys)))

    def _send(self, rng: random.Random) -> None:
        self.world.send(self._director(rng), self._some(rng, 64))

    def _end(self, rng: random.Random) -> None:
        self.world.end(self._director(rng), self._some(rng, 24))

    def _load(self, rng: random.Random) -> None:
        self._follow(self._director(rng))

    def _follow(self, director: Director) -> None:
        self.cluster.load(director)
        self.loaded_s[director.name] = self.cluster.now_s
        self.world.check(director)

    def _time(self, rng: random.Random) -> None:
        self.cluster.now_s += rng.choice([1, 5, 10, 20])
        now_s = self.cluster.now_s
        old = [c for c in self.world.connections.values() if now_s - c.born_s > LIFE_S]
        self.world.end(self._director(rng), old if self.given.strict else rng.sample(old, len(old) // 2))
        for director in self.cluster.directors:
            if now_s - self.loaded_s[director.name] > LAG_S - 20:
                self._follow(director)

    def _check(self, rng: random.Random) -> None:
        for director in self.cluster.directors:
            self.world.check(director)

    def _settle(self, rng: random.Random) -> None:
        self.cluster.settle(admit=self.given.strict)

    def _fail(self, rng: random.Random) -> None:
        """A host dies; health checks see it at once, directors when they load."""
        address = rng.choice(ADDRESSES)
        if len(self.world.dead) < 3 and self._health({*self.cluster.unhealthy, address}):
            self.world.lose_host(address)

    def _recover(self, rng: random.Random) -> None:
        if self.cluster.unhealthy:
            address = rng.choice(sorted(self.cluster.unhealthy))
            if self._health(self.cluster.unhealthy - {address}):
                self.world.dead.discard(address)

    def _flap(self, rng: random.Random) -> None:
        """Health checks fail, or begin to pass, while the host serves its connections."""
        alive = sorted(set(ADDRESSES) - self.world.dead)
        self._health(self.cluster.unhealthy ^ {rng.choice(alive)})

    def _health(self, unhealthy: set[str]) -> bool:
        if self.given.healthy:
            return False
        return self.cluster.set_health(unhealthy, admit=self.given.strict)


def steps(seed: int, count: int) -> list[Step]:
    rng = random.Random(seed)
    kinds = rng.choices(list(KINDS), weights=list(KINDS.values()), k=count)
    return [(kind, rng.randrange(1 << 30)) for kind in kinds]


class FailedError(AssertionError):
    def __init__(self, step: int, error: Exception) -> None:
        super().__init__(f"step {step}: {type(error).__name__}: {error}")
        self.step = step


def play(given: Setting, walk: list[Step]) -> Walk:
    """Take the steps, and return how it ended. Raises FailedError."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as directory:
        made = Walk(Path(directory), given)
        try:
            for number, step in enumerate([*walk, ("check", 0)]):
                try:
                    made.take(step)
                except Exception as error:
                    raise FailedError(number, error) from error
            return made
        finally:
            made.close()


def shrink(given: Setting, walk: list[Step], tries: int = 400) -> list[Step]:
    """Return fewer steps that still fail: ever smaller pieces are left out."""
    piece = max(len(walk) // 2, 1)
    while piece >= 1 and tries > 0:
        start, shorter = 0, False
        while start < len(walk) and tries > 0:
            without = walk[:start] + walk[start + piece :]
            tries -= 1
            try:
                play(given, without)
                start += piece
            except FailedError as error:
                walk, shorter = without[: error.step + 1], True
        piece = piece if shorter and piece == 1 else piece // 2
    return walk
