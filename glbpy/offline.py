"""What offline tools run a packet through: a snapshot, and what a director's own configuration adds to it.

From GLB's two files, or from a document as `glb apply` takes it and a director's TOML file. Of the latter
only what decides about packets is read: ports, lcores, MTU and MAC filter have no meaning here, and next hops
of the kernel are not known, so that all goes to one gateway, but for neighbours that are named.
"""

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from glbpy import _native as native
from glbpy import compat, document
from glbpy.compiler import configuration, offline_health
from glbpy.compiler import offline as standalone
from glbpy.errors import DocumentError, FieldError, InvalidInputError
from glbpy.models import Document, lists_of


def parse_mac(value: Any) -> bytes:
    """Return the six bytes of a MAC like 02:00:00:00:00:01. Raises ValueError."""
    groups = value.split(":") if isinstance(value, str) else ()
    if len(groups) != 6 or not all(len(group) == 2 for group in groups):
        raise ValueError(f"{value!r} is not a MAC address like 02:00:00:00:00:01")
    return bytes.fromhex("".join(groups))


GATEWAY_MAC = bytes.fromhex("020000000001")
RATE_MAX = 10_000_000  # the forwarder's largest
Mac = Annotated[bytes, BeforeValidator(parse_mac)]
Checksum = Literal["zero", "computed"]


class Forward(BaseModel):
    """Of a director's [forward]: what changes what it does with a packet. The defaults are the forwarder's.

    Where a file leaves MACs to the port and the kernel, they are made up.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    outer_source_v4: IPv4Address | None = None
    outer_source_v6: IPv6Address | None = None
    outer_source_prefix_v4: IPv4Network | None = None
    outer_source_prefix_v6: IPv6Network | None = None
    gateway_mac: Mac | None = None
    local_mac: Mac = bytes.fromhex("020000000002")
    outer_udp_checksum: Checksum = "zero"
    outer_udp_checksum_v6: Checksum = "computed"
    icmp_echo: Literal["forward", "punt", "answer"] = "forward"
    strict: bool = False

    def director(
        self, neighbours: Mapping[IPv4Address | IPv6Address, bytes] | None = None, mtu: int = 0
    ) -> native.DirectorInput:
        """As the packet path takes it; ``neighbours`` are MACs of backends on the director's own link.

        All others are behind the gateway. Without a gateway_mac the director has next hops of its own.
        """
        if neighbours is None and self.gateway_mac is None:
            neighbours = {}
        return native.DirectorInput(
            outer_source_v4=self.outer_source_v4,
            outer_source_v6=self.outer_source_v6,
            outer_prefix_v4=self.outer_source_prefix_v4,
            outer_prefix_v6=self.outer_source_prefix_v6,
            outer_udp_checksum=self.outer_udp_checksum,
            outer_udp_checksum_v6=self.outer_udp_checksum_v6,
            local_mac=self.local_mac,
            gateway_mac=self.gateway_mac or GATEWAY_MAC,
            icmp_echo=self.icmp_echo,
            strict=self.strict,
            mtu=mtu,
            neighbours=neighbours,
        )

    def toml(self, mtu: int = 0) -> str:
        """The lines of a [forward] table that says the same, without MAC filter and limits of rates."""
        whole = self.model_copy(update={"gateway_mac": self.gateway_mac or GATEWAY_MAC})
        given = {
            key: value.hex(":") if isinstance(value, bytes) else value if value is True else str(value)
            for key, value in whole
            if value is not None and value is not False
        }
        lines = [f"{key} = {json.dumps(value)}" for key, value in given.items()]  # JSON strings are TOML
        rates = [f"{key} = {RATE_MAX}" for key in ("icmp_echo_rate", "reject_rate", "oversize_rate")]
        return "\n".join(["[forward]", *lines, *rates, "filter_mac = false", f"mtu = {mtu}", ""])


EXAMPLE = Forward(outer_source_v4=IPv4Address("10.0.0.2"), outer_source_v6=IPv6Address("2001:db8::2"))


@dataclass(frozen=True, slots=True)
class Case:
    """A compiled snapshot, and a director. ``mtu`` is its egress MTU in bytes of IP; 0 is none.

    ``lists`` are the bytes of a lists file.
    """

    snapshot: bytes
    forward: Forward
    mtu: int = 0
    lists: bytes = field(default_factory=lambda: native.compile_lists({}))

    def path(
        self, neighbours: Mapping[IPv4Address | IPv6Address, bytes] | None = None
    ) -> native.PacketPath:
        """Raises InvalidInputError when the snapshot needs what the director does not have."""
        director = self.forward.director(neighbours, self.mtu)
        return native.PacketPath(native.Snapshot(self.snapshot), director, native.Lists(self.lists))


def from_glb(
    table: Path,
    director: Path,
    policy: str,
    outer_udp_checksum: str,
    *,
    mtu: int = 0,
    oversize: str | None = None,
) -> Case:
    """Return what GLB's forwarding_table.json and director.conf describe. Raises CompatError."""
    settings = compat.load_director(director)
    snapshot = compat.compile_snapshot(compat.load_table(table), settings, policy, oversize)
    forward = {
        "outer_source_v4": settings.outbound_src_ip,
        "gateway_mac": settings.outbound_gateway_mac.hex(":"),
        "local_mac": settings.local_mac.hex(":"),
        "outer_udp_checksum": outer_udp_checksum,
        "icmp_echo": "forward" if settings.forward_icmp_ping_responses else "punt",
    }
    return Case(snapshot, Forward.model_validate(forward), mtu)


