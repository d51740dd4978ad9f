"""QUIC-LB (draft-ietf-quic-load-balancers-21): keys and server ids, for directors and for servers.

A server id is the backend's stable id, put through a permutation that the cluster secret, the service and the
configuration choose. So it needs no store of its own, is never another backend's, and two configurations
have different ones: who reads those of a plaintext configuration learns nothing of an encrypted one's.
"""

import hmac
from collections.abc import Iterator

from pydantic import Field

from glbpy import encapsulation, keys
from glbpy.desired import Desired, backend_path
from glbpy.errors import InvalidInputError
from glbpy.models import Document, Hex16, Model, QuicConfiguration, Service

DRAFT = "draft-ietf-quic-load-balancers-21"
ROUNDS = 8


class ServerConfiguration(Model):
    """What a server needs to make connection ids that directors find it by."""

    service: str
    vips: tuple[str, ...]
    ports: tuple[int | str, ...]
    config_id: int = Field(description="The first three bits of a connection id.")
    issue: bool = Field(description="New connection ids are to be of this configuration, and of no other.")
    server_id: str = Field(description="Hex digits, server_id_length bytes.")
    server_id_length: int
    nonce_length: int
    connection_id_length: int = Field(description="Server id, nonce, and one byte in front.")
    encrypted: bool
    key: Hex16 | None = Field(description="Of AES-128; null: server id and nonce are in the clear.")


def key(secret: bytes, service: str, configuration: QuicConfiguration) -> bytes | None:
    """Return the 16-byte key of a configuration, or None for one in the clear."""
    if not configuration.encrypted:
        return None
    if configuration.key is not None:
        return bytes.fromhex(configuration.key)
    return keys.quic_key(secret, service, configuration.config_id)


def allocate(permutation: bytes, number: int, length: int) -> bytes:
    """Return the server id of ``length`` bytes for a stable id: a permutation of all such numbers.

    A balanced Feistel network. Raises InvalidInputError when the number does not fit.
    """
    if number >= 1 << 8 * length:
        raise InvalidInputError(
            f"backend id {number} does not fit into a server id of {length} bytes: "
            "give the configuration a larger server_id_length, or server_ids"
        )
    bits = 4 * length
    left, right = number >> bits, number & ((1 << bits) - 1)
    for turn in range(ROUNDS):
        message = bytes([turn, length]) + right.to_bytes(length)
        mixed = int.from_bytes(hmac.digest(permutation, message, "sha256")) & ((1 << bits) - 1)
        left, right = right, left ^ mixed
    return (left << bits | right).to_bytes(length)


def server_ids(
    state: Desired, secret: bytes, service: Service, configuration: QuicConfiguration
) -> dict[str, bytes]:
    """Return the server ids of a configuration by backend of the service's pool.

    Explicit ones, where there are any, are all. Raises InvalidInputError.
    """
    names = [backend.name for backend in state.pool(service.pool).backends]
    if configuration.server_ids is not None:
        given = configuration.server_ids
        return {name: bytes.fromhex(given[name]) for name in names if name in given}
    permutation = keys.quic_permutation(secret, service.name, configuration.config_id)
    return {
        name: allocate(
            permutation, state.ids[backend_path(service.pool, name)], configuration.server_id_length
        )
        for name in names
    }


def of_backend(state: Desired, secret: bytes, pool: str, backend: str) -> list[ServerConfiguration]:
    """Return what a backend's QUIC servers need, service by service. Raises NotFoundError."""
    state.backend(pool, backend)
    found = []
    for service in state.document.services:
        if service.quic is None or service.pool != pool:
            continue
        for configuration in service.quic.configurations:
            server_id = server_ids(state, secret, service, configuration).get(backend)
            if server_id is None:
                continue
            its_key = key(secret, service.name, configuration)
            found.append(
                ServerConfiguration(
                    service=service.name,
                    vips=service.vips,
                    ports=service.ports,
                    config_id=configuration.config_id,
                    issue=configuration.config_id == service.quic.issue,
                    server_id=server_id.hex(),
                    server_id_length=configuration.server_id_length,
                    nonce_length=configuration.nonce_length,
                    connection_id_length=1 + configuration.server_id_length + configuration.nonce_length,
                    encrypted=configuration.encrypted,
                    key=its_key.hex() if its_key else None,
                )
            )
    return found


def remarks(document: Document) -> list[str]:
    """Return what the compiler says of services that work less well than they look, whatever the reason."""
    return [*encapsulation.remarks(document), *_unlisted(document)]


def _unlisted(document: Document) -> Iterator[str]:
    """Yield where backends have no server id."""
    for service in document.services:
        pool = document.pool(service.pool)
        for configuration in service.quic.configurations if service.quic and pool else ():
            given = configuration.server_ids
            names = [backend.name for backend in pool.backends] if pool else []
            missing = [name for name in names if given is not None and name not in given]
            if missing:
                yield (
                    f"service {service.name}: {', '.join(missing)} of pool {service.pool} have no server id "
                    f"in configuration {configuration.config_id}: connections go by address and port"
                )
