"""What the API is told when it is made. Where it listens is the server's business (glbpy/cli/serve.py)."""

from dataclasses import dataclass

from glbpy.tokens import Tokens


@dataclass(frozen=True)
class Settings:
    tokens: Tokens | None = None  # None: no token is asked for; only right on a loopback address
    max_body_bytes: int = 4 << 20  # a document with some 20 000 backends
    max_list_bytes: int = 64 << 20  # some three million prefixes
