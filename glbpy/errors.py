"""Every error that glbpy raises on purpose. The command line prints them; the API makes problems of them."""

from collections.abc import Sequence
from typing import NamedTuple


class GlbError(Exception):
    """Base of all. The message is for the operator, and names the fix where there is one."""

    exit_code = 1


class InvalidInputError(GlbError):
    """A document, file or argument is wrong. ``pointer`` is a JSON Pointer to the field, "" for the whole."""

    exit_code = 2

    def __init__(self, message: str, pointer: str = "") -> None:
        super().__init__(f"{pointer}: {message}" if pointer else message)
        self.detail = message
        self.pointer = pointer


class SnapshotError(GlbError):
    """A snapshot's bytes were refused: truncated, damaged, or of another format version."""


class ListsError(GlbError):
    """The bytes of a lists file were refused: truncated, damaged, or of another format version."""


class ForwarderError(GlbError):
    """The forwarder could not be reached, or refused a command. ``code`` is the protocol's error code."""

    def __init__(self, message: str, code: str = "unreachable") -> None:
        super().__init__(message)
        self.code = code


class AbiError(GlbError):
    """A library or program carries another ABI than this glbpy can talk to."""


class ApiError(GlbError):
    """The API could not be reached, or answered with a problem. ``kind`` is the last part of its type."""

    def __init__(self, message: str, kind: str = "unreachable", status: int = 0) -> None:
        super().__init__(message)
        self.kind = kind
        self.status = status
        self.exit_code = 2 if status in (400, 422) else 1


class FieldError(NamedTuple):
    """One wrong field: a JSON Pointer (RFC 6901) and what is wrong with it."""

    pointer: str
    detail: str


class DocumentError(InvalidInputError):
    """A configuration, or the state it would lead to, is wrong. ``errors`` has every wrong field."""

    def __init__(self, errors: Sequence[FieldError], source: str = "") -> None:
        text = "; ".join(f"{e.pointer}: {e.detail}" if e.pointer else e.detail for e in errors)
        super().__init__(f"{source}: {text}" if source else text)
        self.pointer = errors[0].pointer
        self.errors = tuple(errors)


class NotFoundError(GlbError):
    """No such service, pool, backend, director or revision. ``path`` says which: ``pools/web``."""

    def __init__(self, path: str) -> None:
        super().__init__(f"there is no {path}")
        self.path = path


class ConflictError(GlbError):
    """The request contradicts the current state: a pool that a service uses is to be deleted, for example."""


class StaleError(GlbError):
    """The resource is not in the version (ETag) that the writer has seen; ``current`` is None when absent."""

    def __init__(self, path: str, current: int | None) -> None:
        now = "it does not exist" if current is None else f"it is in version {current}"
        super().__init__(f"{path} is not in the version that you expect: {now}; read it again")
        self.path = path
        self.current = current


class StoreError(GlbError):
    """The store cannot be opened, read or written."""


class LabError(GlbError):
    """The lab could not be brought up, changed or found."""


class CompatError(InvalidInputError):
    """A file of GLB's is wrong, or cannot be represented. ``errors`` has every wrong field; the message
    names them by path, as in ``tables[0].binds[2].port_start``."""

    def __init__(self, errors: Sequence[FieldError], source: str = "") -> None:
        text = "; ".join(f"{path}: {e.detail}" if (path := _path(e.pointer)) else e.detail for e in errors)
        super().__init__(f"{source}: {text}" if source else text)
        self.pointer = errors[0].pointer
        self.errors = tuple(errors)


def _path(pointer: str) -> str:
    """Return a JSON Pointer in the form people write: ``tables[0].binds``."""
    steps = pointer.split("/")[1:]
    return "".join(f"[{step}]" if step.isdigit() else f".{step}" for step in steps).lstrip(".")
