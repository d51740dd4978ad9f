"""Source lists as the store has them, and the file that directors get. They are no part of a revision.

A list is a name and the text of its prefixes, in the one form that libglb writes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import Field

from glbpy import _native
from glbpy.models import Model

Change = Literal["put", "add", "remove"]


class ListInfo(Model):
    """A source list without its prefixes."""

    name: str
    version: int = Field(description="Grows with every change of any list. The ETag, without quotes.")
    prefixes: int = Field(description="Distinct ones.")
    updated_at: datetime
    actor: str = Field(description="Whose token it was, or api.")


@dataclass(frozen=True)
class ListWritten:
    """A write's outcome. ``before`` is None when the list was made."""

    before: ListInfo | None
    after: ListInfo

    @property
    def changed(self) -> bool:
        return self.before is None or self.before.version != self.after.version


@dataclass(frozen=True)
class ListsFile:
    """Compiled bytes of all lists, with what identifies them."""

    digest: str  # hex, as the forwarder reports it
    data: bytes
    count: int


def changed_text(change: Change, before: bytes, given: bytes) -> tuple[bytes, int]:
    """Return a list's text after a change, and how many prefixes it has. Both texts are tidy already."""
    if change == "put":
        return given, given.count(b"\n")
    if change == "add":
        return _native.tidy_prefixes(before + given)
    gone = set(given.splitlines())
    kept = [line for line in before.splitlines() if line not in gone]
    return b"".join(line + b"\n" for line in kept), len(kept)


def compile_file(texts: Mapping[str, bytes]) -> ListsFile:
    """Return the file of these lists. Raises InvalidInputError."""
    data = _native.compile_lists(texts)
    return ListsFile(_native.Lists(data).digest, data, len(texts))
