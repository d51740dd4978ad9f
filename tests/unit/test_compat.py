"""GLB's files: read, refused by path, written byte for byte, compiled."""

import copy
import fcntl
import hashlib
import json
import os
import struct
from array import array
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from oracle import glb_results
from typer.testing import CliRunner

from glbpy import _native as native
from glbpy import compat
from glbpy.cli.main import build
from glbpy.errors import CompatError, InvalidInputError

VECTORS = Path(__file__).resolve().parents[1] / "vectors/glb_files.json"

TABLE: dict[str, Any] = {
    "name": "web",
    "hash_key": "00112233445566778899AABBCCDDEEFF",
    "seed": "ffeeddccbbaa99887766554433221100",
    "binds": [
        {"ip": "203.0.113.10", "proto": "tcp", "port": 80},
        {"ip": "2001:db8::9/44", "proto": "udp", "port_start": 1000, "port_end": 1010},
    ],
    "backends": [
        {"ip": "10.0.0.1", "state": "active", "healthy": True},
        {"ip": "10.0.0.2", "state": "active"},
        {"ip": "10.0.0.3", "state": "inactive", "healthy": True},
    ],
}
DIRECTOR: dict[str, Any] = {
    "outbound_src_ip": "172.16.0.9",
    "outbound_gateway_mac": "02:00:00:00:00:fe",
    "local_mac": "02:00:00:00:00:01",
}
SETTINGS = compat.parse_director(DIRECTOR)


def changed(path: list[str | int], value: Any) -> dict[str, Any]:
    """Return a document of TABLE twice, with one value of the second replaced, or removed (...)."""
    document = {"tables": [copy.deepcopy(TABLE) for _ in range(2)]}
    document["tables"][0]["binds"] = []
    place: Any = document["tables"][1]
    for step in path[:-1]:
        place = place[step]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return document


# ---- the binary file ----


@pytest.mark.parametrize("case", [pytest.param(c, id=c["name"]) for c in json.loads(VECTORS.read_text())])
def test_files_equal_the_oracle(case: dict[str, Any]) -> None:
    data = compat.build_config(compat.parse_table(case["config"]))
    assert len(data) == case["file_bytes"]
    assert hashlib.sha256(data).hexdigest() == case["sha256_file"]


@pytest.mark.parametrize("name", glb_results.table_files())
def test_files_equal_glb(name: str, tmp_path: Path) -> None:
    """Every reference configuration, through the command line."""
    case = glb_results.load(f"tables/{name}")
    source, target = tmp_path / "table.json", tmp_path / "table.bin"
    source.write_text(json.dumps(case["config"]))
    result = CliRunner().invoke(build(), ["compat", "build-config", str(source), str(target)])
    assert result.exit_code == 0, result.output
    data = target.read_bytes()
    assert hashlib.sha256(data).hexdigest() == case["sha256_file"]
    for t, table in enumerate(case["tables"]):
        end = len(data) - (len(case["tables"]) - t - 1) * 537624
        assert hashlib.sha256(data[end - 8 * 65536 : end]).hexdigest() == table["sha256_entries"]


@pytest.mark.parametrize("name", ["duplicate_address.json", "one_backend.json", "two_then_one.json"])
def test_quirks_of_glb_are_refused(name: str) -> None:
    """Configurations whose files rest on memory that GLB's tool never wrote, or on order alone."""
    with pytest.raises(CompatError, match=r"^tables\[\d\]\.backends"):
        compat.build_config(compat.parse_table(glb_results.load(f"tables_quirks/{name}")["config"]))


def test_layout_of_the_file() -> None:
    data = compat.build_config(compat.parse_table({"tables": [TABLE]}))
    assert data[:24] == b"GLBD" + struct.pack("<5I", 2, 1, 65536, 256, 256)
    assert len(data) == 24 + 537624
    assert data[24:28] == struct.pack("<I", 3)
    assert data[28:52] == struct.pack("<I4s12xHH", 1, bytes([10, 0, 0, 1]), 1, 1)
    assert data[76:100] == struct.pack("<I4s12xHH", 1, bytes([10, 0, 0, 3]), 2, 1)
    binds = 28 + 256 * 24
    assert data[100:binds] == bytes(binds - 100)
    assert data[binds : binds + 4] == struct.pack("<I", 2)
    written = ip_address("2001:db8::9").packed  # host bits are kept
    assert data[binds + 32 : binds + 60] == struct.pack("<I16sHHHBB", 2, written, 44, 1000, 1010, 17, 0)
    key = binds + 4 + 256 * 28
    assert data[key : key + 16].hex() == TABLE["hash_key"].lower()
    rows = array("I", data[key + 16 :])
    assert len(rows) == 2 * 65536
    assert set(rows) == {0, 1}  # the inactive one is in no row


