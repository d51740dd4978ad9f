"""What a forwarder starts from when nobody is there to load: the last good snapshot, kept by itself."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dataplane.rig import Director, snapshot

Make = Callable[..., Director]
Name = Callable[[str], str]

SOME_KB = 64


@pytest.fixture
def director(make: Make, name: Name) -> Director:
    made = make(name("k"), "net_null0,no-rx=1")
    snapshot(made.snapshot)
    return made.start()


def test_a_load_from_elsewhere_outlives_a_crash(director: Director, tmp_path: Path) -> None:
    elsewhere = snapshot(tmp_path / "elsewhere.glb", revision=7, services=3)
    loaded = director.client.load(elsewhere)
    assert loaded.kept
    assert director.snapshot.read_bytes() == elsewhere.read_bytes()
    assert director.snapshot.stat().st_mode & 0o7 == 0
    elsewhere.unlink()
    assert director.client.status().snapshot_path == str(director.snapshot)
    director.kill()
    status = director.start().client.status()
    assert (status.digest, status.revision, status.generation) == (loaded.digest, 7, 1)
    assert (status.last_error, status.keep_error) == (None, None)


def test_a_refused_one_is_not_kept(director: Director, tmp_path: Path) -> None:
    before = director.snapshot.read_bytes()
    damaged = tmp_path / "damaged.glb"
    damaged.write_bytes(before[:-1])
    reply = director.client.request
    with pytest.raises(Exception, match="truncated"):
        reply({"version": 1, "command": "load", "path": str(damaged)})
    assert director.snapshot.read_bytes() == before


def test_a_damaged_last_good_one_is_replaced_by_the_next(make: Make, name: Name, tmp_path: Path) -> None:
    director = make(name("d"), "net_null0,no-rx=1")
    director.snapshot.write_bytes(snapshot(tmp_path / "one.glb").read_bytes()[:-8])
    status = director.start().client.status()
    assert status.digest is None
    assert status.last_error is not None
    assert status.last_error.path == str(director.snapshot)
    assert "truncated" in status.last_error.message
    assert f"snapshot refused: {status.last_error.message}" in director.log.read_text()
    loaded = director.client.load(tmp_path / "one.glb")
    assert loaded.kept
    director.kill()
    status = director.start().client.status()
    assert (status.digest, status.last_error) == (loaded.digest, None)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SOME_KB}k", "none", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_what_cannot_be_kept_is_in_force(make: Make, name: Name, small_disk: Path, tmp_path: Path) -> None:
    """A full disk: said, not fatal, and made up for once there is room."""
    place = small_disk / "new" / "snapshot.glb"
    director = make(name("f"), "net_null0,no-rx=1", director={"snapshot": str(place)})
    snapshot(tmp_path / "small.glb")
    director.start()
    small = director.client.load(tmp_path / "small.glb")
    assert small.kept
    fill = small_disk / "fill"
    fill.write_bytes(bytes((SOME_KB << 10) - place.stat().st_size - 8192))
    loaded = director.client.load(snapshot(tmp_path / "large.glb", revision=2, services=4))
    assert not loaded.kept
    status = director.client.status()
    assert (status.digest, status.snapshot_path) == (loaded.digest, str(tmp_path / "large.glb"))
    assert status.keep_error is not None
    assert status.keep_error.startswith(f"director.snapshot: what was loaded cannot be kept at {place}")
    assert "No space left on device" in status.keep_error
    assert status.keep_error in director.log.read_text()
    assert place.read_bytes() == (tmp_path / "small.glb").read_bytes()
    assert os.listdir(place.parent) == ["snapshot.glb"]
    fill.unlink()
    deadline = time.monotonic() + 20  # it tries again every 10 s
    while director.client.status().keep_error and time.monotonic() < deadline:
        time.sleep(0.2)
    assert director.client.status().keep_error is None
    assert place.read_bytes() == (tmp_path / "large.glb").read_bytes()
    assert director.terminate() == 0
