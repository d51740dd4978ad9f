"""`glb trace`: the JSON that programs read, the explanation that people read, and bad input."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from oracle import glb_results
from typer.testing import CliRunner, Result

from glbpy import _native as native
from glbpy import trace
from glbpy.cli.main import build
from glbpy.errors import GlbError, InvalidInputError

TABLE: dict[str, Any] = {
    "tables": [
        {
            "name": "web",
            "hash_key": "12345678901234561234567890123456",
            "seed": "34567890123456783456789012345678",
            "binds": [
                {"ip": "203.0.113.10", "proto": "tcp", "port": 80},
                {"ip": "2001:db8::10", "proto": "tcp", "port": 80},
            ],
            "backends": [
                {"ip": f"10.0.0.1{i}", "state": "active", "healthy": True} for i in range(1, 4)
            ],
        }
    ]
}
DIRECTOR = {
    "outbound_src_ip": "10.0.0.2",
    "outbound_gateway_mac": "02:00:00:00:00:fe",
    "local_mac": "02:00:00:00:00:02",
}
SYN = (
    "020000000002 0200000000aa 0800 4500002800014000 40063cbd c0000207 cb00710a"
    "9c40005000000001000000005002faf01a4e0000"
)


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    (tmp_path / "table.json").write_text(json.dumps(TABLE))
    (tmp_path / "director.json").write_text(json.dumps(DIRECTOR))
    return ["--table", str(tmp_path / "table.json"), "--director", str(tmp_path / "director.json")]


def run(files: list[str], *arguments: str) -> Result:
    return CliRunner().invoke(build(), ["trace", *files, *arguments])


def run_json(files: list[str], *arguments: str) -> dict[str, Any]:
    result = run(files, "--json", *arguments)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_json_of_a_forwarded_frame(files: list[str]) -> None:
    found = run_json(files, "--frame", SYN)
    assert list(found) == ["verdict", "reason", "service", "hash", "row", "chain", "output"]
    assert (found["verdict"], found["reason"], found["service"]) == ("forward", "forwarded", "web")
    assert found["row"] == int(found["hash"], 16) & 0xFFFF
    assert len(found["hash"]) == 16
    assert len(found["chain"]) == 2
    output = bytes.fromhex(found["output"])
    assert output[54:] == trace.parse_frame(SYN)[14:]
    assert output[40:42] == bytes(2)  # no checksum unless asked for


def test_json_of_a_frame_that_is_not_ours(files: list[str]) -> None:
    assert run_json(files, "--frame", SYN.replace("cb00710a", "cb00710b")) == {
        "verdict": "punt", "reason": "not_vip", "service": None, "hash": None, "row": None, "chain": [],
        "output": None,
    }  # fmt: skip


def test_empty_frame_is_malformed(files: list[str]) -> None:
    assert run_json(files, "--frame", "")["reason"] == "eth_truncated"


def test_checksum_and_policy_are_taken(files: list[str]) -> None:
    computed = run_json(files, "--frame", SYN, "--outer-udp-checksum", "computed", "--policy", "ordered")
    assert bytes.fromhex(computed["output"])[40:42] != bytes(2)


def test_explanation_names_every_step(files: list[str]) -> None:
    found = run_json(files, "--frame", SYN)
    text = run(files, "--frame", SYN).stdout
    assert "TCP 192.0.2.7 port 40000 → 203.0.113.10 port 80; IPv4, 40 bytes" in text
    assert "service  web, id 1" in text
    assert f"hash     {found['hash']} of src_addr" in text
    assert f"row      {found['row']} of 65536" in text
    hops = [line.split()[2] for line in text.splitlines() if line.startswith("hop")]
    assert [hop.rstrip(",") for hop in hops] == found["chain"]
    assert "verdict  forward (forwarded): sent to a backend" in text
    assert f"10.0.0.2 port {int(found['output'][68:72], 16)} → {found['chain'][0]} port 19523" in text


EXPLAINED = {
    "ordered/zero/v6_echo": "echo request 2001:db8:",
    "ordered/zero/v4_too_big": "too-big to 203.0.113.10, about TCP ",
    "ordered/zero/v4_too_big_quotes_icmp": "too-big that quotes no ports to 203.0.113.10;",
    "ordered/zero/v4_middle_fragment": "later fragment of TCP ",
    "ordered/zero/v4_gre": "protocol 47 ",
    "ordered/zero/v4_echo_reply": "ICMP, neither echo request nor error ",
    "ordered/zero/vlan_double": ", 2 VLAN tags",
    "alt_ordered/zero/v4_syn": "packet   TCP ",
}


@pytest.mark.parametrize("name", EXPLAINED)
def test_every_kind_of_packet_is_explained(files: list[str], name: str) -> None:
    cases = json.loads((Path(__file__).resolve().parents[1] / "vectors/frames.json").read_text())["cases"]
    [case] = [case for case in cases if case["name"] == name]
    text = run(files, "--frame", case["frame"])
    assert text.exit_code == 0
    assert EXPLAINED[name] in text.stdout
    assert "verdict  " in text.stdout


@pytest.mark.parametrize("frame", ["0", "0x00", "zz", "00 0"])
def test_a_frame_that_is_not_hex_is_refused(files: list[str], frame: str) -> None:
    result = run(files, "--frame", frame)
    assert isinstance(result.exception, InvalidInputError)
    assert result.exception.exit_code == 2
    assert "--frame" in str(result.exception)


def test_a_wrong_file_is_refused_by_field(files: list[str], tmp_path: Path) -> None:
    (tmp_path / "director.json").write_text(json.dumps(DIRECTOR | {"local_mac": "nonsense"}))
    result = run(files, "--frame", SYN)
    assert isinstance(result.exception, GlbError)
    assert result.exception.exit_code == 2
    assert "local_mac" in str(result.exception)


def test_a_backend_that_needs_an_outer_ipv6_header_is_refused(files: list[str], tmp_path: Path) -> None:
    [table] = TABLE["tables"]
    backends = [*table["backends"], {"ip": "2001:db8::1", "state": "active", "healthy": True}]
    (tmp_path / "table.json").write_text(json.dumps({"tables": [table | {"backends": backends}]}))
    result = run(files, "--frame", SYN)
    assert isinstance(result.exception, InvalidInputError)
    assert "IPv6" in str(result.exception)


# ---- GLB's reference packets, from its own files ----


@pytest.fixture(scope="module")
def reference_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reference")
    reference = glb_results.load("packets.json")
    for kind in ("configs", "directors"):
        for name, value in reference[kind].items():
            (folder / f"{kind}.{name}.json").write_text(json.dumps(value))
    return folder


@cache
def reference_path(folder: Path, config: str, director: str) -> native.PacketPath:
    return trace.open_path(
        folder / f"configs.{config}.json", folder / f"directors.{director}.json", "glb", "computed"
    )


@pytest.mark.parametrize("case", glb_results.packet_cases(), ids=lambda case: case["name"])
def test_trace_reproduces_glbs_packets(reference_files: Path, case: dict[str, Any]) -> None:
    path = reference_path(reference_files, case["config"], case["director"])
    found = trace.as_json(path.decide(bytes.fromhex(case["frame"])))
    if case["name"] in glb_results.DEPARTURES:
        assert found["reason"] == glb_results.DEPARTURES[case["name"]][0]
    elif case["expected"] in ("pass", "drop"):
        assert found["verdict"] == {"pass": "punt", "drop": "drop"}[case["expected"]]
        assert found["output"] is None
    else:
        explain = case["explain"]
        assert found["output"] == case["expected"][: 2 * (14 + int(case["expected"][32:36], 16))]
        assert (found["hash"], found["row"], found["chain"]) == (
            explain["hash"], explain["row"], explain["hops"],
        )  # fmt: skip