def test_no_tables_is_an_empty_file() -> None:
    assert compat.build_config(compat.parse_table({"tables": []}))[8:12] == bytes(4)


def test_port_beats_a_range() -> None:
    bind = {"ip": "1.1.1.1", "proto": "tcp", "port": 7, "port_start": 9, "port_end": "nonsense"}
    table = compat.parse_table(changed(["binds", 0], bind))
    assert (table.tables[1].binds[0].port_first, table.tables[1].binds[0].port_last) == (7, 7)


def test_only_true_is_healthy_and_unknown_keys_are_ignored() -> None:
    values: list[Any] = [True, False, None, 1, "true", []]
    backends: list[dict[str, Any]] = [
        {"ip": f"10.0.0.{i}", "state": "active", "healthy": value} for i, value in enumerate(values)
    ]
    backends.append({"ip": "10.0.0.9", "state": "active", "healthchecks": {"http": 80}})
    table = compat.parse_table(changed(["backends"], backends)).tables[1]
    assert [backend.healthy for backend in table.backends] == [True] + [False] * 6


# ---- refusals ----


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        (["hash_key"], ..., "tables[1].hash_key"),
        (["hash_key"], "g" * 32, "tables[1].hash_key"),
        (["hash_key"], "00" * 15, "tables[1].hash_key"),
        (["hash_key"], "00" * 16 + "\n", "tables[1].hash_key"),
        (["hash_key"], 5, "tables[1].hash_key"),
        (["seed"], ..., "tables[1].seed"),
        (["seed"], "0x" + "0" * 30, "tables[1].seed"),
        (["binds"], ..., "tables[1].binds"),
        (["binds"], {}, "tables[1].binds"),
        (["binds", 0], 5, "tables[1].binds[0]"),
        (["binds", 0, "ip"], ..., "tables[1].binds[0].ip"),
        (["binds", 0, "ip"], "203.0.113", "tables[1].binds[0].ip"),
        (["binds", 0, "ip"], "203.0.113.010", "tables[1].binds[0].ip"),
        (["binds", 0, "ip"], "203.0.113.0/33", "tables[1].binds[0].ip"),
        (["binds", 0, "ip"], "203.0.113.0/abc", "tables[1].binds[0].ip"),
        (["binds", 0, "ip"], "203.0.113.0/", "tables[1].binds[0].ip"),
        (["binds", 0, "ip"], "203.0.113.0/-1", "tables[1].binds[0].ip"),
        (["binds", 0, "ip"], "fe80::1%eth0", "tables[1].binds[0].ip"),
        (["binds", 1, "ip"], "2001:db8::/129", "tables[1].binds[1].ip"),
        (["binds", 0, "proto"], ..., "tables[1].binds[0].proto"),
        (["binds", 0, "proto"], "TCP", "tables[1].binds[0].proto"),
        (["binds", 0, "proto"], "sctp", "tables[1].binds[0].proto"),
        (["binds", 0, "port"], -1, "tables[1].binds[0].port"),
        (["binds", 0, "port"], 65536, "tables[1].binds[0].port"),
        (["binds", 0, "port"], "80", "tables[1].binds[0].port"),
        (["binds", 0, "port"], 80.0, "tables[1].binds[0].port"),
        (["binds", 0, "port"], True, "tables[1].binds[0].port"),
        (["binds", 0, "port"], None, "tables[1].binds[0].port"),
        (["binds", 0, "port"], ..., "tables[1].binds[0].port_start"),
        (["binds", 1, "port_start"], 1011, "tables[1].binds[1].port_start"),
        (["binds", 1, "port_start"], 65536, "tables[1].binds[1].port_start"),
        (["binds", 1, "port_end"], ..., "tables[1].binds[1].port_end"),
        (["backends"], ..., "tables[1].backends"),
        (["backends"], None, "tables[1].backends"),
        (["backends", 1], "10.0.0.2", "tables[1].backends[1]"),
        (["backends", 1, "ip"], ..., "tables[1].backends[1].ip"),
        (["backends", 1, "ip"], "10.0.0.2/32", "tables[1].backends[1].ip"),
        (["backends", 1, "ip"], "10.0.0.1", "tables[1].backends[1].ip"),
        (["backends", 1, "ip"], "web1.example", "tables[1].backends[1].ip"),
        (["backends", 1, "state"], ..., "tables[1].backends[1].state"),
        (["backends", 1, "state"], "up", "tables[1].backends[1].state"),
        (["backends", 1, "state"], None, "tables[1].backends[1].state"),
    ],
)
def test_wrong_fields_are_named_by_path(path: list[str | int], value: Any, field: str) -> None:
    with pytest.raises(CompatError) as caught:
        compat.parse_table(changed(path, value), "table.json")
    assert str(caught.value).startswith(f"table.json: {field}: ")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("document", [[], 5, None, {}, {"tables": None}, {"tables": {}}, {"tables": [5]}])
