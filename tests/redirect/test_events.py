"""`glb-redirect events`: packets that are dropped, with their first bytes; a few a second of a flood."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import packets as p
from .conftest import Redirect
from .netns import Namespace
from .test_packets import DIRECTOR, HERE, STRANGER, segment


@pytest.fixture(scope="module", params=["tc", "xdp"])
def redirect(bpffs: Path, request: pytest.FixtureRequest) -> Iterator[Redirect]:
    namespace = Namespace("e")
    namespace.ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
    namespace.ip("link", "set", "eth0", "up")
    redirect = Redirect(namespace, "eth0", bpffs / "glb", request.param)
    redirect.attach("--allow", DIRECTOR)
    yield redirect
    redirect.detach()
    namespace.delete()


def events(redirect: Redirect) -> list[dict[str, object]]:
    return [json.loads(line) for line in redirect.must("events", "--seconds", "1").splitlines()]


def test_first_bytes_of_what_is_dropped(redirect: Redirect) -> None:
    strange = p.gue(segment(4, p.SYN, bytes(range(100))), src=STRANGER, dst=HERE)
    broken = p.gue(segment(4), src=DIRECTOR, dst=HERE, header=b"\x42" + bytes(7))
    assert redirect.feed(strange)[1] == "not_allowed"
    assert redirect.feed(broken)[1] == "bad_version"
    assert redirect.feed(p.gue(segment(4, p.SYN), src=DIRECTOR, dst=HERE))[1] == "local_syn"
    first, second = events(redirect)
    assert (first["reason"], first["length"]) == ("not_allowed", 14 + len(strange))
    assert bytes.fromhex(str(first["first"]))[14:] == strange[:114]
    assert (second["reason"], second["length"]) == ("bad_version", 14 + len(broken))
    whole = len(broken) + 14 - (len(broken) + 14) % 16
    assert bytes.fromhex(str(second["first"]))[14:] == broken[: whole - 14]
    assert events(redirect) == []


def test_few_of_many(redirect: Redirect) -> None:
    strange = p.gue(segment(4, p.SYN), src=STRANGER, dst=HERE)
    before = redirect.count()["not_allowed"]
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, [min(cpus)])  # the limit is for each CPU
    began = time.monotonic()
    try:
        for _ in range(200):
            assert redirect.feed(strange)[1] == "not_allowed"
        took = time.monotonic() - began
    finally:
        os.sched_setaffinity(0, cpus)
    assert 10 <= len(events(redirect)) <= 10 + 10 * took + 1
    assert redirect.count()["not_allowed"] == before + 200


def test_wrong_words(redirect: Redirect) -> None:
    done = redirect.call("events", "--seconds", "0")
    assert done.returncode == 2
