"""Keys of tables and services, derived from the cluster secret. Another rule would rehash everything."""

import hashlib
import hmac
import secrets

OFFLINE_SECRET = bytes(16)  # what offline tools use when a document has none


def row_seed(secret: bytes, pool: str) -> bytes:
    """Return the 16-byte seed of the row tables of ``pool``."""
    return _derive(secret, "rows:" + pool)


def flow_key(secret: bytes, service: str) -> bytes:
    """Return the 16-byte flow-hash key of ``service``."""
    return _derive(secret, "flow:" + service)


def quic_key(secret: bytes, service: str, config_id: int) -> bytes:
    """Return the 16-byte key of a service's QUIC-LB configuration."""
    return _derive(secret, f"quic:{service}:{config_id}")


def quic_permutation(secret: bytes, service: str, config_id: int) -> bytes:
    """Return the 16-byte key of the permutation that gives the configuration's server ids."""
    return _derive(secret, f"quic-servers:{service}:{config_id}")


def new_secret() -> bytes:
    return secrets.token_bytes(32)


def _derive(secret: bytes, label: str) -> bytes:
    return hmac.digest(secret, label.encode(), hashlib.sha256)[:16]
