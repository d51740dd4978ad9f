"""Directors on a veth pair in a namespace of their own."""

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dataplane.rig import Director, Segment, config
from glbpy import forwarder

CHECKOUT = f"{zlib.crc32(str(Path(__file__).resolve()).encode()):08x}"


@pytest.fixture
def name() -> Callable[[str], str]:
    """Instance names that no other checkout's tests use."""
    return lambda purpose: f"t{CHECKOUT}-{purpose}"


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Director]]:
    """Make directors that end with the test, however it ends."""
    made: list[Director] = []

    def director(
        name: str, *devargs: str, prefix: tuple[str, ...] = (), **sections: dict[str, Any]
    ) -> Director:
        folder = tmp_path / name
        made.append(Director(folder, config(name, folder, *devargs, **sections), prefix))
        return made[-1]

    yield director
    for each in made:
        if each.pid:
            each.kill()
        forwarder.remove_traces(each.document["director"]["name"])


@pytest.fixture
def segment() -> Iterator[Segment]:
    made = Segment()
    yield made
    made.close()
