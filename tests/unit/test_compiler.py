"""From document to snapshot: keys, ids, states and health get into the bytes, and nothing else does."""

import hashlib
import hmac
from ipaddress import ip_address

import pytest

from glbpy import _native, keys, models
from glbpy.compiler import NativeCompiler, offline
from glbpy.desired import Desired, merge
from glbpy.errors import DocumentError, SnapshotError
from glbpy.models import Document, Health, parse

POOL = {"name": "web", "backends": [{"name": f"web{n}", "address": f"10.0.0.1{n}"} for n in (1, 2, 3)]}
WWW = {
    "name": "www",
    "vips": ["203.0.113.10", "2001:db8::/64"],
    "protocol": "tcp",
    "ports": [80, "8000-8099"],
    "pool": "web",
    "table_size": 256,
}
compiler = NativeCompiler()


def document(**service: object) -> Document:
    return parse(Document, {"pools": [POOL], "services": [{**WWW, **service}]})


def compile_offline(given: Document, **health: Health):
    state, secret = offline(given)
    by_id = {state.ids[f"pools/web/backends/{name}"]: value for name, value in health.items()}
    return _native.Snapshot(compiler.compile(state, secret, by_id).data)


def test_models_and_library_agree_on_limits():
    assert models.HOPS_MAX == _native.HOPS_MAX
    assert (models.TABLE_SIZE_MIN, models.TABLE_SIZE_MAX) == (_native.ROWS_MIN, _native.ROWS_MAX)
    assert models.POOL_BACKENDS_MAX == _native.POOL_BACKENDS_MAX
    assert (models.MAGLEV_SIZE_MIN, models.MAGLEV_SIZE_DEFAULT) == (
        _native.MAGLEV_ROWS_MIN, _native.MAGLEV_ROWS_DEFAULT,
    )  # fmt: skip
    assert tuple(_native.HASH_FIELDS) == models.HASH_FIELDS
    assert [state.value for state in models.State] == list(_native.STATES)
    assert [health.value for health in models.Health] == list(_native.HEALTHS)


def test_keys_follow_the_rule():
    secret = bytes(range(16))
    assert keys.row_seed(secret, "web") == hmac.new(secret, b"rows:web", hashlib.sha256).digest()[:16]
    assert keys.flow_key(secret, "www") == hmac.new(secret, b"flow:www", hashlib.sha256).digest()[:16]
    # Written down, so that nobody has to rehash later.
    assert keys.row_seed(bytes(16), "web").hex() == "df275b182a68a5d21302109c3d0285e2"
    assert keys.flow_key(bytes(16), "www").hex() == "c921d5c0fa41c9112c21a90e7a920477"


def test_the_snapshot_has_what_the_document_says():
    found = compile_offline(document(hops=3), web2=Health.UNHEALTHY)
    assert found.revision == 0
    www = found.find(ip_address("203.0.113.10"), "tcp", 8042)
    assert www is not None
    assert (www.id, www.name, www.hash_fields) == (1, "www", ("src_addr",))
    assert www.hash_key == keys.flow_key(bytes(16), "www")
    assert found.find(ip_address("2001:db8::99"), "tcp", 80) == www
    assert found.find(ip_address("203.0.113.10"), "udp", 80) is None
    assert [(b.id, b.name, b.health) for b in found.backends] == [
        (1, "web1", "unknown"),
        (2, "web2", "unhealthy"),
        (3, "web3", "unknown"),
    ]
    assert (found.tables[0].rows, found.tables[0].hops) == (256, 3)


def test_services_whose_flows_are_remembered_are_marked():
    assert compile_offline(document(flow_cache="on")).services[0].flow_cache
    assert not compile_offline(document(flow_cache="off")).services[0].flow_cache
    assert not compile_offline(document()).services[0].flow_cache


def test_udp_flows_are_remembered_as_long_as_the_service_says():
    dns = document(flow_cache="on", protocol="udp", udp_timeout_seconds=5)
    assert compile_offline(dns).services[0].udp_timeout == 5
    assert compile_offline(document(flow_cache="on")).services[0].udp_timeout == 0


def test_rows_come_from_the_seed_that_the_document_gives_or_the_secret():
    derived = compile_offline(document()).rows(0)
    assert compile_offline(document(seed=keys.row_seed(bytes(16), "web").hex())).rows(0) == derived
    assert compile_offline(document(seed="11" * 16)).rows(0) != derived
    secret = document().model_copy(update={"secret": "22" * 16})
    assert compile_offline(secret).rows(0) != derived


def test_services_of_one_pool_share_a_table_and_others_do_not():
    other = {**WWW, "name": "other", "ports": [81]}
    third = {**WWW, "name": "third", "ports": [82], "hops": 3}
    given = parse(Document, {"pools": [POOL], "services": [WWW, other, third]})
    found = compile_offline(given)
    assert [service.table for service in found.services] == [0, 0, 1]


def test_equal_inputs_give_equal_bytes_and_the_digest():
    state, secret = offline(document())
    first, again = (compiler.compile(state, secret, {}) for _ in range(2))
    assert first == again
    assert first.digest == _native.Snapshot(first.data).digest
    assert compiler.compile(state, secret, {1: Health.UNHEALTHY}).digest != first.digest


def test_damaged_bytes_are_refused():
    state, secret = offline(document())
    data = compiler.compile(state, secret, {}).data
    with pytest.raises(SnapshotError):
        compiler.open(data[:-1])


def test_leavers_have_names():
    state, secret = offline(document())
    less = {**POOL, "backends": POOL["backends"][:2]}
    after = merge(state.document, parse(Document, {"pools": [less]}))
    smaller = Desired(1, after, state.ids)
    leavers = compiler.leavers(compiler.compile(state, secret, {}), compiler.compile(smaller, secret, {}))
    assert [(x.service, x.backend) for x in leavers] == [("www", "web/web3")]
    assert 0 < leavers[0].first < leavers[0].rows < 256
    assert compiler.leavers(compiler.compile(state, secret, {}), compiler.compile(state, secret, {})) == ()


def test_a_document_alone_must_be_whole():
    with pytest.raises(DocumentError) as caught:
        offline(document(pool="none"))
    assert caught.value.pointer == "/services/0/pool"


def test_a_pool_without_backends_and_a_service_on_it_compile():
    given = parse(Document, {"pools": [{"name": "web"}], "services": [WWW]})
    assert compile_offline(given).row(0, 0) == ()
