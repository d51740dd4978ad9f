"""The control socket of a real forwarder; docs/wire/control.md's examples and tables are held against it."""

import json
import re
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dataplane.rig import Director, snapshot
from glbpy import _native as native
from glbpy import counters
from glbpy.errors import ForwarderError
from glbpy.forwarder import Forwarder

PAGE = (Path(__file__).resolve().parents[2] / "docs/wire/control.md").read_text()


@pytest.fixture
def director(make: Callable[..., Director], name: Callable[[str], str]) -> Director:
    made = make(name("c"), "net_null0,no-rx=1")
    snapshot(made.snapshot, revision=7)
    return made.start()


class Line:
    """A connection that speaks lines, for requests that glbpy's client would never send."""

    def __init__(self, director: Director) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(10)
        self.socket.connect(director.client.socket_path)
        self.file = self.socket.makefile("rwb")

    def ask(self, line: bytes) -> dict[str, Any]:
        self.file.write(line + b"\n")
        self.file.flush()
        reply = json.loads(self.file.readline())
        assert isinstance(reply, dict)
        return reply

    def close(self) -> None:
        self.file.close()
        self.socket.close()


@pytest.fixture
def line(director: Director) -> Iterator[Line]:
    made = Line(director)
    yield made
    made.close()


# ---- the documented examples ----


def examples() -> list[tuple[str, str]]:
    pairs = []
    for block in re.findall(r"```control\n(.*?)```", PAGE, re.DOTALL):
        lines = block.splitlines()
        pairs += [(ask[2:], reply[2:]) for ask, reply in zip(lines[::2], lines[1::2], strict=True)]
    return sorted(pairs, key=lambda pair: '"stop"' in pair[0])  # the forwarder is needed until then


# Fields whose value depends on the machine and the moment.
VARYING = {
    "digest", "load_us", "switch_us", "instance", "pid", "uptime_s", "stats_path", "mac", "rx_packets",
    "rx_bytes", "tx_packets", "tx_bytes", "bursts", "idle_polls", "sleeps", "mtu", "lcore",
    "busy_cycles", "tsc_hz", "took_us", "frame",
}  # fmt: skip


def same(documented: Any, real: Any, key: str = "") -> None:
    assert type(documented) is type(real), key
    if isinstance(documented, dict):
        if key == "counters":  # cut short on the page
            assert set(documented) <= set(real) == set(native.REASONS)
            return
        assert list(documented) == list(real), key
        for name in documented:
            same(documented[name], real[name], name)
    elif isinstance(documented, list):
        assert len(documented) == len(real)
        for a, b in zip(documented, real, strict=True):
            same(a, b, key)
    elif key not in VARYING:
        assert documented == real, key


def test_documented_examples(director: Director, line: Line, tmp_path: Path) -> None:
    snapshot(tmp_path / "snapshot.glb", revision=7)
    lists = {"bots": b"192.0.2.0/24\n192.0.2.7\n", "office": b"2001:db8::/32\n"}
    (tmp_path / "lists.glbl").write_bytes(native.compile_lists(lists))
    (tmp_path / "damaged.glb").write_bytes(director.snapshot.read_bytes()[:100])
    pairs = examples()
    assert len(pairs) == 16
    for request, reply in pairs:
        real = line.ask(request.replace("/tmp/example", str(tmp_path)).encode())
        text = json.dumps(real).replace(f"{director.run_dir}/capture", "/run/glb/director1/capture")
        text = text.replace(str(director.snapshot), "/var/lib/glb/director1/snapshot.glb")
        kept = str(director.snapshot.with_name("lists.glbl"))
        text = text.replace(kept, "/var/lib/glb/director1/lists.glbl")
        text = text.replace(str(tmp_path), "/tmp/example")
        same(json.loads(reply), json.loads(text), request)
    assert director.wait() == 0  # the last one was stop


def test_documented_codes() -> None:
    codes = set(re.findall(r"^\| `(\w+)` \| [^|]* \| (?:stays|is closed) \|", PAGE, re.MULTILINE))
    assert codes == {
        "bad_request", "unsupported_version", "unknown_command", "snapshot_refused", "takeover_failed",
        "too_long", "busy", "capture_failed", "trace_failed", "lists_refused",
    }  # fmt: skip


def documented_fields(heading: str) -> dict[str, int]:
    section = PAGE.split(f"### {heading}\n")[1].split("\n###")[0]
    rows = re.findall(r"^\| (\d+) \| [^|]* \| `(\w+)` \|", section, re.MULTILINE)
    return {name: int(at) for at, name in rows}


@pytest.mark.parametrize(
    ("heading", "struct"),
    [("Header", "struct glb_stats_header"), ("A worker's block", "struct glb_worker_stats")],
)
def test_documented_layout(heading: str, struct: str) -> None:
    unnamed = ("pad", "reserved")
    fields = {name: field.offset for name, field in native.ffi.typeof(struct).fields if name not in unnamed}
    assert documented_fields(heading) == fields
    if struct == "struct glb_stats_header":
        assert f"| `header_bytes` | {native.ffi.sizeof(struct)} |" in PAGE


# ---- requests that are wrong ----


