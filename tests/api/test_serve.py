"""`glb serve`: where it may listen, how it ends, and that the forwarder goes on without it."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from glbpy.errors import InvalidInputError
from glbpy.forwarder import Forwarder, wait_gone
from glbpy.listen import inherit_socket, is_local, open_socket, parse_listen, url_of
from glbpy.tokens import new_token
from tests.api.harness import DOCUMENT
from tests.api.live import CONFIG, GLB, Serve

# ---- sockets ----


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:8420", ("127.0.0.1", 8420)),
        ("localhost:0", ("127.0.0.1", 0)),
        ("[::1]:80", ("::1", 80)),
        ("0.0.0.0:65535", ("0.0.0.0", 65535)),
    ],
)
def test_listen_is_read(text: str, expected: tuple[str, int]) -> None:
    assert parse_listen(text) == expected


@pytest.mark.parametrize(
    "text", ["", "8420", ":8420", "::1:80", "host:80", "127.0.0.1:x", "127.0.0.1:65536", "1.2.3:4"]
)
def test_a_bad_listen_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="--listen"):
        parse_listen(text)


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("0.0.0.0", False), ("::", False)],
)
def test_local_is_told(host: str, local: bool) -> None:
    with open_socket(host, 0) as found:
        assert is_local(found) is local
        assert url_of(found).endswith(f":{found.getsockname()[1]}")


def test_mapped_addresses_are_what_they_map() -> None:
    with socket.socket(socket.AF_INET6) as found:
        found.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        found.bind(("::ffff:127.0.0.1", 0))
        assert is_local(found)


def test_only_sockets_are_inherited(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file, pytest.raises(InvalidInputError, match="--listen-fd"):
        inherit_socket(os.dup(file.fileno()))
    with socket.socket(type=socket.SOCK_DGRAM) as datagrams, pytest.raises(InvalidInputError, match="stream"):
        inherit_socket(datagrams.fileno())
    with pytest.raises(InvalidInputError, match="--listen-fd"):
        inherit_socket(9999)


# ---- the process ----


def serve(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    config = folder / "director.toml"
    config.write_text(CONFIG.format(name="apitest", folder=folder))
    command = [GLB, "serve", "--config", config, "--state-dir", folder, "--no-forwarder", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=30)


def test_others_need_a_token(tmp_path: Path) -> None:
    refused = serve(tmp_path, "--listen", "0.0.0.0:0")
    assert refused.returncode == 2
    assert "--token-file" in refused.stderr
    assert not (tmp_path / "store.db").exists()


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    missing = serve(tmp_path, "--config", str(tmp_path / "none.toml"), "--listen", "127.0.0.1:0")
    assert missing.returncode == 2
    assert "none.toml" in missing.stderr
    assert "Traceback" not in missing.stderr
    with open_socket("127.0.0.1", 0) as taken:
        busy = serve(tmp_path, "--listen", f"127.0.0.1:{taken.getsockname()[1]}")
    assert busy.returncode == 1
    assert "cannot listen" in busy.stderr


def test_two_directors_may_not_share_a_name(tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text(CONFIG.format(name="apitest", folder=tmp_path / "other"))
    shared = serve(tmp_path, "--director", str(other), "--listen", "127.0.0.1:0")
    assert shared.returncode == 2
    assert "other.toml: apitest is that of" in shared.stderr


def test_further_directors_are_adopted_and_never_started(tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text(CONFIG.format(name="second", folder=tmp_path / "other"))
    server = Serve(tmp_path, "--no-forwarder", "--director", str(other))
    try:
        with httpx.Client(base_url=server.url, trust_env=False) as client:
            assert [each["name"] for each in client.get("/v1/directors").json()["items"]] == [
                "apitest",
                "second",
            ]
    finally:
        assert server.stop() == 0
    assert not (tmp_path / "other").exists()


def test_tokens_are_asked_for(tmp_path: Path) -> None:
    token, line = new_token("alice")
    (tmp_path / "tokens").write_text(line + "\n")
    server = Serve(tmp_path, "--no-forwarder", "--token-file", str(tmp_path / "tokens"))
    try:
        assert httpx.get(f"{server.url}/v1/pools", trust_env=False).status_code == 401
        headers = {"Authorization": f"Bearer {token}"}
        assert httpx.get(f"{server.url}/v1/pools", headers=headers, trust_env=False).status_code == 200
    finally:
        assert server.stop() == 0
    assert token not in server.log.read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_cleanly(tmp_path: Path, number: int) -> None:
    server = Serve(tmp_path, "--no-forwarder")
    with httpx.Client(base_url=server.url, trust_env=False) as client:
        assert client.get("/v1/pools").is_success  # and the connection stays open
        assert server.stop(number) == 0
    lines = server.log.read_text().splitlines()
    assert all(line.startswith("time=") for line in lines), lines
    assert lines[-1].endswith("msg=stopped")


@pytest.fixture
def with_forwarder(tmp_path: Path) -> Iterator[Serve]:
    found = Serve(tmp_path)
    yield found
    if found.process.poll() is None:
        found.stop()
    control = Forwarder(tmp_path / "run/control.sock")
    pid = control.status().pid
    control.stop()
    assert wait_gone(pid)


def test_the_forwarder_goes_on_and_is_adopted(with_forwarder: Serve) -> None:
    server = with_forwarder
    server.wait("/readyz")
    with httpx.Client(base_url=server.url, trust_env=False, timeout=20) as client:
        assert client.post("/v1/apply", json=DOCUMENT).json()["revision"] == 1
        server.wait("/readyz")
        metrics = client.get("/metrics").text
    assert 'glb_service_packets_total{director="apitest",service="www"} 0.0' in metrics
    control = Forwarder(server.folder / "run/control.sock")
    before = control.status()
    assert server.stop() == 0
    assert control.status().pid == before.pid
    server.start()
    server.wait("/readyz")
    after = control.status()
    assert (after.pid, after.generation, after.digest) == (before.pid, before.generation, before.digest)
    server.stop(signal.SIGKILL)
    assert control.status().pid == before.pid
