"""Conditional writes (RFC 9110): If-Match for changes, If-None-Match: * for creation.

Only reads the headers. The controller compares, in the transaction that writes, so that no other
write comes between.
"""

import re
from dataclasses import dataclass

from fastapi import Request

from api.problems import Fault, Problem

ENTITY_TAG = re.compile(r'\s*(W/)?"([\x21\x23-\x7e\x80-\xff]*)"\s*')


@dataclass(frozen=True)
class Precondition:
    """What a write expects. ``tags`` are strong opaque tags without quotes; None = header not given."""

    absent: bool = False  # If-None-Match: *
    exists: bool = False  # If-Match: *
    tags: frozenset[str] | None = None

    def holds(self, current: str | None) -> bool:
        """Tell whether a resource with the tag ``current`` (None = there is none) is as expected."""
        if self.absent and current is not None:
            return False
        if self.exists and current is None:
            return False
        return self.tags is None or current in self.tags


def etag(tag: str | int) -> str:
    """Return the header's form of a resource's tag."""
    return f'"{tag}"'


def split_tags(value: str) -> frozenset[str]:
    """Return the strong tags of a list. Weak ones are left out: If-Match compares strongly."""
    tags, at = set(), 0
    while True:
        match = ENTITY_TAG.match(value, at)
        if match is None:
            raise bad("If-Match", 'give the ETag as the server sent it, in quotes: If-Match: "12"')
        if not match[1]:
            tags.add(match[2])
        at = match.end()
        if at == len(value):
            return frozenset(tags)
        if value[at] != ",":
            raise bad("If-Match", "separate the ETags with commas")
        at += 1


def joined(request: Request, header: str) -> str | None:
    """Return all lines of a list header as one, None when it is not there."""
    lines = request.headers.getlist(header)
    return ", ".join(lines) if lines else None


def bad(header: str, detail: str) -> Problem:
    return Problem("bad-header", f"{header}: {detail}", [Fault(f"/{header.lower()}", detail, "header")])


def precondition(request: Request) -> Precondition:
    """Dependency of every PUT and DELETE: what the request expects, or 428 when it does not say."""
    match, none_match = joined(request, "if-match"), joined(request, "if-none-match")
    if none_match is not None and none_match.strip() != "*":
        raise bad("If-None-Match", "a write takes only If-None-Match: *")
    if match is None and none_match is None:
        create = ", or If-None-Match: * to create it" if request.method == "PUT" else ""
        raise Problem(
            "precondition-required", f"send If-Match with the ETag of the resource as you read it{create}"
        )
    if match is None:
        return Precondition(absent=True)
    if match.strip() == "*":
        return Precondition(absent=none_match is not None, exists=True)
    return Precondition(absent=none_match is not None, tags=split_tags(match))