@pytest.mark.parametrize(
    ("request_line", "code"),
    [
        (b"", "bad_request"),
        (b"{", "bad_request"),
        (b"[]", "bad_request"),
        (b"null", "bad_request"),
        (b"\xff\xfe\x00garbage", "bad_request"),
        (b'{"version":1,"command":"status"} x', "bad_request"),
        (b'{"version":1,"version":1,"command":"status"}', "bad_request"),
        (b'{"command":"status"}', "bad_request"),
        (b'{"version":"1","command":"status"}', "bad_request"),
        (b'{"version":2,"command":"status"}', "unsupported_version"),
        (b'{"version":0,"command":"nonsense","x":1}', "unsupported_version"),
        (b'{"version":1}', "bad_request"),
        (b'{"version":1,"command":7}', "bad_request"),
        (b'{"version":1,"command":"Status"}', "unknown_command"),
        (b'{"version":1,"command":"load"}', "bad_request"),
        (b'{"version":1,"command":"load","path":""}', "bad_request"),
        (b'{"version":1,"command":"load","path":"a/b"}', "bad_request"),
        (b'{"version":1,"command":"load","path":["/a"]}', "bad_request"),
        (b'{"version":1,"command":"load","path":"/a\\u0000b"}', "bad_request"),
        (b'{"version":1,"command":"load","path":"/' + b"a" * 5000 + b'"}', "bad_request"),
        (b'{"version":1,"command":"load","path":"/nonexistent"}', "snapshot_refused"),
        (b'{"version":1,"command":"load","path":"/dev/zero"}', "snapshot_refused"),
        (b'{"version":1,"command":"stop","path":"/a"}', "bad_request"),
        (b"[" * 5000, "bad_request"),
    ],
)
def test_wrong_requests(line: Line, request_line: bytes, code: str) -> None:
    reply = line.ask(request_line)
    assert reply["version"] == 1
    assert reply["ok"] is False
    assert reply["error"]["code"] == code
    assert len(reply["error"]["message"]) > 10
    assert line.ask(b'{"version":1,"command":"status"}')["ok"] is True  # and goes on


def test_too_long_a_line(director: Director, line: Line) -> None:
    line.socket.sendall(b"x" * 65536)
    assert json.loads(line.file.readline())["error"]["code"] == "too_long"
    assert line.file.readline() == b""
    assert director.client.status().pid == director.pid


def test_byte_by_byte_and_many_at_once(line: Line) -> None:
    for byte in b'{"version":1,"command":"status"}\n':
        line.socket.sendall(bytes([byte]))
    assert json.loads(line.file.readline())["ok"] is True
    line.socket.sendall(b'{"version":1,"command":"status"}\n' * 100)
    assert all(json.loads(line.file.readline())["ok"] for _ in range(100))


def test_client_that_does_not_read(director: Director) -> None:
    """It gets its answers when it wants them; nobody else waits for it."""
    slow = Line(director)
    slow.socket.setblocking(False)
    sent = 0
    request = b'{"version":1,"command":"status"}\n'
    try:
        while sent < 20000:
            slow.socket.send(request)
            sent += 1
            if sent % 500 == 0:
                director.client.status()
    except BlockingIOError:
        pass
    before = time.monotonic()
    for _ in range(20):
        director.client.status()
    assert time.monotonic() - before < 5
    slow.socket.settimeout(10)
    assert json.loads(slow.file.readline())["ok"] is True
    slow.close()
    director.client.status()


def test_many_clients_at_once(director: Director) -> None:
    idle = []
    for _ in range(40):  # more than there are places
        idle.append(Line(director))
        director.client.status()
    wrong: list[Exception] = []

    def ask() -> None:
        try:
            for _ in range(20):
                director.client.status()
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    for each in idle:
        each.close()


# ---- files ----


def test_socket_and_counter_file(director: Director) -> None:
    mode = Path(director.client.socket_path).stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o660
    path = Path(director.client.status().stats_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert counters.read(path).pid == director.pid
    director.client.stop()
    assert director.wait() == 0
    with pytest.raises(ForwarderError, match="is the forwarder running"):
        counters.read(path)
    with pytest.raises(ForwarderError) as gone:
        director.client.status()
    assert gone.value.code == "unreachable"


def test_counter_files_that_are_none(tmp_path: Path) -> None:
    for data in (b"", b"short", bytes(4096), b"GLBSTAT\n" + bytes(4096)):
        (tmp_path / "stats").write_bytes(data)
        with pytest.raises(ForwarderError, match="stats: "):
            counters.read(tmp_path / "stats")


def test_client_gives_up_in_time(tmp_path: Path) -> None:
    """A socket that accepts and never answers."""
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(tmp_path / "deaf.sock"))
        deaf.listen()
        before = time.monotonic()
        with pytest.raises(ForwarderError) as error:
            Forwarder(tmp_path / "deaf.sock", timeout_s=0.3).status()
        assert error.value.code == "timeout"
        assert time.monotonic() - before < 5


def test_slots_keep_their_ids(director: Director, tmp_path: Path) -> None:
    """Services that come and go get slots and lose them only for others; ids are never mixed up."""
    for services in (4, 1, 6, 2):
        director.client.load(snapshot(tmp_path / "n.glb", services=services))
        seen = counters.read(director.run_dir / "stats")
        assert set(range(1, services + 1)) <= set(seen.services)
        assert set(seen.backends) == {101, 102, 103}


def test_more_services_than_slots(make: Callable[..., Director], name: Callable[[str], str]) -> None:
    director = make(name("c"), "net_null0,no-rx=1", stats={"service_slots": 2, "backend_slots": 2})
    snapshot(director.snapshot, services=3)
    director.start()
    seen = counters.read(director.run_dir / "stats")
    assert (len(seen.services), len(seen.backends)) == (2, 2)
    assert "raise stats.service_slots" in director.log.read_text()
    assert director.client.status().generation == 1
