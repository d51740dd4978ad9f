"""Limits of services: what a document may say, and what becomes of it in a snapshot."""

from typing import Any

import pytest

from glbpy import _native as native
from glbpy.compiler import configuration, offline
from glbpy.errors import DocumentError
from glbpy.models import LIMIT_MAX, Document, parse


def document(limits: dict[str, Any] | None, **service: Any) -> Document:
    www = {
        "name": "www",
        "vips": ["203.0.113.10"],
        "protocol": "tcp",
        "ports": [80],
        "pool": "web",
        **service,
    }
    if limits is not None:
        www["limits"] = limits
    pools = [{"name": "web", "backends": [{"name": "web1", "address": "10.0.0.11"}]}]
    return parse(Document, {"pools": pools, "services": [www]})


def protection(limits: dict[str, Any] | None, **service: Any) -> native.ProtectionInput | None:
    state, secret = offline(document(limits, **service))
    data = native.compile_snapshot(configuration(state, secret, {}))
    return native.Snapshot(data).services[0].protection


def test_limits_come_out_of_the_compiler() -> None:
    assert LIMIT_MAX == native.LIMIT_MAX
    assert protection(None) is None
    assert protection({"packets_per_second": 5000}) == native.ProtectionInput(5000, 500)
    assert protection({"packets_per_second": 5, "packets_burst": 7}) == native.ProtectionInput(5, 7)
    assert protection({"new_flows_per_second": 100}) == native.ProtectionInput(0, 0, 100, 32)
    both = {"packets_per_second": LIMIT_MAX, "new_flows_per_second": 1, "new_flows_burst": 2}
    assert protection(both) == native.ProtectionInput(LIMIT_MAX, LIMIT_MAX // 10, 1, 2)
    udp = {"protocol": "udp", "flow_cache": "on"}
    assert protection({"new_flows_per_second": 100}, **udp) == native.ProtectionInput(0, 0, 100, 32)


@pytest.mark.parametrize(
    ("limits", "service", "pointer", "text"),
    [
        ({}, {}, "/services/0/limits", "limits nothing"),
        ({"packets_burst": 5}, {}, "/services/0/limits/packets_burst", "needs packets_per_second"),
        (
            {"packets_per_second": 0},
            {},
            "/services/0/limits/packets_per_second",
            "greater than or equal to 1",
        ),
        ({"packets_per_second": LIMIT_MAX + 1}, {}, "/services/0/limits/packets_per_second", "less than"),
        ({"packets": 1}, {}, "/services/0/limits/packets", "no such field"),
        (
            {"new_flows_per_second": 5},
            {"protocol": "udp"},
            "/services/0/limits/new_flows_per_second",
            "flow_cache only: switch that on",
        ),
    ],
)
def test_what_is_wrong_is_named(
    limits: dict[str, Any], service: dict[str, Any], pointer: str, text: str
) -> None:
    with pytest.raises(DocumentError) as caught:
        document(limits, **service)
    assert any(e.pointer == pointer and text in e.detail for e in caught.value.errors), caught.value
