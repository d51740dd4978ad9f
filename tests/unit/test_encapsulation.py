"""What each encapsulation asks of services and pools, by field, and what the compiler says."""

import asyncio
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from glbpy import _native as native
from glbpy.cli.main import build
from glbpy.compiler import NativeCompiler, offline
from glbpy.controller import Controller
from glbpy.encapsulation import RULES, remarks
from glbpy.errors import DocumentError
from glbpy.models import Document, Service, check_whole, parse
from glbpy.store import Store

V4, V6 = "203.0.113.10", "2001:db8::10"
KINDS = {  # a service that each takes: VIP, backends' version, fields of its own
    "gue": (V4, 4, {}),
    "gre": (V4, 6, {"gre_key": 0}),
    "ipip": (V4, 4, {}),
    "ip6ip6": (V6, 6, {}),
    "4in6": (V4, 6, {}),
    "6in4": (V6, 4, {}),
    "l2dsr": (V4, 6, {}),
    "l3dsr": (V6, 6, {"dscp": 63}),
    "nat": (V4, 4, {"backend_port": 8080}),
}


def service(kind: str, **changed: Any) -> dict[str, Any]:
    vip, _, fields = KINDS[kind]
    base = {"name": "www", "vips": [vip], "protocol": "tcp", "ports": [80], "pool": "web"}
    return {**base, "encapsulation": kind, **fields, **changed}


def pool(*versions: int, name: str = "web", first: int = 1) -> dict[str, Any]:
    bases = {4: "10.0.0.", 6: "2001:db8:1::"}
    backends = [
        {"name": f"{name}{n}", "address": f"{bases[version]}{n}"} for n, version in enumerate(versions, first)
    ]
    return {"name": name, "backends": backends}


def refusals(model: Any, data: object) -> dict[str, str]:
    with pytest.raises(DocumentError) as caught:
        parse(model, data)
    return {error.pointer: error.detail for error in caught.value.errors}


def whole(pools: list[dict[str, Any]], services: list[dict[str, Any]]) -> Document:
    return parse(Document, {"pools": pools, "services": services})


def faults(pools: list[dict[str, Any]], services: list[dict[str, Any]]) -> dict[str, str]:
    with pytest.raises(DocumentError) as caught:
        check_whole(whole(pools, services))
    return {error.pointer: error.detail for error in caught.value.errors}


def test_there_is_a_rule_for_every_kind() -> None:
    assert set(RULES) == set(native.ENCAPSULATIONS) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_comes_out_of_the_compiler_as_written(kind: str) -> None:
    document = whole([pool(*[KINDS[kind][1]] * 3)], [service(kind)])
    state, secret = offline(document)
    [found] = native.Snapshot(NativeCompiler().compile(state, secret, {}).data).services
    fields = KINDS[kind][2]
    assert found.encapsulation == kind
    assert found.encap_value == fields.get("backend_port", fields.get("gre_key", 0))
    assert (found.tos, found.tos_mask) == ((252, 3) if kind == "l3dsr" else (0, 0))
    assert parse(Document, document.model_dump(mode="json")) == document


def test_outer_dscp_and_ecn_come_out_of_the_compiler() -> None:
    marked = {"decapsulator": "rfc6040", "ecn": "copy"}
    for dscp, tos, mask in ((10, 40, 3), ("copy", 0, 255), (0, 0, 3)):
        state, secret = offline(whole([pool(4)], [service("gue", outer_dscp=dscp, **marked)]))
        [found] = native.Snapshot(NativeCompiler().compile(state, secret, {}).data).services
        assert (found.tos, found.tos_mask) == (tos, mask)


