"""Bearer tokens of the API: made here, kept as hashes in a file, compared in constant time."""

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from pathlib import Path

from glbpy.errors import InvalidInputError


class Tokens:
    """The SHA-256 hashes of the tokens that are accepted, and whose they are.

    Tokens are random, so a plain hash is enough.
    """

    def __init__(self, owners: Mapping[bytes, str]) -> None:
        self.owners = dict(owners)

    @classmethod
    def load(cls, path: Path) -> "Tokens":
        """Read a file of lines ``sha256:<64 hex digits> [who]``; empty lines and # comments are skipped."""
        owners = {}
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInputError(f"cannot read the token file {path}: {error}") from None
        for number, line in enumerate(lines, 1):
            text = line.split("#")[0].strip()
            if not text:
                continue
            entry, _, who = text.partition(" ")
            kind, _, digest = entry.partition(":")
            try:
                value = bytes.fromhex(digest)
            except ValueError:
                value = b""
            if kind != "sha256" or len(value) != 32:
                raise InvalidInputError(
                    f"{path}:{number}: not 'sha256:<64 hex digits>'; `glb token` prints such a line"
                )
            owners[value] = who.strip() or "token"
        if not owners:
            raise InvalidInputError(f"{path} holds no token; `glb token` makes one")
        return cls(owners)

    def owner(self, token: str) -> str | None:
        """Return whose token this is, None when it is nobody's."""
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        # Compares with every hash, so that time tells nothing about which one is near.
        found = [who for known, who in self.owners.items() if hmac.compare_digest(digest, known)]
        return found[0] if found else None


def new_token(who: str) -> tuple[str, str]:
    """Return a fresh token and its line for the token file."""
    token = secrets.token_urlsafe(32)
    return token, f"sha256:{hashlib.sha256(token.encode()).hexdigest()} {who}".rstrip()
