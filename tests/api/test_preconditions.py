"""If-Match and If-None-Match as headers are written in the wild."""

import pytest
from starlette.requests import Request

from api.preconditions import Precondition, precondition
from api.problems import Problem


def request(method: str, *headers: tuple[str, str]) -> Request:
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    return Request({"type": "http", "method": method, "headers": raw, "path": "/"})


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([("If-Match", '"12"')], Precondition(tags=frozenset({"12"}))),
        ([("If-Match", ' "12" , "13" ')], Precondition(tags=frozenset({"12", "13"}))),
        ([("If-Match", '"12"'), ("If-Match", '"13"')], Precondition(tags=frozenset({"12", "13"}))),
        ([("If-Match", 'W/"12"')], Precondition(tags=frozenset())),
        ([("If-Match", '"a,b"')], Precondition(tags=frozenset({"a,b"}))),
        ([("If-Match", " * ")], Precondition(exists=True)),
        ([("If-None-Match", "*")], Precondition(absent=True)),
        ([("If-None-Match", "*"), ("If-Match", '"1"')], Precondition(absent=True, tags=frozenset({"1"}))),
    ],
)
def test_headers_are_read(headers: list[tuple[str, str]], expected: Precondition) -> None:
    assert precondition(request("PUT", *headers)) == expected


@pytest.mark.parametrize(
    "headers",
    [
        [("If-Match", "12")],
        [("If-Match", "")],
        [("If-Match", '"12')],
        [("If-Match", '"12",')],
        [("If-Match", '"12" "13"')],
        [("If-Match", '"12", *')],
        [("If-None-Match", '"12"')],
    ],
)
def test_what_cannot_be_understood_is_said(headers: list[tuple[str, str]]) -> None:
    with pytest.raises(Problem) as caught:
        precondition(request("PUT", *headers))
    assert caught.value.kind == "bad-header"
    assert caught.value.errors[0].where == "header"


def test_a_write_without_either_is_refused() -> None:
    with pytest.raises(Problem) as caught:
        precondition(request("PUT"))
    assert caught.value.status == 428
    assert "If-None-Match: *" in caught.value.detail
    with pytest.raises(Problem) as caught:
        precondition(request("DELETE"))
    assert "If-None-Match" not in caught.value.detail


@pytest.mark.parametrize(
    ("wanted", "current", "holds"),
    [
        (Precondition(tags=frozenset({"12"})), "12", True),
        (Precondition(tags=frozenset({"12"})), "13", False),
        (Precondition(tags=frozenset({"12"})), None, False),
        (Precondition(tags=frozenset()), "12", False),
        (Precondition(exists=True), "12", True),
        (Precondition(exists=True), None, False),
        (Precondition(absent=True), None, True),
        (Precondition(absent=True), "12", False),
    ],
)
def test_holds(wanted: Precondition, current: str | None, holds: bool) -> None:
    assert wanted.holds(current) is holds
