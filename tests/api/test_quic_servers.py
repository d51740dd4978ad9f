"""What the API says to a backend's QUIC servers, and what of QUIC-LB it refuses."""

from typing import Any

from glbpy.quic import DRAFT
from tests.api.harness import DOCUMENT, SERVICE, Api

H3 = {**SERVICE, "name": "h3", "protocol": "udp", "ports": [443]}


def apply(api: Api, quic: Any, status: int = 200) -> Any:
    body = {**DOCUMENT, "services": [*DOCUMENT["services"], {**H3, "quic": quic}]}
    return api("POST", "/v1/apply", body, status=status).json()


def told(api: Api, backend: str) -> Any:
    return api.get(f"/v1/pools/web/backends/{backend}/quic")


def test_each_backend_has_ids_of_its_own(api: Api) -> None:
    longer = {"config_id": 4, "server_id_length": 6, "nonce_length": 6}
    apply(api, {"configurations": [{"config_id": 0}, longer]})
    first, second = told(api, "web1"), told(api, "web2")
    assert (first["pool"], first["backend"], first["draft"]) == ("web", "web1", DRAFT)
    assert [(c["service"], c["config_id"], c["issue"]) for c in first["configurations"]] == [
        ("h3", 0, True), ("h3", 4, False),
    ]  # fmt: skip
    for one, other in zip(first["configurations"], second["configurations"], strict=True):
        assert len(one["server_id"]) == len(other["server_id"]) == 2 * one["server_id_length"]
        assert one["server_id"] != other["server_id"]
        assert one["key"] == other["key"]
        assert one["connection_id_length"] == 1 + one["server_id_length"] + one["nonce_length"]
    assert first["configurations"][0]["key"] != first["configurations"][1]["key"]


def test_ids_are_stable(api: Api) -> None:
    apply(api, True)
    before = told(api, "web1")["configurations"]
    api("POST", "/v1/pools/web/backends/web1/drain", status=200)
    api("PUT", "/v1/pools/web/backends/web0", {"address": "10.0.0.10"}, {"If-None-Match": "*"}, status=201)
    apply(api, {"configurations": [{"config_id": 0}, {"config_id": 1}]})
    assert told(api, "web1")["configurations"][0] == before[0]


def test_without_quic_there_are_none(api: Api) -> None:
    api.apply()
    assert told(api, "web1")["configurations"] == []
    api("GET", "/v1/pools/web/backends/nobody/quic", status=404)
    api("GET", "/v1/pools/none/backends/web1/quic", status=404)


def test_other_lengths_are_refused(api: Api) -> None:
    wrong = {"config_id": 0, "server_id_length": 9, "nonce_length": 11}
    answer = apply(api, {"configurations": [wrong]}, 422)
    assert [error["pointer"] for error in answer["errors"]] == [
        "/services/1/quic/configurations/0/nonce_length"
    ]
    assert "at most 10 with a server id of 9" in answer["detail"]