@pytest.mark.parametrize(
    ("kind", "changed", "where", "says"),
    [
        ("gue", {"encapsulation": "vxlan"}, "/encapsulation", "'gue'"),
        ("gue", {"gre_key": 1}, "/gre_key", "encapsulation gre only"),
        ("gre", {"gre_key": 1 << 32}, "/gre_key", ""),
        ("gre", {"dscp": 1}, "/dscp", "encapsulation l3dsr only"),
        ("ipip", {"backend_port": 1}, "/backend_port", "encapsulation nat only"),
        (
            "ipip",
            {"vips": [V4, V6]},
            "/vips/1",
            "IPv4 packets only: for 2001:db8::10 use one of gue, gre, ip6ip6",
        ),
        ("6in4", {"vips": [V4]}, "/vips/0", "IPv6 packets only"),
        ("gre", {"policy": "glb"}, "/encapsulation", "must be gue with policy glb"),
        ("l3dsr", {"dscp": None}, "/dscp", "1 to 63"),
        ("l3dsr", {"dscp": 64}, "/dscp", ""),
        ("l3dsr", {"dscp": 0}, "/dscp", ""),
        ("l3dsr", {"vips": ["2001:db8::/64"]}, "/vips/0", "no prefix"),
        ("l3dsr", {"vips": [V6, V4]}, "/vips/1", "second VIP"),
        ("l3dsr", {"protocol": "any"}, "/protocol", "must be tcp or udp"),
        ("nat", {"protocol": "any"}, "/protocol", "must be tcp or udp"),
        ("nat", {"vips": [V4, "203.0.113.11"]}, "/vips/1", "second VIP"),
        ("nat", {"ports": ["80-81"]}, "/ports", "leave backend_port out"),
        ("nat", {"ports": [80, 81]}, "/ports", "one port"),
        ("nat", {"backend_port": 0}, "/backend_port", ""),
        ("gue", {"outer_dscp": 1}, "/outer_dscp", "decapsulator: rfc6040"),
        ("gue", {"outer_dscp": "keep"}, "/outer_dscp", 'nor "copy"'),
        ("gue", {"outer_dscp": True}, "/outer_dscp", 'nor "copy"'),
        ("gue", {"outer_dscp": 64, "decapsulator": "rfc6040"}, "/outer_dscp", "0 to 63"),
        ("gre", {"ecn": "copy"}, "/ecn", "decapsulator: rfc6040"),
        ("l2dsr", {"ecn": "copy"}, "/ecn", "no outer header"),
        ("nat", {"decapsulator": "rfc6040"}, "/decapsulator", "no outer header"),
    ],
)
def test_services_are_refused_by_field(kind: str, changed: dict[str, Any], where: str, says: str) -> None:
    wrong = refusals(Service, service(kind, **changed))
    assert list(wrong) == [where]
    assert says in wrong[where]


def test_nat_without_a_port_of_its_own_takes_ranges() -> None:
    assert parse(Service, service("nat", backend_port=None, ports=[80, "8000-8099"])).backend_port is None


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "l2dsr"])
def test_mixed_pools_and_other_families_are_refused(kind: str) -> None:
    version = KINDS[kind][1]
    assert faults([pool(version, 10 - version)], [service(kind)])
    if kind in ("gue", "gre"):
        check_whole(whole([pool(10 - version)], [service(kind)]))
        assert "hops of a chain are of one" in faults([pool(4, 6)], [service(kind)])["/services/0/pool"]
    else:
        wrong = faults([pool(10 - version)], [service(kind)])
        assert (
            f"IPv{version} backends only, and web1 of pool web is IPv{10 - version}"
            in wrong["/services/0/encapsulation"]
        )


def test_l2dsr_takes_any_backend() -> None:
    check_whole(whole([pool(4, 6)], [service("l2dsr", vips=[V4, V6])]))


def test_policy_glb_knows_no_ipv6_backends() -> None:
    assert "IPv4 backends only" in faults([pool(6)], [service("gue", policy="glb")])["/services/0/policy"]


# ---- what backends could not tell apart ----


def nat(name: str, port: int, **changed: Any) -> dict[str, Any]:
    return service("nat", **{"name": name, "ports": [port], "backend_port": None, **changed})


