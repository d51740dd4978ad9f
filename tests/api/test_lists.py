"""Source lists over the API: prefixes as text, versions of their own, services that name them."""

import json
from pathlib import Path
from typing import Any

from glbpy import _native as native
from glbpy.forwarder import ForwarderStatus, ListsStatus, LoadedLists
from tests.api.harness import CREATE, DOCUMENT, SERVICE, Api, StandIn

TEXT = {"Content-Type": "text/plain"}
ANY = {"If-Match": "*"}


def put(api: Api, name: str, text: bytes, status: int = 200, how: dict[str, str] = ANY) -> Any:
    answer = api("PUT", f"/v1/lists/{name}", headers={**TEXT, **how}, content=text, status=status)
    return answer.json()


def change(api: Api, name: str, what: str, text: bytes, status: int = 200) -> Any:
    return api("POST", f"/v1/lists/{name}/{what}", headers=TEXT, content=text, status=status).json()


def prefixes(api: Api, name: str) -> str:
    return api("GET", f"/v1/lists/{name}/prefixes", status=200).text


def test_a_list_is_made_changed_and_deleted(api: Api) -> None:
    made = put(api, "bots", b"2001:db8::/32\n192.0.2.7 # one\n", 201, CREATE)
    assert (made["name"], made["prefixes"], made["difference"], made["changed"]) == ("bots", 2, 2, True)
    assert prefixes(api, "bots") == "192.0.2.7/32\n2001:db8::/32\n"
    put(api, "bots", b"", 412, CREATE)
    added = change(api, "bots", "add", b"10.0.0.0/8\n192.0.2.7\n")
    assert (added["prefixes"], added["difference"]) == (3, 1)
    assert added["version"] > made["version"]
    again = change(api, "bots", "add", b"10.0.0.0/8\n")
    assert (again["changed"], again["version"]) == (False, added["version"])
    put(api, "bots", b"::/0\n", 412, {"If-Match": f'"{made["version"]}"'})
    removed = change(api, "bots", "remove", b"10.0.0.0/9\n192.0.2.7/32\n")
    assert (removed["prefixes"], removed["difference"]) == (2, -1)
    assert prefixes(api, "bots") == "10.0.0.0/8\n2001:db8::/32\n"
    shown = api("GET", "/v1/lists/bots", status=200)
    assert shown.headers["ETag"] == f'"{removed["version"]}"'
    assert [item["name"] for item in api.get("/v1/lists")["items"]] == ["bots"]
    assert api.get("/v1/revisions")["items"] == []
    api("DELETE", "/v1/lists/bots", headers=ANY, status=200)
    api("GET", "/v1/lists/bots", status=404)
    change(api, "bots", "add", b"::/0\n", 404)


def test_what_is_wrong_is_said(api: Api) -> None:
    wrong = put(api, "bots", b"10.0.0.0/8\n10.0.0.1/24\n", 422, CREATE)
    assert wrong["detail"] == "line 2: 10.0.0.1/24 has host bits set; write 10.0.0.0/24"
    put(api, "Bots!", b"", 422, CREATE)
    api("PUT", "/v1/lists/bots", {"prefixes": []}, CREATE, status=415)
    api("PUT", "/v1/lists/bots", headers=TEXT, content=b"", status=428)
    assert api.get("/v1/lists")["items"] == []


def test_services_name_lists(api: Api) -> None:
    service = {"name": "www", **SERVICE, "block": "bots"}
    missing = api("POST", "/v1/apply", {**DOCUMENT, "services": [service]}, status=422).json()
    assert missing["errors"][0]["pointer"] == "/services/0/block"
    assert "glb list put bots FILE" in missing["errors"][0]["detail"]
    put(api, "bots", b"192.0.2.7\n", 201, CREATE)
    api("POST", "/v1/apply", {**DOCUMENT, "services": [service]}, status=200)
    assert api.get("/v1/lists/bots")["status"]["used_by"] == ["www"]
    used = api("DELETE", "/v1/lists/bots", headers=ANY, status=409).json()
    assert used["detail"] == "list bots is used by service www; change or delete that first"
    api.apply(DOCUMENT)
    api("DELETE", "/v1/lists/bots", headers=ANY, status=200)
    back = api("POST", "/v1/revisions/1/rollback", status=422).json()
    assert "there is no list bots" in json.dumps(back)


def test_directors_get_them_apart_from_snapshots(api: Api) -> None:
    """A stand-in that takes lists: it is given each change, and no snapshot for it."""
    seen: list[native.Lists] = []
    plain = StandIn.status

    def lists() -> ListsStatus:
        newest = seen[-1] if seen else None
        return ListsStatus(
            generation=len(seen), digest=newest.digest if newest else None,
            count=len(newest.prefixes) if newest else 0,
            prefixes=sum(newest.prefixes.values()) if newest else 0, path=None,
        )  # fmt: skip

    def load_lists(path: Any) -> LoadedLists:
        seen.append(native.Lists(Path(path).read_bytes()))
        return LoadedLists(load_us=1, switch_us=1, kept=True, lists=lists())

    def status() -> ForwarderStatus:
        return plain(api.forwarder).model_copy(update={"lists": lists()})

    api.forwarder.load_lists = load_lists  # type: ignore[attr-defined]
    api.forwarder.status = status  # type: ignore[method-assign]
    api.apply()
    api.wait(lambda: api.controller.director_status("director1").in_force)
    loads = api.forwarder.generation
    put(api, "bots", b"192.0.2.7\n", 201, CREATE)
    api.wait(lambda: api.controller.lists_in_force())
    assert seen[-1].prefixes == {"bots": 1}
    change(api, "bots", "add", b"10.0.0.0/8\n")
    api.wait(lambda: api.controller.lists_in_force())
    assert seen[-1].prefixes == {"bots": 2}
    assert api.forwarder.generation == loads
    director = api.get("/v1/directors/director1")["status"]["lists"]
    assert (director["prefixes"], director["in_force"]) == (2, True)
    api("DELETE", "/v1/lists/bots", headers=ANY, status=200)
    api.wait(lambda: api.controller.lists_in_force())
    assert seen[-1].prefixes == {}
