"""A thousand long connections while operators do all that they may, in random order, with two directors.

Drains, undrains, backends that are added, two drains at once (as many as three hops allow, with settling on),
and routers that send flows to the other director. None may break, and in the end the counters must add up:
what directors sent is what backends got, each packet has one reason, and no reason is a drop.
"""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from glbpy.client import path_of
from glbpy.lab import netns, redirect
from glbpy.lab.lab import HOPS, POOL, Lab
from glbpy.lab.traffic import Client
from tests.lab.conftest import DIRECTORS, wait_healthy
from tests.lab.stayers import Crowd, Stayers
from tests.lab.test_changes import new_connections

SEED = 20240607
STEPS = 24  # the same ones each time, however long they take
ADDITIONS = 2
KINDS = ("ask", "ask", "ask", "idle", "ask", "ask", "download", "idle", "ask", "idle")
CROWD = Crowd(1000, KINDS, ask_s=3.2, rate=2_000)


@pytest.fixture
def fresh_lab(lab_name: Callable[[str], str]) -> Iterator[Lab]:
    lab = Lab(lab_name("thousand"))
    lab.down()  # of a run that was killed
    lab.up(directors=DIRECTORS)
    yield lab
    lab.down()


class Operators:
    """What they do, one thing after the other, as the random numbers say."""

    def __init__(self, lab: Lab, seed: int) -> None:
        self.lab = lab
        self.random = random.Random(seed)
        self.draining: list[str] = []
        self.done: Counter[str] = Counter()

    def step(self) -> None:
        may = [self.undrain] * len(self.draining) + [self.route]
        free = HOPS - 1 - len(self.draining)
        if free:
            may += [self.drain] * 2
        if free == HOPS - 1:
            may += [self.drain_two] * 2
        if self.done["add"] < ADDITIONS:
            may.append(self.add)
        work = self.random.choice(may)
        self.done[work.__name__] += 1
        work()

    def active(self) -> list[str]:
        return [name for name in self.lab.state().backends if name not in self.draining]

    def drain(self) -> None:
        name = self.random.choice(self.active())
        self.draining.append(name)
        self.lab.drain(name)

    def drain_two(self) -> None:
        """The second while the directors have yet to hear of the first."""
        names = self.random.sample(self.active(), 2)
        self.draining += names
        with self.lab.api() as api:
            for name in names:
                written = api.post(path_of("pools", POOL, "backends", name, "drain"))
            self.lab.wait_in_force(api, written["revision"])

    def undrain(self) -> None:
        name = self.random.choice(self.draining)
        self.draining.remove(name)
        self.lab.drain(name, undrain=True)

    def add(self) -> None:
        self.lab.add_backend()
        with self.lab.api() as api:
            self.lab.wait_filled(api)

    def route(self) -> None:
        """Now and then all flows go to one director, and come back."""
        names = [each.name for each in self.lab.directors()]
        self.lab.route(self.random.choice([names, *([name] for name in names)]))


class Ledger:
    """Packets of the lab's directors and backends since it was made."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.begun = self.read()

    def read(self) -> dict[str, Counter[str]]:
        seen = {one.name: self.lab.forwarder(one.name).status() for one in self.lab.directors()}
        rows = {name: Counter(each.counters) for name, each in seen.items()}
        for name, each in seen.items():
            rows[name]["received"] = sum(worker.rx_packets for worker in each.workers)
        for backend in self.lab.backends():
            rows[backend.name] = Counter(redirect.counters(backend, self.lab.path))
        return rows

    def settled(self) -> dict[str, Counter[str]]:
        """What has been counted when nothing moves any more, health checks and ARP aside."""
        last: dict[str, Counter[str]] = {}

        def still() -> bool:
            nonlocal last
            before, last = last, self.read()
            ours = ("forwarded", "local_established", "local_last_hop")
            return {name: [row[reason] for reason in ours] for name, row in before.items()} == {
                name: [row[reason] for reason in ours] for name, row in last.items()
            }

        netns.wait_until(still, "the last packets", 20)
        return {name: row - self.begun.get(name, Counter()) for name, row in last.items()}


def test_a_thousand_connections_stay_whatever_operators_do(fresh_lab: Lab) -> None:
    lab = fresh_lab
    operators = Operators(lab, SEED)
    ledger = Ledger(lab)
    with Client(lab.state().namespaces.client) as client, Stayers(client, CROWD) as stayers:
        for _ in range(STEPS):
            operators.step()
            assert stayers.broken() == []
            time.sleep(operators.random.random() / 2)
            if not operators.random.randrange(8):
                assert new_connections(client).isdisjoint(operators.draining)
        for name in list(operators.draining):
            lab.drain(name, undrain=True)
        lab.route()
        wait_healthy(lab)
        assert new_connections(client) == set(lab.state().backends)
        stayers.finish()
    assert operators.done["add"] == ADDITIONS
    assert operators.done["drain_two"] > 1, operators.done
    check(lab, ledger.settled())


def check(lab: Lab, rows: dict[str, Counter[str]]) -> None:
    """Everything that was received has a reason, what was sent has arrived, and nothing was dropped."""
    directors = [rows[one.name] for one in lab.directors()]
    backends = [rows[one.name] for one in lab.backends()]
    for row in directors:
        assert row["received"] == sum(row.values()) - row["received"], row
        assert row["forwarded"] > 1000, row
    for row in backends:
        ends = row["forwarded"] + sum(count for reason, count in row.items() if reason.startswith("local_"))
        assert row["received"] == ends, row
    sent = sum(row["forwarded"] for row in directors)
    again = sum(row["forwarded"] for row in backends)
    assert sum(row["received"] for row in backends) == sent + again
    assert again > 1000
