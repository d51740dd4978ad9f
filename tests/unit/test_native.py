"""glbpy._native: values in and out, and C errors as exceptions."""

import ipaddress
import threading
import time
from dataclasses import replace

import pytest

from glbpy import _native as native
from glbpy.errors import InvalidInputError, SnapshotError

ip = ipaddress.ip_address
net = ipaddress.ip_network

WEB = native.PoolInput(
    "web",
    (
        native.BackendInput("web1", 11, ip("10.0.0.11")),
        native.BackendInput("web2", 12, ip("10.0.0.12"), "draining", "healthy", 5),
        native.BackendInput("web3", 13, ip("2001:db8::13"), "active", "unhealthy"),
        native.BackendInput("web4", 14, ip("10.0.0.14"), "inactive"),
    ),
)
WWW = native.ServiceInput(
    name="www", id=2, pool=0, hash_key=bytes(range(16)), seed=b"seed" * 4, rows=1024, hops=3,
    binds=(
        native.BindInput(net("203.0.113.10/32"), "tcp", 80, 80),
        native.BindInput(net("2001:db8::/64"), "tcp", 8000, 8099),
    ),
    hash_fields=("src_addr", "src_port"), alt_hash_fields=("src_addr",),
)  # fmt: skip
DNS = replace(
    WWW, name="dns", id=1, binds=(native.BindInput(net("203.0.113.0/24"), "udp", 53, 53),), alt_hash_fields=()
)
CONFIG = native.ConfigInput(pools=(WEB,), services=(WWW, DNS), revision=42)


@pytest.fixture(scope="module")
def snapshot() -> native.Snapshot:
    return native.Snapshot.open(native.compile_snapshot(CONFIG))


def test_what_was_compiled_is_read_back(snapshot: native.Snapshot) -> None:
    assert snapshot.revision == 42
    assert len(bytes.fromhex(snapshot.digest)) == 16
    assert [(b.id, b.name, b.address, b.state, b.health, b.weight) for b in snapshot.backends] == [
        (b.id, b.name, b.address, b.state, b.health, b.weight) for b in WEB.backends
    ]
    dns, www = snapshot.services
    assert (dns.id, dns.name, www.id, www.name) == (1, "dns", 2, "www")
    assert (www.hash_fields, www.alt_hash_fields, www.hash_key) == (
        ("src_addr", "src_port"), ("src_addr",), bytes(range(16))
    )  # fmt: skip
    (table,) = snapshot.tables
    assert (table.pool, table.rows, table.hops, table.policy) == ("web", 1024, 3, "ordered")
    assert www.table == dns.table == table.index


def test_equal_configurations_give_equal_bytes() -> None:
    assert native.compile_snapshot(CONFIG) == native.compile_snapshot(CONFIG)


def test_services_are_found_by_address_protocol_and_port(snapshot: native.Snapshot) -> None:
    def name(address: str, protocol: str, port: int) -> str | None:
        found = snapshot.find(ip(address), protocol, port)
        return found.name if found else None

    assert name("203.0.113.10", "tcp", 80) == "www"
    assert name("203.0.113.10", "udp", 53) == "dns"
    assert name("203.0.113.10", "tcp", 81) is None
    assert name("203.0.113.11", "udp", 53) == "dns"
    assert name("2001:db8::1:2", "tcp", 8099) == "www"
    assert name("2001:db9::1", "tcp", 8099) is None
    echo = snapshot.find_echo(ip("203.0.113.10"))
    assert echo is not None
    assert echo.name == "www"
    assert snapshot.find_echo(ip("192.0.2.1")) is None


def test_chains_have_available_backends_first_and_no_inactive_ones(snapshot: native.Snapshot) -> None:
    for row in range(1024):
        assert [b.name for b in snapshot.row(0, row)] == ["web1", "web2", "web3"]
    with pytest.raises(IndexError):
        snapshot.row(0, 1024)


def test_rows_alone_equal_those_of_the_snapshot(snapshot: native.Snapshot) -> None:
    rows = native.build_rows(WEB.backends, rows=1024, hops=3, policy="ordered", seed=WWW.seed)
    assert rows == snapshot.rows(0)
    assert len(rows) == 3 * 1024


def test_other_python_threads_run_while_rows_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    many = [native.BackendInput(f"b{n}", n, ip("10.0.0.0") + n) for n in range(1, 1001)]
    lib, inside, made = native.lib, threading.Event(), []

    class Watched:
        def __getattr__(self, name: str) -> object:
            return getattr(lib, name)

        def glb_table_build(self, *arguments: object) -> int:
            inside.set()
            try:
                return int(lib.glb_table_build(*arguments))
            finally:
                inside.clear()

    def make() -> None:
        shape = {"rows": 1 << 18, "hops": 2, "policy": "ordered", "seed": bytes(16), "threads": 1}
        made.append(len(native.build_rows(many, **shape)))  # type: ignore[arg-type]

    monkeypatch.setattr(native, "lib", Watched())
    maker, turns = threading.Thread(target=make), 0
    maker.start()
    while maker.is_alive():
        time.sleep(0.001)
        turns += inside.is_set()
    assert made == [2 << 18]
    assert turns >= 3  # of some hundred; with the lock held, none but the one that waited for it


def test_the_number_of_threads_makes_no_difference() -> None:
    service = replace(WWW, rows=1 << 16)
    backends = tuple(native.BackendInput(f"b{n}", n, ip("10.0.0.0") + n) for n in range(1, 100))
    pool = native.PoolInput("web", backends)
    config = native.ConfigInput((pool,), (service,))
    one = native.compile_snapshot(config, threads=1)
    assert native.compile_snapshot(config) == native.compile_snapshot(config, threads=3) == one
    with pytest.raises(InvalidInputError, match="threads"):
        native.compile_snapshot(config, threads=-1)