def test_documents_of_another_shape_are_refused(document: Any) -> None:
    with pytest.raises(CompatError):
        compat.parse_table(document)


def test_every_wrong_field_is_reported() -> None:
    document = changed(["seed"], "x")
    document["tables"][0]["backends"][0]["state"] = "x"
    with pytest.raises(CompatError) as caught:
        compat.parse_table(document)
    assert [e.pointer for e in caught.value.errors] == ["/tables/0/backends/0/state", "/tables/1/seed"]


def many(count: int, state: str = "active") -> list[dict[str, Any]]:
    return [{"ip": str(ip_address("10.0.0.0") + i), "state": state} for i in range(count)]


BIND = TABLE["binds"][0]


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        (["backends"], [], "tables[1].backends"),
        (["backends"], many(1), "tables[1].backends"),
        (["backends"], many(3, "inactive"), "tables[1].backends"),
        (["backends"], [*many(2, "inactive"), {"ip": "10.9.9.9", "state": "active"}], "tables[1].backends"),
        (["backends"], many(257), "tables[1].backends"),
        (["backends", 1, "ip"], "2001:db8::1", "tables[1].backends[1].ip"),
        (["binds"], [{**BIND, "port": port} for port in range(257)], "tables[1].binds"),
    ],
)
def test_what_the_file_cannot_hold_is_refused_but_compiles(
    path: list[str | int], value: Any, field: str
) -> None:
    table = compat.parse_table(changed(path, value), "t.json")
    with pytest.raises(CompatError) as caught:
        compat.build_config(table)
    assert str(caught.value).startswith(f"t.json: {field}: ")
    assert len(native.Snapshot(compat.compile_snapshot(table, SETTINGS)).services) == 2


def test_256_of_both_fit() -> None:
    document = {"tables": [{**TABLE, "backends": many(256), "binds": [BIND] * 256}]}
    assert len(compat.build_config(compat.parse_table(document))) == 537648


# ---- the command ----


def run(source: Path, target: Path) -> tuple[int, str]:
    """Run the real entry point in a process of its own: exit code and stderr."""
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-c", "from glbpy.cli.main import main; main()", "compat", "build-config",
         str(source), str(target)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    return done.returncode, done.stderr


def test_command_leaves_the_target_alone_when_it_refuses(tmp_path: Path) -> None:
    source, target = tmp_path / "table.json", tmp_path / "table.bin"
    target.write_bytes(b"old")
    source.write_text(json.dumps(changed(["binds", 1, "port_start"], 5000)))
    code, text = run(source, target)
    assert code == 2
    assert "tables[1].binds[1].port_start: 5000 is above port_end, 1010" in text
    assert target.read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == ["table.bin", "table.json"]


@pytest.mark.parametrize("text", ["", "{", '{"tables": [NaN]}', "[" * 100000, '{"tables": "\\ud800"}'])
def test_command_refuses_what_is_not_json(tmp_path: Path, text: str) -> None:
    source = tmp_path / "table.json"
    source.write_text(text)
    code, message = run(source, tmp_path / "table.bin")
    assert code == 2
    assert "Traceback" not in message
    assert str(source) in message


def test_command_tells_a_missing_source_from_an_unwritable_target(tmp_path: Path) -> None:
    assert run(tmp_path / "none.json", tmp_path / "table.bin")[0] == 2
    source = tmp_path / "table.json"
    source.write_text(json.dumps({"tables": [TABLE]}))
    code, message = run(source, tmp_path / "none/table.bin")
    assert code == 1
    assert "cannot be written" in message


def test_command_never_replaces_what_is_no_file(tmp_path: Path) -> None:
    source, pipe, link = tmp_path / "table.json", tmp_path / "pipe", tmp_path / "link"
    source.write_text(json.dumps({"tables": [TABLE]}))
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 1 << 20)
        assert run(source, pipe)[0] == 0
        assert os.read(reader, 4) == b"GLBD"
    finally:
        os.close(reader)
    assert pipe.is_fifo()
    link.symlink_to("table.bin")
    assert run(source, link)[0] == 0
    assert link.is_symlink()
    assert (tmp_path / "table.bin").read_bytes()[:4] == b"GLBD"


# ---- director ----


def test_director_defaults_are_those_of_glb() -> None:
    assert SETTINGS.hash_fields == ("src_addr",)
    assert SETTINGS.alt_hash_fields == ()
    assert SETTINGS.forward_icmp_ping_responses is True
    assert SETTINGS.outbound_gateway_mac == bytes([2, 0, 0, 0, 0, 0xFE])
    unset = dict.fromkeys(("hash_fields", "alt_hash_fields", "forward_icmp_ping_responses"))
    assert compat.parse_director(DIRECTOR | unset) == SETTINGS


