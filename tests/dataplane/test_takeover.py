"""A new forwarder process takes over from a running one, with traffic flowing."""

import asyncio
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from oracle.build import IPV4, ethernet, ipv4, tcp

from dataplane.rig import VIP, Director, Segment, run_once, snapshot
from glbpy import counters, engine, forwarder
from glbpy.compiler import NativeCompiler
from glbpy.director import Director as ControlledDirector
from glbpy.errors import ForwarderError
from glbpy.upgrade import upgrade

AF_PACKET = "net_af_packet0,iface=director0,framecnt=4096,blocksz=65536"
CLIENT = "192.0.2.77"

Make = Callable[..., Director]
Name = Callable[[str], str]


def numbered(n: int, destination: str) -> bytes:
    """A packet that carries its number."""
    payload = tcp(1024 + n % 40000, 80, struct.pack("!I", n))
    return ethernet(ipv4(CLIENT, VIP, 6, payload), IPV4, dst=destination, src="02:00:00:00:00:aa")


def number_of(frame: bytes) -> int:
    value: int = struct.unpack("!I", frame[-4:])[0]
    return value


MODELS = {"run-to-completion": {}, "pipeline": {"workers": 2}}  # and the lcores of each
BOTH_MODELS = pytest.mark.parametrize("director", MODELS, indirect=True)


@pytest.fixture
def director(make: Make, name: Name, segment: Segment, request: pytest.FixtureRequest) -> Director:
    model: str = getattr(request, "param", "run-to-completion")
    made = make(
        name("t"), AF_PACKET, prefix=segment.prefix, forward={"run_model": model}, eal=dict(MODELS[model])
    )
    snapshot(made.snapshot)
    return made.start()


def config_of(director: Director) -> engine.DirectorConfig:
    return engine.read_config(director.toml)


def waiting(director: Director) -> forwarder.Forwarder:
    """Start a process that waits to take over."""
    client = forwarder.Forwarder(director.run_dir / "next/control.sock")
    forwarder.start([*director.command(), "--takeover"], client.socket_path, log=director.log, timeout_s=60)
    return client


def reap(director: Director, pid: int) -> None:
    assert forwarder.wait_gone(director.pid)
    director.pid = pid


