"""The configuration's schema: what is accepted comes out canonical, what is refused names its field."""

from typing import Any

import pytest

from glbpy.errors import DocumentError
from glbpy.models import Backend, Document, HealthCheck, Pool, Service, check_whole, parse

SERVICE = {"name": "www", "vips": ["203.0.113.10"], "protocol": "tcp", "ports": [80], "pool": "web"}
HTTP = {"type": "http", "port": 80}


def refusals(model: Any, data: object) -> dict[str, str]:
    with pytest.raises(DocumentError) as caught:
        parse(model, data)
    return {error.pointer: error.detail for error in caught.value.errors}


def test_the_document_of_the_manual_is_accepted_and_its_defaults_are_as_written():
    given = {
        "pools": [
            {
                "name": "web",
                "backends": [{"name": "web1", "address": "10.0.0.11", "weight": 1, "state": "active"}],
                "health_check": {
                    "type": "http", "port": 80, "path": "/healthz",
                    "interval_ms": 2000, "timeout_ms": 1000, "rise": 2, "fall": 3,
                },
            }
        ],
        "services": [
            {
                **SERVICE, "vips": ["203.0.113.10", "2001:db8::10"], "ports": [80, 443, "8000-8099"],
                "algorithm": "rendezvous", "table_size": 65536, "hops": 2, "hash_fields": ["src_addr"],
                "encapsulation": "gue", "flow_cache": "off",
            }
        ],
    }  # fmt: skip
    document = parse(Document, given)
    check_whole(document)
    full = document.services[0].model_dump(mode="json", exclude={"vips", "ports"})
    short = parse(Service, SERVICE).model_dump(mode="json", exclude={"vips", "ports"})
    assert full == short
    assert parse(Document, document.model_dump(mode="json")) == document


@pytest.mark.parametrize(("given", "canonical"), [("on", "on"), ("off", "off"), (True, "on"), (False, "off")])
def test_flow_cache_may_be_what_yaml_makes_of_on_and_off(given: str | bool, canonical: str):
    assert parse(Service, {**SERVICE, "flow_cache": given}).flow_cache == canonical


@pytest.mark.parametrize(
    ("vip", "canonical"),
    [
        ("2001:DB8:0::0010", "2001:db8::10"),
        ("203.0.113.10/32", "203.0.113.10"),
        ("2001:db8::/64", "2001:db8::/64"),
        ("0.0.0.0/0", "0.0.0.0/0"),
    ],
)
def test_addresses_are_canonical(vip: str, canonical: str):
    assert parse(Service, {**SERVICE, "vips": [vip]}).vips == (canonical,)


@pytest.mark.parametrize(
    "vip",
    [
        "203.0.113.300", "203.0.113.0/24x", "203.0.113.10/24", "203.0.113.0/33", "::1%eth0", "224.0.0.1",
        "::ffff:10.0.0.1", "0.0.0.0", "/24", "", "010.0.0.1", "203.0.113.0/255.255.255.0", 3405803786, None,
    ],
)  # fmt: skip
def test_what_is_no_vip_is_refused_in_its_place(vip: object):
    assert list(refusals(Service, {**SERVICE, "vips": ["203.0.113.11", vip]})) == ["/vips/1"]


@pytest.mark.parametrize(("port", "canonical"), [(80, 80), ("80", 80), ("80-80", 80), ("1-65535", "1-65535")])
def test_ports_are_canonical(port: object, canonical: object):
    assert parse(Service, {**SERVICE, "ports": [port]}).ports == (canonical,)


@pytest.mark.parametrize(
    "port", [0, 65536, -1, True, 80.0, "http", "90-80", "1-65536", "80-", "-80", " 80", None]
)
def test_what_is_no_port_is_refused_in_its_place(port: object):
    assert list(refusals(Service, {**SERVICE, "ports": [443, port]})) == ["/ports/1"]