@pytest.mark.parametrize(
    ("second", "where"),
    [
        (nat("b", 81, backend_port=8080), "/services/1/backend_port"),
        (nat("b", 8080), "/services/1/ports"),
        (nat("b", 80, ports=["8000-9000"], vips=["203.0.113.11"]), "/services/1/ports"),
        (nat("b", 80, vips=["203.0.113.11"], pool="api", backend_port=8080), "/services/1/backend_port"),
        (nat("b", 8080, protocol="udp"), None),
        (nat("b", 81), None),
        (nat("b", 8080, vips=["203.0.113.11"], pool="far"), None),
    ],
)
def test_a_port_of_a_backend_belongs_to_one_nat_service(second: dict[str, Any], where: str | None) -> None:
    first = nat("a", 80, backend_port=8080)
    pools = [pool(4, 4), pool(4, 4, name="api", first=2), pool(4, name="far", first=9)]
    if where is None:
        check_whole(whole(pools, [first, second]))
        return
    wrong = faults(pools, [first, second])
    assert list(wrong) == [where]
    assert "8080 of the same backends already belongs to service a" in wrong[where]


def test_the_fault_is_the_writers() -> None:
    document = whole([pool(4)], [nat("a", 80), nat("b", 81), nat("c", 80, vips=["203.0.113.11"])])
    with pytest.raises(DocumentError) as caught:
        check_whole(document, {"a": ""})
    [error] = caught.value.errors
    assert error.pointer == "/ports"
    assert "belongs to service c" in error.detail


def test_many_nat_services_are_checked_at_once() -> None:
    """Those of one pool are sorted once, not for each backend."""
    services = [nat(f"s{n}", n + 1) for n in range(2000)]
    check_whole(whole([pool(*[4] * 200)], services))
    assert list(
        faults([pool(*[4] * 200)], [*services, nat("twice", 9, ports=[2000], vips=["203.0.113.11"])])
    ) == ["/services/2000/ports"]


def test_a_dscp_stands_for_one_vip_of_a_family() -> None:
    v6 = service("l3dsr", name="a", dscp=7)
    same = service("l3dsr", name="b", dscp=7, ports=[443])
    v4 = service("l3dsr", name="c", dscp=7, vips=[V4], pool="four")
    other = service("l3dsr", name="d", dscp=7, vips=["2001:db8::11"])
    pools = [pool(6), pool(4, name="four")]
    check_whole(whole(pools, [v6, same, v4]))
    assert faults(pools, [v6, same, v4, other]) == {
        "/services/3/dscp": "7 stands for 2001:db8::10 of service a on the same backends: "
        "give 2001:db8::11 another one"
    }


# ---- what the compiler says ----


def test_second_chance_is_said_to_be_off() -> None:
    services = [
        service("gue", name="a"),
        service("gre", name="b", ports=[81], pool="six"),
        service("ipip", name="c", ports=[82], hops=1),
        service("nat", name="d", ports=[83], flow_cache="on", hops=3),
    ]
    assert remarks(whole([pool(4), pool(6, name="six")], services)) == [
        "service b: second chance is off, since gre names no further hops: its 2 hops count as 1; "
        "flow_cache: on keeps flows at their backend",
        "service d: second chance is off, since nat names no further hops: its 3 hops count as 1",
    ]


def test_the_compile_command_says_it(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"pools": [pool(4)], "services": [service("ipip")]}))
    result = CliRunner().invoke(build(), ["compile", "-f", str(config), "-o", str(tmp_path / "out.glb")])
    assert result.exit_code == 0
    assert "glb: service www: second chance is off, since ipip names no further hops" in result.output


async def write(directory: Path, dry_run: bool, *services: dict[str, Any]) -> list[tuple[str, ...]]:
    """Apply services one after another; return each write's warnings."""
    with closing(Store(directory / "store.db")) as store:
        async with Controller(store, NativeCompiler(), []).run() as controller:
            documents = [whole([pool(4)], [given]) for given in services]
            return [(await controller.apply(given, dry_run=dry_run)).warnings for given in documents]


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_write_that_turns_second_chance_off_says_it_once(tmp_path: Path, dry_run: bool) -> None:
    first, again, other = asyncio.run(
        write(tmp_path, dry_run, service("ipip"), service("ipip", ports=[81]), service("gue"))
    )
    assert "second chance is off" in first[0]
    assert again == (first if dry_run else ())
    assert not any("second chance" in warning for warning in other)
