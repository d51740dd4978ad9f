"""Every error that glbpy raises on purpose. The command line prints them; the API makes problems of them."""


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