@BOTH_MODELS
def test_no_packet_is_lost(director: Director, segment: Segment) -> None:
    """Three hand-overs under paced traffic: nothing lost; few come out twice; flows keep backends."""
    stop = threading.Event()
    sent = 0

    def send() -> None:
        nonlocal sent
        while not stop.is_set():
            segment.wire.send([numbered(sent, segment.mac)])
            sent += 1
            time.sleep(0.0003)

    frames: list[bytes] = []

    def receive() -> None:
        while not stop.is_set():
            frames.extend(segment.wire.receive(100, 0.2))

    threads = [threading.Thread(target=send), threading.Thread(target=receive)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            time.sleep(0.3)
            done = upgrade(config_of(director))
            assert done.old_pid == director.pid
            reap(director, done.new_pid)
            assert done.overlap_us < 1_000_000
        time.sleep(0.3)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    frames += segment.wire.receive(10000, 1)
    seen = Counter(number_of(frame) for frame in frames)
    lost = set(range(sent)) - set(seen)
    doubled = sum(n - 1 for n in seen.values())
    print(f"sent {sent}, lost {len(lost)}, doubled {doubled}")
    assert sent > 500
    assert not lost
    assert max(seen.values()) <= 2
    assert doubled < sent / 2
    status = director.client.status()
    assert (status.pid, status.muted) == (director.pid, False)
    assert counters.read(director.run_dir / "stats").pid == director.pid
    backends = {}
    for frame in frames:
        assert backends.setdefault(frame[34 + 8 + 12 + 20:][:2], frame[30:34]) == frame[30:34]


def test_what_has_the_instances_name_afterwards(director: Director, name: Name) -> None:
    done = upgrade(config_of(director))
    reap(director, done.new_pid)
    names = sorted(path.name for path in director.run_dir.iterdir())
    assert names == ["control.sock", "forwarder.log", "stats"]
    assert [path.name for path in Path("/run/dpdk").glob(f"glb-{name('t')}*")] == [f"glb-{name('t')}"]
    assert Path(director.client.status().stats_path) == director.run_dir / "stats"
    second = run_once("--config", str(director.toml))
    assert "another forwarder is running" in second.stderr
    assert director.terminate() == 0
    assert sorted(path.name for path in director.run_dir.iterdir()) == ["forwarder.log"]
    assert not list(Path("/run/dpdk").glob(f"glb-{name('t')}*"))
    director.start()
    assert director.client.status().generation == 1


@BOTH_MODELS
def test_waits_muted(director: Director, segment: Segment) -> None:
    new = waiting(director)
    pid = new.status().pid
    assert new.status().muted
    assert not director.client.status().muted
    segment.wire.send(numbered(n, segment.mac) for n in range(50))
    assert len(segment.wire.receive(60, 1)) == 50
    assert new.status().counters["muted"] >= 50
    assert new.status().counters["forwarded"] == 0
    silent = [each for each in new.status().workers if each.role != "receiver"]  # which passes on to workers
    assert sum(each.tx_packets for each in silent) == 0
    assert counters.read(director.run_dir / "next/stats").services[1].packets == 0
    third = run_once("--config", str(director.toml), "--takeover")
    assert third.returncode == 1
    assert "another forwarder is running" in third.stderr
    os.kill(pid, signal.SIGKILL)  # a killed one leaves nothing that matters
    assert forwarder.wait_gone(pid)
    segment.wire.send([numbered(99, segment.mac)])
    assert len(segment.wire.receive(1)) == 1
    reap(director, upgrade(config_of(director)).new_pid)


@BOTH_MODELS
def test_follows_the_snapshot_of_the_running_one(director: Director, tmp_path: Path) -> None:
    new = waiting(director)
    director.client.load(snapshot(tmp_path / "other.glb", revision=9))
    new.request({"version": 1, "command": "takeover"})
    pid = new_pid(director)
    reap(director, pid)
    assert director.client.status().revision == 9


def new_pid(director: Director) -> int:
    return director.client.status().pid


def test_refuses_when_the_snapshot_has_gone(director: Director, segment: Segment, tmp_path: Path) -> None:
    other = snapshot(tmp_path / "other.glb", revision=9)
    director.client.load(other)
    other.unlink()
    director.snapshot.unlink()  # where the forwarder had kept it
    with pytest.raises(ForwarderError, match="has a snapshot that is neither at"):
        upgrade(config_of(director))
    segment.wire.send([numbered(1, segment.mac)])
    assert len(segment.wire.receive(2, 1)) == 1  # the old one forwards, and nobody else
    assert director.client.status().pid == director.pid


def test_the_running_one_does_not_answer(director: Director, segment: Segment) -> None:
    """It is stopped while it is asked: the new one stays muted and says so."""
    new = waiting(director)
    os.kill(director.pid, signal.SIGSTOP)
    try:
        with pytest.raises(ForwarderError, match="does not answer"):
            new.request({"version": 1, "command": "takeover"})
    finally:
        os.kill(director.pid, signal.SIGCONT)
    assert new.status().muted
    new.stop()
    assert director.client.status().pid == director.pid


def test_nobody_to_take_over_from(make: Make, name: Name) -> None:
    director = make(name("n"), "net_null0,no-rx=1")
    done = run_once("--config", str(director.toml), "--takeover")
    assert done.returncode == 1
    assert "nobody to take over from" in done.stderr
    with pytest.raises(ForwarderError):
        upgrade(config_of(director))


def test_ports_that_cannot_be_shared(make: Make, name: Name) -> None:
    director = make(name("x"), "net_af_xdp0,iface=director0")
    done = run_once("--config", str(director.toml), "--takeover")
    assert done.returncode == 2
    assert "port[0].devargs: net_af_xdp0,iface=director0 belongs to one process" in done.stderr


def test_takeover_only_when_waiting(director: Director) -> None:
    with pytest.raises(ForwarderError) as refused:
        director.client.request({"version": 1, "command": "takeover"})
    assert refused.value.code == "takeover_failed"


def test_control_plane_adopts_the_new_process(director: Director) -> None:
    """What `glb serve` runs for the director: it goes on with the process that has the name."""
    asyncio.run(adopt(director))


async def adopt(director: Director) -> None:
    started: list[int] = []

    def launch() -> int:
        started.append(1)
        return director.pid

    controlled = ControlledDirector(
        director.document["director"]["name"], director.snapshot,
        forwarder.Forwarder(director.client.socket_path), NativeCompiler(), launch,
    )  # fmt: skip
    task = asyncio.create_task(controlled.run())
    try:
        await until(lambda: controlled.status().pid == director.pid)
        done = await asyncio.to_thread(upgrade, config_of(director))
        await until(lambda: controlled.status().pid == done.new_pid)
        assert controlled.status().reachable
        assert not started
        reap(director, done.new_pid)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.05)


def test_command(director: Director) -> None:
    """From another network namespace, as a systemd reload or a person does it."""
    glb = Path(sys.executable).with_name("glb")
    done = subprocess.run(
        [glb, "upgrade", "--config", director.toml], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert f"took over from {director.pid} " in done.stdout
    reap(director, new_pid(director))
