"""Token files, and which requests a browser may not make."""

from pathlib import Path

import pytest
from starlette.requests import Request

from api.auth import Guard
from glbpy.errors import InvalidInputError
from glbpy.tokens import Tokens, new_token


async def nothing(scope: object, receive: object, send: object) -> None:
    raise AssertionError("not called")


def status(guard: Guard, path: str = "/v1/pools", **headers: str) -> int:
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    problem = guard.refusal(Request({"type": "http", "method": "GET", "headers": raw, "path": path}))
    return problem.status if problem else 200


def test_a_new_token_is_accepted_and_no_other(tmp_path: Path) -> None:
    token, line = new_token("alice")
    other, other_line = new_token("bob")
    file = tmp_path / "tokens"
    file.write_text(f"# who may\n\n{line}\n{other_line} # until May\n")
    tokens = Tokens.load(file)
    assert token not in file.read_text()
    assert tokens.owner(token) == "alice"
    assert tokens.owner(other) == "bob"
    assert tokens.owner(token + "x") is None
    assert tokens.owner("") is None
    guard = Guard(nothing, tokens)
    assert status(guard, Authorization=f"Bearer {token}") == 200
    assert status(guard, Authorization=f"bearer  {token}") == 200
    assert status(guard, Authorization=f"Basic {token}") == 401
    assert status(guard, Authorization="Bearer \xff") == 401
    assert status(guard, Authorization="Bearer") == 401
    assert status(guard) == 401
    assert status(guard, path="/healthz") == 200
    assert status(guard, path="/healthz/") == 401
    # With a token, a name is fine: no web page knows the token.
    assert status(guard, Host="glb.example.com", Authorization=f"Bearer {token}") == 200


BAD_FILES = ["", "# nobody\n", "secret\n", "sha256:abcd\n", "md5:" + "a" * 64, "sha256:" + "g" * 64]


@pytest.mark.parametrize("text", BAD_FILES)
def test_a_bad_token_file_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "tokens"
    file.write_text(text)
    with pytest.raises(InvalidInputError, match="glb token"):
        Tokens.load(file)
    with pytest.raises(InvalidInputError, match="cannot read"):
        Tokens.load(tmp_path / "missing")


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Host": "127.0.0.1:8420"}, 200),
        ({"Host": "[::1]:8420"}, 200),
        ({"Host": "localhost:8420"}, 200),
        ({"Host": "127.0.0.1:8420", "Origin": "http://127.0.0.1:8420"}, 200),
        ({"Host": "127.0.0.1:8420", "Origin": "http://evil.example"}, 403),
        ({"Host": "127.0.0.1:8420", "Origin": "null"}, 403),
        ({"Host": "127.0.0.1:8420", "Origin": "http://["}, 403),
        ({"Host": "evil.example:8420"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Host": "[::1"}, 403),
        ({}, 403),
    ],
)
def test_without_tokens_foreign_pages_stay_out(headers: dict[str, str], expected: int) -> None:
    assert status(Guard(nothing, None), **headers) == expected
