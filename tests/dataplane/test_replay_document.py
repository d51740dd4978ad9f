"""`glb replay -f`: a document as `glb apply` takes it, and a director's TOML, through the real forwarder."""

import json
import subprocess
import sys
from collections import Counter
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from oracle.build import IPV4, IPV6, ethernet, ipv4, ipv6, tcp, udp

from glbpy import pcap

GLB = Path(sys.executable).with_name("glb")
SERVICE = {
    "name": "www", "vips": ["203.0.113.10", "2001:db8:f::10"], "protocol": "tcp", "ports": [80],
    "pool": "web",
    "hash_fields": ["src_addr", "src_port"], "table_size": 1024,
}  # fmt: skip
BACKENDS = [{"name": f"web{n}", "address": f"10.0.0.1{n}"} for n in (1, 2, 3)]


class Replay:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.document: dict[str, Any] = {
            "pools": [{"name": "web", "backends": BACKENDS}], "services": [SERVICE]
        }  # fmt: skip

    def run(self, frames: list[bytes], *words: str, **fields: Any) -> tuple[dict[str, Any], list[bytes]]:
        """Replay with ``fields`` of the service; the counts, and the frames sent."""
        self.document["services"] = [SERVICE | fields]
        (self.folder / "glb.json").write_text(json.dumps(self.document))
        pcap.write(self.folder / "in.pcap", frames, range(len(frames)))
        done = subprocess.run(
            [GLB, "replay", "-f", "glb.json", "--in", "in.pcap", "--out", "out.pcap", *words],
            cwd=self.folder, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout), list(pcap.read(self.folder / "out.pcap").frames())


@pytest.fixture
def replay(tmp_path: Path) -> Replay:
    return Replay(tmp_path)


def syn(sport: int, port: int = 80) -> bytes:
    return ethernet(ipv4("192.0.2.77", "203.0.113.10", 6, tcp(sport, port)), IPV4)


def syn6(sport: int, port: int = 80) -> bytes:
    return ethernet(ipv6("2001:db8:c::7", "2001:db8:f::10", 6, tcp(sport, port)), IPV6)


def backends(frames: list[bytes]) -> Counter[str]:
    return Counter(str(ip_address(frame[30:34])) for frame in frames)


def test_an_example_director_and_one_from_a_file(replay: Replay) -> None:
    frames = [syn(1), syn6(2)]
    counts, sent = replay.run(frames)
    assert (counts["in"], counts["forwarded"], counts["out"]) == (2, 2, 2)
    assert [frame[54:] for frame in sent] == [frame[14:] for frame in frames]
    assert {frame[:14].hex() for frame in sent} == {"0200000000010200000000020800"}
    assert {str(ip_address(frame[26:30])) for frame in sent} == {"10.0.0.2"}
    (replay.folder / "d.toml").write_text('[forward]\nouter_source_v4 = "198.51.100.1"\n')
    _, sent = replay.run(frames, "--director", "d.toml")
    assert {str(ip_address(frame[26:30])) for frame in sent} == {"198.51.100.1"}


@pytest.mark.parametrize("algorithm", ["rendezvous", "maglev"])
def test_weights_and_health(replay: Replay, algorithm: str) -> None:
    fields = {"algorithm": algorithm, "table_size": 1021 if algorithm == "maglev" else 1024}
    replay.document["pools"] = [{"name": "web", "backends": [
        backend | {"weight": weight} for backend, weight in zip(BACKENDS, (0, 1, 3), strict=True)
    ]}]  # fmt: skip
    frames = [syn(1024 + n) for n in range(2000)]
    _, sent = replay.run(frames, **fields)
    shares = backends(sent)
    assert set(shares) == {"10.0.0.12", "10.0.0.13"}
    assert 2 < shares["10.0.0.13"] / shares["10.0.0.12"] < 4
    _, sent = replay.run(frames, "--unhealthy", "web/web3", **fields)
    assert backends(sent)["10.0.0.12"] == len(frames)


@pytest.mark.parametrize("run_model", ["run-to-completion", "pipeline"])
def test_unmatched_packets(replay: Replay, run_model: str) -> None:
    """However many: a replay knows no time, so none is over the rate."""
    frames = [syn(1024 + n, 81) for n in range(1500)]
    frames.append(ethernet(ipv4("192.0.2.77", "203.0.113.10", 17, udp(4000, 53, b"?")), IPV4))
    model = ("--run-model", run_model)
    counts, sent = replay.run(frames, *model, unmatched="reject")
    assert (counts["answered"], counts["dropped"], counts["punted"]) == (1501, 0, 0)
    assert [frame[23] for frame in sent] == [6] * 1500 + [1]
    counts, sent = replay.run(frames, *model, unmatched="drop")
    assert (counts["dropped_by_reason"], sent) == ({"unmatched_dropped": 1501}, [])
    counts, sent = replay.run(frames, *model)
    assert (counts["punted_by_reason"], sent) == ({"no_service": 1501}, [])


def test_wrong_documents(replay: Replay) -> None:
    (replay.folder / "glb.json").write_text('{"services": [{"name": "www"}]}')
    pcap.write(replay.folder / "in.pcap", [], [])
    done = subprocess.run(
        [GLB, "replay", "-f", "glb.json", "--in", "in.pcap", "--out", "out.pcap"],
        cwd=replay.folder, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert "/services/0/vips" in done.stderr