@pytest.mark.parametrize("name", ["a", "0", "a.b_c-d", "x" * 63])
def test_names(name: str):
    assert parse(Pool, {"name": name}).name == name


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a/b", "x" * 64, "a\n", "ä", 7, None])
def test_what_is_no_name_is_refused(name: object):
    assert list(refusals(Pool, {"name": name})) == ["/name"]


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"vips": []}, "/vips"),
        ({"vips": ["10.0.0.1", "10.0.0.1/32"]}, "/vips/1"),
        ({"ports": [80, "80-80"]}, "/ports/1"),
        ({"protocol": "sctp"}, "/protocol"),
        ({"algorithm": "random"}, "/algorithm"),
        ({"algorithm": "maglev", "table_size": 65536}, "/table_size"),
        ({"algorithm": "maglev", "table_size": 241}, "/table_size"),
        ({"algorithm": "maglev", "hops": 3}, "/hops"),
        ({"algorithm": "maglev", "policy": "glb"}, "/policy"),
        ({"table_size": 65537}, "/table_size"),
        ({"table_size": 1000}, "/table_size"),
        ({"table_size": 128}, "/table_size"),
        ({"table_size": 1 << 21}, "/table_size"),
        ({"table_size": "65536"}, "/table_size"),
        ({"hops": 0}, "/hops"),
        ({"hops": 9}, "/hops"),
        ({"hops": True}, "/hops"),
        ({"policy": "glb", "hops": 3}, "/hops"),
        ({"hash_fields": []}, "/hash_fields"),
        ({"hash_fields": ["src_addr", "src_addr"]}, "/hash_fields/1"),
        ({"hash_fields": ["ttl"]}, "/hash_fields/0"),
        ({"source_affinity": {"v4_bits": 0}}, "/source_affinity/v4_bits"),
        ({"source_affinity": {"v6_bits": 129}}, "/source_affinity/v6_bits"),
        ({"source_affinity": {}, "hash_fields": ["src_addr", "src_port"]}, "/hash_fields"),
        ({"encapsulation": "vxlan"}, "/encapsulation"),
        ({"flow_cache": "auto"}, "/flow_cache"),
        ({"flow_cache": 1}, "/flow_cache"),
        ({"protocol": "udp", "udp_timeout_seconds": 60}, "/udp_timeout_seconds"),
        ({"flow_cache": "on", "udp_timeout_seconds": 60}, "/udp_timeout_seconds"),
        ({"protocol": "udp", "flow_cache": "on", "udp_timeout_seconds": 0}, "/udp_timeout_seconds"),
        ({"protocol": "udp", "flow_cache": "on", "udp_timeout_seconds": 32768}, "/udp_timeout_seconds"),
        ({"seed": "00"}, "/seed"),
        ({"hash_key": "g" * 32}, "/hash_key"),
        ({"hash_key": 0}, "/hash_key"),
        ({"port": 80}, "/port"),
        ({"a/b~c": 1}, "/a~1b~0c"),
    ],
)
def test_services_are_refused_by_field(change: dict[str, object], where: str):
    assert list(refusals(Service, {**SERVICE, **change})) == [where]


@pytest.mark.parametrize(
    ("size", "near"),
    [(65536, 65537), (1000, 997), (100, 251), (1 << 21, 1048573), (1021 * 1031, 1052641), (-5, 251)],
)
def test_the_nearest_prime_is_named(size: int, near: int):
    wrong = refusals(Service, {**SERVICE, "algorithm": "maglev", "table_size": size})["/table_size"]
    near = min(near, 1048573)
    assert wrong.endswith(f"; {near} is the nearest")
    assert parse(Service, {**SERVICE, "algorithm": "maglev", "table_size": near}).table_size == near


def test_maglev_has_a_default_size_of_its_own():
    assert parse(Service, {**SERVICE, "algorithm": "maglev"}).table_size == 65537
    assert parse(Service, {**SERVICE, "algorithm": "rendezvous"}).table_size == 65536


def test_hash_fields_have_one_order_and_keys_one_form():
    given = {**SERVICE, "hash_fields": ["dst_port", "src_addr"], "seed": "AB" * 16}
    service = parse(Service, given)
    assert service.hash_fields == ("src_addr", "dst_port")
    assert service.seed == "ab" * 16


@pytest.mark.parametrize("weight", [-1, 65536, "1", True, 1.0, None])
def test_what_is_no_weight_is_refused(weight: object):
    wrong = refusals(Backend, {"name": "a", "address": "10.0.0.1", "weight": weight})
    assert list(wrong) == ["/weight"]


@pytest.mark.parametrize("weight", [0, 1, 2, 65535])
def test_weights(weight: int):
    assert parse(Backend, {"name": "a", "address": "10.0.0.1", "weight": weight}).weight == weight


