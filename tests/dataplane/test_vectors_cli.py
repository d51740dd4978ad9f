"""`glb trace` and `glb replay` against the oracle's frames and GLB's reference packets.

Trace decides in this process, replay in the real forwarder; both must say the same and send the same bytes.
The oracle's frames go through the forwarder in test_replay.py. Departures from GLB are those of
oracle.glb_results.DEPARTURES, each with the reason that we give.
"""

import json
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from oracle import glb_results
from oracle.decide import Decision, decide
from oracle.model import Config, Director, config_from_json, director_from_glb, from_glb
from typer.testing import CliRunner

from glbpy import pcap
from glbpy.cli.main import build

GLB = Path(sys.executable).with_name("glb")
VECTORS = json.loads((Path(__file__).resolve().parents[1] / "vectors/frames.json").read_text())

Json = dict[str, Any]


# ---- GLB's files


def glb_files(folder: Path, config: Config, director: Director) -> list[str]:
    """Write an oracle configuration as GLB's two files; return the options that name them."""
    words = {6: "tcp", 17: "udp"}
    tables = [
        {
            "name": service.name,
            "hash_key": service.hash_key.hex(),
            "seed": service.seed.hex(),
            "binds": [
                {
                    "ip": str(bind.prefix),
                    "proto": words[bind.protocol],
                    "port_start": bind.first,
                    "port_end": bind.last,
                }
                for bind in service.binds
            ],
            "backends": [
                {"ip": backend.address, "state": backend.state, "healthy": not backend.unhealthy}
                for backend in service.backends
            ],
        }
        for service in config.services
    ]
    first = config.services[0]
    settings: Json = {
        "outbound_src_ip": director.source_v4,
        "outbound_gateway_mac": director.gateway_mac,
        "local_mac": director.local_mac,
        "hash_fields": dict.fromkeys(first.hash_fields, True),
        "forward_icmp_ping_responses": not director.punt_echo,
    }
    if first.alt_hash_fields:
        settings["alt_hash_fields"] = dict.fromkeys(first.alt_hash_fields, True)
    return options(folder, {"tables": tables}, settings, director.checksum, first.policy)


def options(folder: Path, table: Json, director: Json, checksum: str, policy: str) -> list[str]:
    (folder / "table.json").write_text(json.dumps(table))
    (folder / "director.json").write_text(json.dumps(director))
    files = ["--table", str(folder / "table.json"), "--director", str(folder / "director.json")]
    return [*files, "--outer-udp-checksum", checksum, "--policy", policy]


# ---- the commands


def parsed(said: str) -> Json:
    found: Json = json.loads(said)
    return {"further": []} | found  # said only where a packet is fragmented


def trace(files: Sequence[str], frame: bytes) -> Json:
    result = CliRunner().invoke(build(), ["trace", *files, "--frame", frame.hex(), "--json"])
    assert result.exit_code == 0, result.output
    return parsed(result.stdout)


def replay(folder: Path, files: Sequence[str], frames: Sequence[bytes]) -> tuple[Json, list[bytes]]:
    """Run the installed program; return what it printed and the frames that it wrote."""
    source, target = folder / "in.pcap", folder / "out.pcap"
    pcap.write(source, frames, range(len(frames)))
    command = [str(GLB), "replay", *files, "--in", str(source), "--out", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), [bytes(frame) for frame in pcap.read(target).frames()]


def assert_replayed(result: Json, sent: list[bytes], expected: Sequence[Decision]) -> None:
    outputs = [decision.output for decision in expected if decision.output is not None]
    assert [frame.hex() for frame in sent] == outputs
    reasons = {
        word: Counter(decision.reason for decision in expected if decision.verdict == verdict)
        for word, verdict in (("punted", "punt"), ("dropped", "drop"))
    }
    assert result == {
        "in": len(expected),
        "forwarded": len(outputs),
        "answered": 0,
        "punted": reasons["punted"].total(),
        "dropped": reasons["dropped"].total(),
        "out": len(outputs),
        "punted_by_reason": reasons["punted"],
        "dropped_by_reason": reasons["dropped"],
    }


# ---- the repository's own vectors, as far as GLB's files can express them

CONFIGS = {item["name"]: config_from_json(item["services"]) for item in VECTORS["configs"] if item["glb"]}
DIRECTORS = {
    item["name"]: Director(**{key: value for key, value in item.items() if key != "name"})
    for item in VECTORS["directors"]
}
GROUPS: dict[tuple[str, str], list[Json]] = defaultdict(list)
for _case in VECTORS["cases"]:
    _config, _director, _name = _case["name"].split("/", 2)
    if _config in CONFIGS:
        GROUPS[_config, _director].append(_case)