def from_document(
    file: str,
    director: Path | None,
    unhealthy: Sequence[str] = (),
    *,
    mtu: int = 0,
    oversize: str | None = None,
    lists: Sequence[str] = (),
) -> Case:
    """Return what a document describes, for a director with this TOML file; None: the example's addresses.

    ``file`` may be -, standard input; ``unhealthy`` are POOL/BACKEND. Raises InvalidInputError.
    """
    state, secret = standalone(document.read(file))
    made = configuration(state, secret, offline_health(state, unhealthy)).with_oversize(oversize)
    forward = read_forward(director) if director else EXAMPLE
    return Case(native.compile_snapshot(made), forward, mtu, compile_lists(lists, state.document))


def compile_lists(given: Sequence[str], needed: Document | None = None) -> bytes:
    """Return a lists file of what NAME=FILE say. Raises InvalidInputError, also where ``needed`` has more."""
    texts = {}
    for text in given:
        name, _, path = text.partition("=")
        if not name or not path or name in texts:
            raise InvalidInputError(f"--list {text}: write NAME=FILE, each name once")
        try:
            texts[name] = Path(path).read_bytes()
            native.tidy_prefixes(texts[name])
        except OSError as error:
            raise InvalidInputError(f"--list {text}: {error.strerror}") from error
        except InvalidInputError as error:
            raise InvalidInputError(f"{path}: {error.detail}") from error
    for service in needed.services if needed else ():
        for name in lists_of(service).values():
            if name not in texts:
                text = f"service {service.name} wants the list {name}: give --list {name}=FILE"
                raise InvalidInputError(text)
    return native.compile_lists(texts)


def read_forward(path: Path) -> Forward:
    """Read the [forward] of a director's TOML file. Raises InvalidInputError with every wrong field."""
    try:
        found = tomllib.loads(path.read_text())
    except OSError as error:
        raise InvalidInputError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path}: is not TOML: {error}") from error
    try:
        return Forward.model_validate(found.get("forward", {}))
    except ValidationError as error:
        wrong = [
            FieldError("/forward" + "".join(f"/{key}" for key in fault["loc"]), fault["msg"])
            for fault in error.errors()
        ]
        raise DocumentError(wrong, str(path)) from error


def parse_neighbours(given: Sequence[str]) -> dict[IPv4Address | IPv6Address, bytes] | None:
    """Return the MACs that ADDRESS=MAC say; None where there are none. Raises InvalidInputError."""
    found = {}
    for text in given:
        address, _, mac = text.partition("=")
        try:
            found[ip_address(address)] = parse_mac(mac)
        except ValueError as error:
            raise InvalidInputError(f"--neighbour {text}: {error}; write ADDRESS=MAC") from None
    return found or None


def open_case(
    file: str | None,
    table: Path | None,
    director: Path | None,
    unhealthy: Sequence[str] = (),
    policy: str | None = None,
    outer_udp_checksum: str | None = None,
    *,
    mtu: int = 0,
    oversize: str | None = None,
    lists: Sequence[str] = (),
) -> Case:
    """Return the case that a command's options name: -f, or --table. Raises InvalidInputError.

    ``oversize`` takes the place of all services' own.
    """
    if (file is None) == (table is None):
        raise InvalidInputError("give -f, a document as for `glb apply`, or --table, GLB's file")
    if table is not None:
        if director is None:
            raise InvalidInputError("--table needs --director, GLB's director.conf with local_mac")
        if unhealthy:
            raise InvalidInputError("--unhealthy is for -f: GLB's file says which backends are healthy")
        if lists:
            raise InvalidInputError("--list is for -f: GLB's services have no source lists")
        return from_glb(
            table, director, policy or "glb", outer_udp_checksum or "zero", mtu=mtu, oversize=oversize
        )
    assert file is not None
    if policy is not None:
        raise InvalidInputError("--policy is for --table: a document's services have their own")
    if outer_udp_checksum is not None:
        raise InvalidInputError("--outer-udp-checksum is for --table: set it in --director's [forward]")
    return from_document(file, director, unhealthy, mtu=mtu, oversize=oversize, lists=lists)