def test_rows_of_an_empty_pool_are_empty_chains() -> None:
    rows = native.build_rows((), rows=256, hops=2, policy="ordered", seed=bytes(16))
    assert set(rows) == {native.HOP_NONE}


def test_removing_a_backend_is_reported() -> None:
    web = replace(WEB, backends=tuple(b for b in WEB.backends if b.address.version == 4))
    before = native.Snapshot(native.compile_snapshot(replace(CONFIG, pools=(web,))))
    fewer = replace(CONFIG, pools=(replace(web, backends=web.backends[1:]),))
    left = native.leavers(before, native.Snapshot(native.compile_snapshot(fewer)))
    assert left == [
        native.Leaver(service=1, backend=11, rows=1024, first=1024),
        native.Leaver(service=2, backend=11, rows=2048, first=1024),  # own and alt look-up
    ]
    assert native.leavers(before, before) == []


def test_a_removed_backend_stays_while_it_settles() -> None:
    web = replace(WEB, backends=(WEB.backends[0], WEB.backends[1]))
    www = replace(WWW, hops=1, alt_hash_fields=())  # UDP has no second chance
    before = native.Snapshot(native.compile_snapshot(native.ConfigInput((web,), (www,))))
    gone = replace(web, backends=(web.backends[1], replace(web.backends[0], state="inactive")))
    prior = native.PriorInput(((0, 5, "draining"), (1, 1, "active")), WWW.seed, hops=1)
    after = native.Snapshot(
        native.compile_snapshot(native.ConfigInput((gone,), (replace(www, priors=(prior,)),)))
    )
    assert native.leavers(before, after) == []
    assert [b.name for b in before.row(0, 7)] == ["web1"]
    assert [b.name for b in after.row(0, 7)] == ["web2", "web1"]


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"hops": 9}, "/services/0/hops"),
        ({"rows": 1000}, "/services/0/rows"),
        ({"policy": "other"}, "/services/0/policy"),
        ({"policy": "glb"}, "/services/0/hops"),
        ({"pool": 1}, "/services/0/pool"),
        ({"hash_fields": ()}, "/services/0/hash_fields"),
        ({"hash_fields": ("flow",)}, "/services/0/hash_fields"),
        ({"hash_key": b"short"}, "/services/0/hash_key"),
        ({"name": ""}, "/services/0/name"),
        ({"name": "x" * 64}, "/services/0/name"),
        ({"name": "a\0b"}, "/services/0/name"),
        ({"id": 0}, "/services/0/id"),
        ({"id": 1}, "/services/1/id"),
        ({"name": "dns"}, "/services/1/name"),
        ({"binds": (native.BindInput(net("1.1.1.1"), "sctp", 1, 1),)}, "/services/0/binds/0/protocol"),
        ({"binds": (native.BindInput(net("1.1.1.1"), "tcp", 2, 1),)}, "/services/0/binds/0/port_last"),
        ({"binds": (native.BindInput(net("1.1.1.1"), "tcp", 2, 65536),)}, "/services/0/binds/0/port_last"),
        ({"binds": WWW.binds + WWW.binds[:1]}, "/services/0/binds/2"),
        ({"binds": DNS.binds}, "/services/1/binds/0"),
    ],
)
def test_wrong_services_are_refused_by_field(change: dict[str, object], pointer: str) -> None:
    wrong = replace(CONFIG, services=(replace(WWW, **change), DNS))  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError) as caught:
        native.compile_snapshot(wrong)
    assert caught.value.pointer == pointer


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"state": "gone"}, "/pools/0/backends/1/state"),
        ({"health": "fine"}, "/pools/0/backends/1/health"),
        ({"id": 11}, "/pools/0/backends/1/id"),
        ({"name": "web1"}, "/pools/0/backends/1/name"),
        ({"address": ip("10.0.0.11")}, "/pools/0/backends/1/address"),
        ({"weight": 65536}, "/pools/0/backends/1/weight"),
    ],
)
def test_wrong_backends_are_refused_by_field(change: dict[str, object], pointer: str) -> None:
    second = replace(WEB.backends[1], **change)  # type: ignore[arg-type]
    wrong = replace(CONFIG, pools=(replace(WEB, backends=(WEB.backends[0], second)),))
    with pytest.raises(InvalidInputError) as caught:
        native.compile_snapshot(wrong)
    assert caught.value.pointer == pointer


def test_clashing_binds_name_both_services() -> None:
    wrong = replace(CONFIG, services=(WWW, replace(DNS, binds=WWW.binds[:1])))
    with pytest.raises(InvalidInputError, match=r"services www and dns"):
        native.compile_snapshot(wrong)


def test_damaged_snapshots_are_refused() -> None:
    data = native.compile_snapshot(CONFIG)
    with pytest.raises(SnapshotError, match="truncated"):
        native.Snapshot(data[:-1])
    with pytest.raises(SnapshotError, match="damaged"):
        native.Snapshot(data[:-1] + b"x")
    with pytest.raises(SnapshotError, match="format version 9, this program reads version 1"):
        native.Snapshot(data[:8] + b"\x09" + data[9:])
    with pytest.raises(SnapshotError, match="not a snapshot"):
        native.Snapshot(b"")


def test_every_reason_has_a_name_and_a_verdict() -> None:
    assert len(set(native.REASONS)) == len(native.REASONS)
    assert "unknown" not in native.REASONS
    verdicts = {native.reason_verdict(reason) for reason in range(len(native.REASONS))}
    assert verdicts <= {"forward", "answer", "punt", "drop"}
    assert native.reason_name(len(native.REASONS)) == "unknown"
    assert native.verdict_name(2) == "punt"