def test_director_settings() -> None:
    director = compat.parse_director({
        **DIRECTOR,
        "hash_fields": {"dst_port": True, "src_addr": True, "dst_addr": False, "src_port": "yes"},
        "alt_hash_fields": {"src_port": True},
        "forward_icmp_ping_responses": False,
        "local_mac": "2:0:0:0:0:a",
        "outbound_gateway_mac": "0200:0000:00fE",
        "lcores": {"lcore-1": {}},
    })  # fmt: skip
    assert director.hash_fields == ("src_addr", "dst_port")
    assert director.alt_hash_fields == ("src_port",)
    assert director.forward_icmp_ping_responses is False
    assert director.local_mac == bytes([2, 0, 0, 0, 0, 10])
    assert director.outbound_gateway_mac == SETTINGS.outbound_gateway_mac


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("outbound_src_ip", ...),
        ("outbound_src_ip", "2001:db8::1"),
        ("outbound_src_ip", "172.16.0"),
        ("outbound_gateway_mac", ...),
        ("outbound_gateway_mac", "02:00:00:00:00"),
        ("local_mac", ...),
        ("local_mac", "02-00-00-00-00-01"),
        ("hash_fields", {}),
        ("hash_fields", {"src_addr": False}),
        ("hash_fields", []),
        ("alt_hash_fields", {"src_addr": 1}),
    ],
)
def test_wrong_director_fields_are_named(field: str, value: Any) -> None:
    document = {name: v for name, v in {**DIRECTOR, field: value}.items() if v is not ...}
    with pytest.raises(CompatError) as caught:
        compat.parse_director(document, "director.json")
    assert str(caught.value).startswith(f"director.json: {field}: ")


# ---- compiling ----


def test_compiled_as_the_files_say() -> None:
    document = changed(["name"], "six")
    director = compat.parse_director(
        {**DIRECTOR, "hash_fields": {"src_port": True}, "alt_hash_fields": {"src_addr": True}}
    )
    snapshot = native.Snapshot(compat.compile_snapshot(compat.parse_table(document), director))
    web, six = snapshot.services
    assert (web.name, web.id, six.name, six.id) == ("web", 1, "six", 2)
    assert (six.hash_fields, six.alt_hash_fields) == (("src_port",), ("src_addr",))
    assert six.hash_key.hex() == TABLE["hash_key"].lower()
    assert [backend.id for backend in snapshot.backends] == [1, 2, 3, 4, 5, 6]
    assert [backend.health for backend in snapshot.backends[:2]] == ["healthy", "unhealthy"]
    assert snapshot.tables[six.table].policy == "glb"
    found = snapshot.find(ip_address("2001:db8:f::1"), "udp", 1005)
    assert found == six
    rows = array("I", compat.build_config(compat.parse_table(document))[-8 * 65536 :])
    assert array("I", snapshot.rows(six.table)) == rows


def test_policy_ordered_compiles_too() -> None:
    table = compat.parse_table({"tables": [TABLE]})
    snapshot = native.Snapshot(compat.compile_snapshot(table, SETTINGS, "ordered"))
    assert snapshot.tables[0].policy == "ordered"
    assert [backend.id for backend in snapshot.row(0, 1)] == [1, 2]


def test_tables_without_a_usable_name_are_called_by_their_place() -> None:
    tables = [{**TABLE, "binds": []} for _ in range(6)]
    del tables[0]["name"]
    tables[2]["name"] = "x" * 64
    tables[3]["name"] = "web"
    tables[4]["name"] = None
    tables[5]["name"] = 7
    snapshot = native.Snapshot(compat.compile_snapshot(compat.parse_table({"tables": tables}), SETTINGS))
    assert [s.name for s in snapshot.services] == ["tables[0]", "web", *(f"tables[{t}]" for t in range(2, 6))]


def test_the_same_bind_twice_is_refused_by_the_compiler() -> None:
    table = compat.parse_table({"tables": [TABLE, {**TABLE, "name": "other"}]}, "t.json")
    compat.build_config(table)
    with pytest.raises(CompatError) as caught:
        compat.compile_snapshot(table, SETTINGS)
    assert str(caught.value).startswith("t.json: tables[1].binds[0]: the same as tables[0].binds[0] ")


def test_files_are_read(tmp_path: Path) -> None:
    source = tmp_path / "t.json"
    source.write_text(json.dumps({"tables": [TABLE]}))
    assert compat.load_table(source).tables[0].name == "web"
    source.write_text(json.dumps(DIRECTOR))
    assert compat.load_director(source) == SETTINGS
    with pytest.raises(InvalidInputError, match="cannot be read"):
        compat.load_director(tmp_path)