def expected_of(case: Json) -> Decision:
    return Decision(**{key: value for key, value in case.items() if key not in ("name", "frame")})


@pytest.mark.parametrize(("config", "director"), GROUPS)
def test_trace_says_what_the_oracle_says(config: str, director: str, tmp_path: Path) -> None:
    """Every third case: test_packet_path.py has them all, through the same C."""
    files = glb_files(tmp_path, CONFIGS[config], DIRECTORS[director])
    for case in GROUPS[config, director][::3]:
        assert trace(files, bytes.fromhex(case["frame"])) == asdict(expected_of(case)), case["name"]


def test_the_installed_program_traces(tmp_path: Path) -> None:
    case = GROUPS["glb", "computed"][0]
    files = glb_files(tmp_path, CONFIGS["glb"], DIRECTORS["computed"])
    command = [str(GLB), "trace", *files, "--frame", case["frame"], "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert parsed(done.stdout) == asdict(expected_of(case))


# ---- GLB's reference packets

REFERENCE: dict[tuple[str, str], list[Json]] = defaultdict(list)
for _case in glb_results.packet_cases():
    REFERENCE[_case["config"], _case["director"]].append(_case)


@cache
def reference(config: str, director: str, policy: str) -> tuple[Config, Json, Json]:
    packets = glb_results.load("packets.json")
    table, settings = packets["configs"][config], packets["directors"][director]
    return from_glb(table, settings, policy), table, settings


def decided(cases: Sequence[Json], policy: str, checksum: str) -> list[Decision]:
    """Return what the oracle makes of cases of packets.json."""
    found = []
    for case in cases:
        config, _, settings = reference(case["config"], case["director"], policy)
        director = director_from_glb(settings, checksum)
        found.append(decide(config, director, bytes.fromhex(case["frame"])))
    return found


def assert_glbs(case: Json, found: Json) -> None:
    """Hold a traced case against GLB's own result, or against the departure that is written down."""
    if case["name"] in glb_results.DEPARTURES:
        assert found["reason"] == glb_results.DEPARTURES[case["name"]][0]
    elif case["expected"] in ("pass", "drop"):
        assert found["verdict"] == {"pass": "punt", "drop": "drop"}[case["expected"]]
        assert found["output"] is None
    else:
        explain = case["explain"]
        assert found["output"] == glb_results.glb_output(case["expected"])
        assert (found["verdict"], found["reason"]) == ("forward", "forwarded")
        assert (found["hash"], found["row"]) == (explain["hash"], explain["row"])
        assert found["chain"] == explain["hops"]


@pytest.mark.parametrize(("config", "director"), REFERENCE)
def test_trace_reproduces_glb(config: str, director: str, tmp_path: Path) -> None:
    _, table, settings = reference(config, director, "glb")
    files = options(tmp_path, table, settings, "computed", "glb")
    cases = REFERENCE[config, director]
    for case, oracle in zip(cases, decided(cases, "glb", "computed"), strict=True):
        found = trace(files, bytes.fromhex(case["frame"]))
        assert_glbs(case, found)
        assert found == asdict(oracle), case["name"]


@pytest.mark.parametrize(("config", "director"), REFERENCE)
def test_replay_reproduces_glb(config: str, director: str, tmp_path: Path) -> None:
    """The oracle's results are GLB's own but for the departures: test_oracle.py shows it, case by case."""
    _, table, settings = reference(config, director, "glb")
    cases = REFERENCE[config, director]
    expected = decided(cases, "glb", "computed")
    files = options(tmp_path, table, settings, "computed", "glb")
    result, sent = replay(tmp_path, files, [bytes.fromhex(case["frame"]) for case in cases])
    assert_replayed(result, sent, expected)
    glbs = [
        glb_results.glb_output(case["expected"])
        for case in cases
        if case["name"] not in glb_results.DEPARTURES and case["expected"] not in ("pass", "drop")
    ]
    assert set(glbs) <= {frame.hex() for frame in sent}


@pytest.mark.parametrize("policy", ["glb", "ordered"])
def test_replay_with_zero_checksums(policy: str, tmp_path: Path) -> None:
    _, table, settings = reference("v_main", "default", policy)
    cases = REFERENCE["v_main", "default"]
    files = options(tmp_path, table, settings, "zero", policy)
    result, sent = replay(tmp_path, files, [bytes.fromhex(case["frame"]) for case in cases])
    assert_replayed(result, sent, decided(cases, policy, "zero"))