@pytest.mark.parametrize(("weights", "fine"), [((3, 3), True), ((1, 2), False), ((0, 0), False)])
def test_policy_glb_needs_equal_weights(weights: tuple[int, int], fine: bool):
    backends = [{"name": f"b{n}", "address": f"10.0.0.{n}", "weight": w} for n, w in enumerate(weights, 1)]
    given = {"pools": [{"name": "web", "backends": backends}], "services": [{**SERVICE, "policy": "glb"}]}
    document = parse(Document, given)
    if fine:
        check_whole(document)
        return
    with pytest.raises(DocumentError) as caught:
        check_whole(document)
    assert [error.pointer for error in caught.value.errors] == ["/services/0/policy"]


@pytest.mark.parametrize("address", ["ff02::1", "::", "fe80::1%eth0", "::ffff:10.0.0.1", "10.0.0.0/24"])
def test_what_is_no_address_of_a_backend_is_refused(address: str):
    assert list(refusals(Backend, {"name": "a", "address": address})) == ["/address"]


def test_names_and_addresses_are_unique_in_a_pool_and_names_in_a_document():
    backends = [
        {"name": "a", "address": "10.0.0.1"},
        {"name": "a", "address": "10.0.0.2"},
        {"name": "b", "address": "10.0.0.1"},
    ]
    assert list(refusals(Pool, {"name": "web", "backends": backends})) == [
        "/backends/1/name",
        "/backends/2/address",
    ]
    assert list(refusals(Document, {"pools": [{"name": "a"}, {"name": "a"}]})) == ["/pools/1/name"]


def test_health_checks_have_defaults_by_type():
    http = parse(HealthCheck, HTTP)
    assert (http.path, http.expected_status) == ("/", ("200-299",))
    assert (http.interval_ms, http.timeout_ms) == (2000, 1000)
    tcp = parse(HealthCheck, {"type": "tcp", "port": 80, "interval_ms": 200})
    assert (tcp.path, tcp.expected_status, tcp.timeout_ms) == (None, None, 200)
    for check in (http, tcp):
        assert parse(HealthCheck, check.model_dump(mode="json")) == check


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"type": "udp"}, "/type"),
        ({"type": "tcp", "path": "/"}, "/path"),
        ({"timeout_ms": 3000}, "/timeout_ms"),
        ({"interval_ms": 1}, "/interval_ms"),
        ({"path": "healthz"}, "/path"),
        ({"path": "/a b"}, "/path"),
        ({"path": "/\r\nX: y"}, "/path"),
        ({"host": "a\r\nb"}, "/host"),
        ({"expected_status": []}, "/expected_status"),
        ({"expected_status": [99]}, "/expected_status/0"),
        ({"rise": 0}, "/rise"),
        ({"fall": 101}, "/fall"),
        ({"port": 0}, "/port"),
        ({"port": None}, "/port"),
    ],
)
def test_health_checks_are_refused_by_field(change: dict[str, object], where: str):
    assert list(refusals(HealthCheck, {**HTTP, **change})) == [where]


def test_every_wrong_field_is_named_at_once():
    wrong = refusals(Document, {"pools": [{"name": "A"}], "services": [{**SERVICE, "hops": 9}, {}], "x": 1})
    assert {"/pools/0/name", "/services/0/hops", "/services/1/name", "/x"} <= wrong.keys()
    assert wrong["/x"] == "there is no such field"
    assert wrong["/services/1/name"] == "this field is required"


@pytest.mark.parametrize("data", [None, 3, "text", [], {"pools": {}}, {"pools": [3]}, {"services": None}])
def test_what_has_another_shape_is_refused(data: object):
    assert refusals(Document, data)


def test_the_whole_state_is_checked_for_references_and_twofold_claims():
    other = {**SERVICE, "name": "other", "ports": [443, 80]}
    document = parse(Document, {"pools": [{"name": "web"}], "services": [SERVICE, other]})
    with pytest.raises(DocumentError) as caught:
        check_whole(document)
    assert [error.pointer for error in caught.value.errors] == ["/services/1/vips/0"]
    assert "203.0.113.10 tcp 80 already belongs to service www" in caught.value.errors[0].detail
    wider = {**other, "ports": ["1-1024"]}
    check_whole(parse(Document, {"pools": [{"name": "web"}], "services": [SERVICE, wider]}))


@pytest.mark.parametrize("secret", ["", "00" * 15, "0" * 33, "zz" * 16, "00" * 65])
def test_what_is_no_secret_is_refused(secret: str):
    assert list(refusals(Document, {"secret": secret})) == ["/secret"]


def test_the_schema_can_be_shown():
    schema = Document.model_json_schema()
    assert schema["additionalProperties"] is False
    assert "Backend" in schema["$defs"]
