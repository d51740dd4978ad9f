"""The C library's packet path, driven by the configurations that the oracle uses."""

from ipaddress import IPv4Address, IPv6Address, ip_address

from oracle.decide import Decision
from oracle.model import Config, Director
from oracle.rows import Backend

from glbpy import _native as native


def backend_input(backend: Backend, number: int) -> native.BackendInput:
    address = ip_address(backend.address)
    return native.BackendInput(f"b{number}", number, address, backend.state, backend.health, backend.weight)


def config_input(config: Config) -> native.ConfigInput:
    """Return a configuration for the compiler: one pool for each service, ids of backends counted through."""
    ids = iter(range(1, 1 << 20))
    pools = [
        native.PoolInput(service.name, [backend_input(backend, next(ids)) for backend in service.backends])
        for service in config.services
    ]
    words = {0: "any", 6: "tcp", 17: "udp"}
    services = [
        native.ServiceInput(
            name=service.name,
            id=service.id,
            pool=pool,
            hash_key=service.hash_key,
            seed=service.seed,
            binds=[
                native.BindInput(bind.prefix, words[bind.protocol], bind.first, bind.last)
                for bind in service.binds
            ],
            rows=service.rows,
            hops=service.hops,
            policy=service.policy,
            algorithm=service.algorithm,
            hash_fields=service.hash_fields,
            alt_hash_fields=service.alt_hash_fields,
            unmatched=service.unmatched,
            oversize=service.oversize,
            source_bits_v4=service.source_bits[0],
            source_bits_v6=service.source_bits[1],
            encapsulation=service.encapsulation,
            gre_key=service.gre_key,
            dscp=service.dscp,
            backend_port=service.backend_port,
            outer_dscp=service.outer_dscp,
            ecn=service.ecn,
        )
        for pool, service in enumerate(config.services)
    ]
    return native.ConfigInput(pools, services)


def path_of(config: Config, director: Director) -> native.PacketPath:
    compiled = native.Snapshot(native.compile_snapshot(config_input(config)))
    gateway = bytes.fromhex(director.gateway_mac.replace(":", ""))
    direct = any(service.encapsulation == "l2dsr" for service in config.services)
    return native.PacketPath(
        compiled,
        native.DirectorInput(
            outer_source_v4=IPv4Address(director.source_v4),
            local_mac=bytes.fromhex(director.local_mac.replace(":", "")),
            gateway_mac=gateway,
            outer_udp_checksum=director.checksum,
            icmp_echo="punt" if director.punt_echo else "forward",
            filter_mac=director.filter_mac,
            strict=director.strict,
            mtu=director.mtu,
            outer_source_v6=None if director.source_v6 == "::" else IPv6Address(director.source_v6),
            outer_prefix_v4=director.prefix(4),
            outer_prefix_v6=director.prefix(6),
            outer_udp_checksum_v6=director.checksum_v6,
            neighbours={backend.address: gateway for backend in compiled.backends} if direct else None,
        ),
    )


def as_decision(found: native.Decision) -> Decision:
    """Return what the C decided in the oracle's form."""
    return Decision(
        verdict=found.verdict,
        reason=found.reason,
        service=found.service.name if found.service else None,
        hash=None if found.hash is None else f"{found.hash:016x}",
        row=found.row,
        chain=[str(backend.address) for backend in found.chain],
        output=None if found.output is None else found.output.hex(),
        further=[frame.hex() for frame in found.further],
    )
