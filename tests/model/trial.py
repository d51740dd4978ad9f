"""One kind of change to one kind of service: which of its connections survive, at which director.

Two directors: one that has seen, and may remember, every connection, and another that has not.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from glbpy import desired
from glbpy.desired import Edit
from glbpy.models import Backend, Document, State, parse
from model.cluster import Cluster, Director
from model.world import World

SETTLE_S = 100
FLOWS = 300
VIP = "203.0.113.10"
SUBJECT = "b2"  # the backend that something happens to


def address(name: str) -> str:
    return f"10.1.0.{name[1:]}"


class Trial:
    def __init__(self, directory: Path, **service: Any) -> None:
        self.cluster = Cluster(directory, 2, cache_entries=1 << 15)
        self.seen, self.other = self.cluster.directors
        self.world = World(self.cluster, {"www": VIP}, {"www": service.get("protocol", "tcp")})
        self.opened = 0
        self.lags = False  # the other director does not follow
        names = [f"b{n}" for n in range(1, 6)]
        others = [f"b{n}" for n in range(6, 9)]
        maglev = service.get("algorithm") == "maglev"
        given = {
            "name": "www", "vips": [VIP], "protocol": "tcp", "ports": [80], "pool": "web",
            "hash_fields": ["src_addr", "src_port"], "settle_seconds": SETTLE_S,
            "table_size": 251 if maglev else 256, **service,
        }  # fmt: skip
        pools = [
            {"name": pool, "backends": [{"name": n, "address": address(n)} for n in members]}
            for pool, members in (("web", names), ("other", others))
        ]
        document = parse(Document, {"pools": pools, "services": [given]})
        self.write(lambda state: desired.merge(state.document, document))
        self.open()

    # ---- what happens ----

    def follow(self) -> None:
        """Directors follow, more than once, so that what fills becomes active."""
        for _ in range(3):
            self.cluster.load(self.seen)
            if not self.lags:
                self.cluster.load(self.other)
            self.cluster.settle(admit=False)

    def write(self, edit: Edit) -> None:
        self.cluster.write(edit, admit=False)
        self.follow()

    def service(self, **fields: Any) -> None:
        service = self.cluster.state.service("www")
        made = parse(type(service), {**service.model_dump(mode="json"), **fields})
        self.write(lambda state: desired.put_service(state.document, made))

    def backend(self, name: str, **fields: Any) -> None:
        found = desired.find_backend(self.cluster.state.pool("web"), name)
        backend = found or Backend(name=name, address=address(name))
        self.write(lambda state: desired.put_backend(state, "web", backend.model_copy(update=fields)))

    def remove(self, name: str) -> None:
        self.write(lambda state: desired.remove_backend(state, "web", name))

    def wait(self) -> None:
        """All that settles has settled."""
        self.cluster.now_s += SETTLE_S + 1
        self.follow()

    def fail(self, name: str) -> None:
        self.cluster.set_health({address(name)}, admit=False)
        self.world.lose_host(address(name))
        self.follow()

    def recover(self, name: str) -> None:
        self.cluster.set_health(set(), admit=False)
        self.world.dead.discard(address(name))
        self.follow()

    def open(self) -> None:
        """New connections, of two packets each."""
        keys = [(f"192.0.2.{n % 200}", 2000 + n, "www") for n in range(self.opened, self.opened + FLOWS)]
        self.opened += FLOWS
        self.world.open(self.seen, keys)
        self.world.survivors(self.seen, remembers=True)

    # ---- what became of them ----

    def verdict(self) -> str:
        """Return which connections go on, in the words of docs/guarantees.md."""
        remembering = self._word(self.seen, True)
        elsewhere = self._word(self.other, False)
        return remembering if remembering == elsewhere else f"{remembering} / {elsewhere}"

    def _word(self, director: Director, remembers: bool) -> str:
        every = set(self.world.connections)
        on_others = {
            key for key, one in self.world.connections.items() if one.host != address(SUBJECT)
        }
        unmoved = self._unmoved(director)
        found = self.world.survivors(director, remembers)
        assert len(every) > FLOWS // 2
        for word, wanted in (("all", every), ("none", set()), ("others", on_others), ("unmoved", unmoved)):
            if found == wanted:
                return word
        return "some"

    def _unmoved(self, director: Director) -> set[tuple[str, int, str]]:
        """Return the connections whose backend is still the first of their row."""
        assert director.path is not None
        connections = list(self.world.connections.values())
        chains = director.path.chains([connection.packets.goes_on for connection in connections])
        return {
            connection.key
            for connection, chain in zip(connections, chains, strict=True)
            if chain and chain[0].address == connection.host
        }


def _failure(trial: Trial) -> None:
    trial.fail(SUBJECT)


def _recovery(trial: Trial) -> None:
    trial.fail(SUBJECT)
    trial.open()
    trial.recover(SUBJECT)


def _undrain(trial: Trial) -> None:
    trial.backend(SUBJECT, state=State.DRAINING)
    trial.open()
    trial.backend(SUBJECT, state=State.ACTIVE)


def _remove_drained(trial: Trial) -> None:
    trial.backend(SUBJECT, state=State.DRAINING)
    trial.remove(SUBJECT)


def _settled(trial: Trial) -> None:
    trial.remove(SUBJECT)
    trial.wait()


def _come_back(trial: Trial) -> None:
    trial.remove(SUBJECT)
    trial.open()
    trial.backend(SUBJECT)


def _algorithm(trial: Trial) -> None:
    if trial.cluster.state.service("www").algorithm == "maglev":
        trial.service(algorithm="rendezvous", table_size=256)
    else:
        trial.service(algorithm="maglev", table_size=251)


def _size(trial: Trial) -> None:
    maglev = trial.cluster.state.service("www").algorithm == "maglev"
    trial.service(table_size=509 if maglev else 512)


def _hops(trial: Trial) -> None:
    trial.service(hops=1)


def _key_twice(trial: Trial) -> None:
    trial.service(hash_key="ab" * 16)
    trial.service(hash_key="cd" * 16)


def _not_settling(change: Callable[[Trial], None]) -> Callable[[Trial], None]:
    def changed(trial: Trial) -> None:
        trial.service(settle_seconds=0)
        change(trial)

    return changed


def _add(trial: Trial) -> None:
    trial.backend("b9")


# By their words in docs/guarantees.md.
CHANGES: dict[str, Callable[[Trial], None]] = {
    "a backend is added": _add,
    "drained": lambda trial: trial.backend(SUBJECT, state=State.DRAINING),
    "drained, and undrained": _undrain,
    "removed at once": lambda trial: trial.remove(SUBJECT),
    "drained, and removed": _remove_drained,
    "removed, and added again": _come_back,
    "removed, and settled": _settled,
    "made inactive": lambda trial: trial.backend(SUBJECT, state=State.INACTIVE),
    "given a larger weight": lambda trial: trial.backend(SUBJECT, weight=5),
    "given weight 0": lambda trial: trial.backend(SUBJECT, weight=0),
    "given another address": lambda trial: trial.backend(SUBJECT, address=address("b9")),
    "fails": _failure,
    "fails, and recovers": _recovery,
    "`hops`": _hops,
    "`algorithm`": _algorithm,
    "`table_size`": _size,
    "`hash_fields`": lambda trial: trial.service(hash_fields=["src_addr"]),
    "`source_affinity`": lambda trial: trial.service(
        hash_fields=["src_addr"], source_affinity={"v4_bits": 24}
    ),
    "`hash_key`": lambda trial: trial.service(hash_key="ab" * 16),
    "`hash_key` twice": _key_twice,
    "`seed`": lambda trial: trial.service(seed="ab" * 16),
    "`pool`": lambda trial: trial.service(pool="other"),
    "`flow_cache`": lambda trial: trial.service(flow_cache="on"),
    "added, `settle_seconds: 0`": _not_settling(_add),
    "drained, `settle_seconds: 0`": _not_settling(
        lambda trial: trial.backend(SUBJECT, state=State.DRAINING)
    ),
    "removed, `settle_seconds: 0`": _not_settling(lambda trial: trial.remove(SUBJECT)),
    "`hash_key`, `settle_seconds: 0`": _not_settling(lambda trial: trial.service(hash_key="ab" * 16)),
}
CARRIERS: dict[str, list[dict[str, Any]]] = {
    "gue": [{}],
    "other": [{"encapsulation": "gre"}, {"protocol": "udp"}],
}


@contextmanager
def _trial(**service: Any) -> Iterator[Trial]:
    fast = "/dev/shm"
    with tempfile.TemporaryDirectory(dir=fast if Path(fast).is_dir() else None) as directory:
        trial = Trial(Path(directory), **service)
        try:
            yield trial
        finally:
            trial.cluster.close()


def judge(change: str, algorithm: str, flow_cache: str, carrier: dict[str, Any]) -> str:
    """Return which connections survive a change, as measured."""
    with _trial(algorithm=algorithm, flow_cache=flow_cache, **carrier) as trial:
        CHANGES[change](trial)
        return trial.verdict()


def judge_lag(change: str, algorithm: str) -> str:
    """Return whether connections, old and new ones, survive at a director that does not follow for now."""
    with _trial(algorithm=algorithm) as trial:
        trial.lags = True
        CHANGES[change](trial)
        trial.open()
        found = trial.world.survivors(trial.other, remembers=False)
        return "all" if found == set(trial.world.connections) else "some"
