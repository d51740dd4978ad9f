"""The configuration's schema, the examples in docs/examples, and the systemd units."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dataplane.rig import Director, Segment, run_once, snapshot

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs/examples"
SCHEMA = json.loads((ROOT / "docs/director.schema.json").read_text())
MINIMAL = ("director.name=d1", "forward.outer_source_v4=10.0.0.2", "forward.gateway_mac=02:00:00:00:00:01")


def check(*sets: str) -> subprocess.CompletedProcess[str]:
    return run_once("--check", *(word for one in (*MINIMAL, *sets) for word in ("--set", one)))


# ---- the schema ----


def test_schema_is_that_of_the_program() -> None:
    printed = run_once("--schema")
    assert printed.returncode == 0
    assert json.loads(printed.stdout) == SCHEMA, "run: glb-forwarder --schema > docs/director.schema.json"


def keys() -> Iterator[tuple[str, dict[str, Any]]]:
    for section, table in SCHEMA["properties"].items():
        if table["type"] == "object":
            yield from ((f"{section}.{key}", value) for key, value in table["properties"].items())


def test_schema_has_all_sections_and_what_is_required() -> None:
    assert {"director", "forward", "eal", "stats", "port"} <= set(SCHEMA["properties"])
    assert SCHEMA["required"] == ["director", "forward"]
    required = {
        f"{section}.{key}"
        for section, table in SCHEMA["properties"].items()
        for key in table.get("required", [])
    }
    for key in required:
        sets = [word for one in MINIMAL if not one.startswith(key + "=") for word in ("--set", one)]
        assert f"{key}: missing" in run_once("--check", *sets).stderr
    assert SCHEMA["properties"]["port"]["items"]["required"] == ["devargs"]
    assert not SCHEMA["additionalProperties"]


@pytest.mark.parametrize(("key", "value"), list(keys()), ids=[key for key, _ in keys()])
def test_schema_draws_the_limits_that_the_program_draws(key: str, value: dict[str, Any]) -> None:
    """Values just within and just beyond what the schema allows, given to the program."""
    if "minimum" in value:
        good = [value["minimum"], value["maximum"]]
        bad = [value["minimum"] - 1, value["maximum"] + 1, '"x"', 1.5]
    elif "enum" in value:
        good, bad = [f'"{word}"' for word in value["enum"]], ['"nonsense"', 1]
    else:
        good, bad = {
            "boolean": (["true", "false"], [1, '"true"']),
            "array": ([], ['"x"', 1]),
            "string": ([], [1, '""', "true"]),
        }[value["type"]]
    for each in bad:
        refused = check(f"{key}={each}")
        assert (refused.returncode, key in refused.stderr) == (2, True), (each, refused.stderr)
    for each in good:
        assert f"{key}: must be" not in check(f"{key}={each}").stderr


# ---- examples ----


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.stem)
def test_examples_are_valid(path: Path) -> None:
    done = run_once("--config", str(path), "--check")
    assert (done.returncode, done.stderr) == (0, "")
    assert path.read_text().startswith("#:schema ../director.schema.json\n")


def test_examples_are_all_there() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.toml")} >= {"af_packet", "af_xdp", "intel", "mellanox"}


# ---- systemd units ----

UNITS = sorted([*EXAMPLES.glob("*.service"), *EXAMPLES.glob("*.timer")])


def test_units_are_all_there() -> None:
    assert {unit.name for unit in UNITS} == {
        "glb-forwarder@.service", "glb-redirect@.service", "glb-serve.service",
        "glb-redirect-metrics.service", "glb-redirect-metrics.timer", "glb-redirect-report.service",
        "glb-redirect-allow@.service", "glb-redirect-nfqueue.service",
    }  # fmt: skip


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_units_are_valid(unit: Path, tmp_path: Path) -> None:
    """As systemd judges them, with this checkout's programs in place of those of /usr/local/bin."""
    copy = tmp_path / unit.name.replace("@.", "@d1.")
    bin_folder = str(Path(sys.executable).parent)
    for each in UNITS:
        text = each.read_text().replace("/usr/local/bin", bin_folder)
        (tmp_path / each.name.replace("@.", "@d1.")).write_text(text)
        (tmp_path / each.name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(copy)],
        capture_output=True, text=True, check=False, timeout=60,
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
    )  # fmt: skip
    about = [line for line in done.stderr.splitlines() if unit.stem.rstrip("@") in line]
    assert about == []
    assert done.returncode == 0, done.stderr


def words_of(unit: Path, key: str) -> list[str]:
    found = re.search(rf"^{key}=(.*)$", unit.read_text(), re.MULTILINE)
    assert found, f"{unit.name} has no {key}"
    return found.group(1).split()


@pytest.mark.parametrize("driver", ["net_af_packet0,iface=director0", "net_af_xdp0,iface=director0"])
def test_capabilities_of_the_unit_are_enough(
    make: Callable[..., Director], name: Callable[[str], str], segment: Segment, driver: str
) -> None:
    """With those that glb-forwarder@.service leaves it, and no more; and it says when it is ready."""
    kept = words_of(EXAMPLES / "glb-forwarder@.service", "CapabilityBoundingSet")
    bounding = ",".join(["-all", *("+" + each.removeprefix("CAP_").lower() for each in kept)])
    prefix = (*segment.prefix, "setpriv", "--bounding-set", bounding, "--no-new-privs")
    director = make(name("u"), driver, prefix=prefix)
    snapshot(director.snapshot)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(director.folder / "notify"))
        manager.settimeout(10)
        os.environ["NOTIFY_SOCKET"] = str(director.folder / "notify")
        try:
            director.start()
        finally:
            del os.environ["NOTIFY_SOCKET"]
        assert manager.recv(1000).decode().splitlines()[:2] == ["READY=1", f"MAINPID={director.pid}"]
        assert director.client.status().generation == 1
        assert director.terminate() == 0
        assert manager.recv(1000) == b"STOPPING=1"

