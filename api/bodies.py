"""Request bodies: read within a limit, parsed strictly. What they say is checked by models (deps.py).

Not left to FastAPI, because it answers malformed JSON, a wrong content type and a wrong field all as 422,
reads without a limit, and takes the last of two equal keys.
"""

import json
from typing import Any

from fastapi import Request

from api.problems import Problem


async def read_json(request: Request) -> Any:
    """Return the body as JSON has it, or refuse with 400, 413 or 415."""
    check_media_type(request)
    return parse_json(await read_bytes(request, request.app.state.settings.max_body_bytes))


async def read_text(request: Request) -> bytes:
    """Return a source list's body, plain text, or refuse with 413 or 415."""
    given = request.headers.get("content-type", "")
    if given.split(";")[0].strip().lower() != "text/plain" or "content-encoding" in request.headers:
        detail = f"send Content-Type: text/plain and no Content-Encoding; this is {given or 'not said'}"
        raise Problem("unsupported-media-type", detail, headers={"Accept": "text/plain"})
    return await read_bytes(request, request.app.state.settings.max_list_bytes)


async def read_bytes(request: Request, limit: int) -> bytes:
    """Return the body, at most ``limit`` bytes of it, or refuse."""
    detail = f"at most {limit} bytes are taken"
    too_large = Problem("content-too-large", detail, headers={"Connection": "close"})
    length = request.headers.get("content-length", "")
    if length.isdigit() and (len(length) > 18 or int(length) > limit):
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise too_large
    return bytes(body)


def check_media_type(request: Request) -> None:
    given = request.headers.get("content-type", "")
    if given.split(";")[0].strip().lower() != "application/json" or "content-encoding" in request.headers:
        detail = f"send Content-Type: application/json and no Content-Encoding; this is {given or 'not said'}"
        raise Problem("unsupported-media-type", detail, headers={"Accept": "application/json"})


def parse_json(body: bytes) -> Any:
    """Return the value, or a malformed-json problem with the place. NaN and equal keys are refused."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise Problem("malformed-json", f'the key "{twice}" is given twice in one object')
        return found

    def no_constant(name: str) -> Any:
        raise Problem("malformed-json", f"{name} is not JSON")

    try:
        return json.loads(body.decode("utf-8"), object_pairs_hook=unique, parse_constant=no_constant)
    except json.JSONDecodeError as error:
        detail = f"{error.msg}: line {error.lineno}, column {error.colno}"
    except UnicodeDecodeError as error:
        detail = f"not UTF-8 at byte {error.start}"
    except RecursionError:
        detail = "nested too deeply"
    except ValueError:
        detail = "a number has too many digits"
    raise Problem("malformed-json", detail)
