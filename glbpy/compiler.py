"""The table compiler as the controller has it: desired state and health in, snapshot out, by libglb.

A pure function of its arguments: equal ones give equal bytes on every director.
"""

import ipaddress
from collections.abc import Mapping, Sequence

from glbpy import _native, keys, quic, settling
from glbpy._native import (
    AltInput,
    BackendInput,
    BindInput,
    ConfigInput,
    PoolInput,
    PriorInput,
    ProtectionInput,
    QuicInput,
    ServiceInput,
)
from glbpy.desired import Desired, backend_path, service_path
from glbpy.errors import InvalidInputError
from glbpy.models import (
    Document,
    Health,
    Limits,
    Pool,
    Service,
    State,
    burst_of,
    check_whole,
    lists_of,
    parse_range,
)
from glbpy.prior import Member, Prior
from glbpy.snapshot import Snapshot
from glbpy.status import Leaver


class NativeCompiler:
    """Compiles with libglb. Keeps the row tables of the last compilation, which save work; any thread."""

    def __init__(self) -> None:
        self._tables = _native.TableCache()

    def compile(self, state: Desired, secret: bytes, health: Mapping[int, Health]) -> Snapshot:
        """Return the snapshot of ``state`` with the backends' ``health`` by id. Raises InvalidInputError."""
        return self.open(_native.compile_snapshot(configuration(state, secret, health), cache=self._tables))

    def open(self, data: bytes) -> Snapshot:
        """Validate bytes as a director would. Raises SnapshotError."""
        opened = _native.Snapshot(data)
        return Snapshot(opened.revision, opened.digest, data)

    def leavers(self, before: Snapshot, after: Snapshot) -> Sequence[Leaver]:
        """Return which backends leave chains, by the names that they have in ``before``: POOL/BACKEND."""
        old = _native.Snapshot(before.data)
        found = _native.leavers(old, _native.Snapshot(after.data))
        if not found:
            return ()
        services = {service.id: service.name for service in old.services}
        backends = {
            backend.id: f"{table.pool}/{backend.name}"
            for table in old.tables
            for backend in old.backends[table.backend_base : table.backend_base + table.backend_count]
        }
        return [
            Leaver(service=services[x.service], backend=backends[x.backend], rows=x.rows, first=x.first)
            for x in found
        ]


def configuration(state: Desired, secret: bytes, health: Mapping[int, Health]) -> ConfigInput:
    """Return what libglb compiles. A backend without an entry in ``health`` is unknown."""
    document = state.document
    gone = settling.settling_members(state)
    present = {pool.name for pool in document.pools}
    every = [*document.pools, *(Pool(name=name) for name in sorted(gone.keys() - present))]
    pools = [_pool(state, pool, gone.get(pool.name, ()), health) for pool in every]
    position = {pool.name: i for i, pool in enumerate(pools)}
    return ConfigInput(
        pools=tuple(pools),
        services=tuple(_service(state, s, pools, position, secret) for s in document.services),
        revision=state.revision,
    )


def _pool(state: Desired, pool: Pool, gone: Sequence[Member], health: Mapping[int, Health]) -> PoolInput:
    """Return a pool's backends, and behind them those that are gone while connections to them settle."""
    backends = []
    for backend in pool.backends:
        number = state.ids[backend_path(pool.name, backend.name)]
        assert backend.state is not None
        backends.append(
            BackendInput(
                name=backend.name,
                id=number,
                address=ipaddress.ip_address(backend.address),
                state=backend.state.value,
                health=health.get(number, Health.UNKNOWN).value,
                weight=backend.weight,
            )
        )
    names = {backend.name for backend in pool.backends}
    for member in gone:
        free = member.name not in names
        names.add(member.name)
        backends.append(
            BackendInput(
                name=member.name if free else f"{member.name[:52]}~{member.id}",  # no document's name has a ~
                id=member.id,
                address=ipaddress.ip_address(member.address),
                state=State.INACTIVE.value,
                health=health.get(member.id, Health.UNKNOWN).value,
                weight=member.weight,
            )
        )
    return PoolInput(pool.name, tuple(backends))


def _prior(prior: Prior, pool: PoolInput, secret: bytes) -> PriorInput:
    service = prior.service
    position = {str(backend.address): i for i, backend in enumerate(pool.backends)}
    return PriorInput(
        members=tuple((position[m.address], m.weight, m.state.value) for m in prior.members),
        seed=bytes.fromhex(service.seed) if service.seed else keys.row_seed(secret, service.pool),
        hops=service.hops,
        policy=service.policy,
        algorithm=service.algorithm,
    )


def _alt(
    priors: Sequence[Prior], pools: Sequence[PoolInput], position: Mapping[str, int], secret: bytes
) -> AltInput | None:
    """Return the look-up that these former states had in common."""
    if not priors:
        return None
    service = priors[0].service
    pool = position[service.pool]
    affinity = service.source_affinity
    return AltInput(
        pool=pool,
        hash_key=_hash_key(service, secret),
        priors=tuple(_prior(prior, pools[pool], secret) for prior in priors),
        rows=service.table_size,
        hash_fields=service.hash_fields,
        source_bits_v4=affinity.v4_bits if affinity else 32,
        source_bits_v6=affinity.v6_bits if affinity else 128,
    )


def _hash_key(service: Service, secret: bytes) -> bytes:
    return bytes.fromhex(service.hash_key) if service.hash_key else keys.flow_key(secret, service.name)


def _quic(state: Desired, service: Service, secret: bytes) -> tuple[QuicInput, ...]:
    if service.quic is None:
        return ()
    places = {backend.name: i for i, backend in enumerate(state.pool(service.pool).backends)}
    made = []
    for configuration in sorted(service.quic.configurations, key=lambda c: c.config_id):
        found = quic.server_ids(state, secret, service, configuration)
        made.append(
            QuicInput(
                config_id=configuration.config_id,
                server_id_length=configuration.server_id_length,
                nonce_length=configuration.nonce_length,
                key=quic.key(secret, service.name, configuration),
                servers=tuple((places[name], server_id) for name, server_id in found.items()),
            )
        )
    return tuple(made)


def _service(
    state: Desired,
    service: Service,
    pools: Sequence[PoolInput],
    position: Mapping[str, int],
    secret: bytes,
) -> ServiceInput:
    pool = position[service.pool]
    own, alt = settling.split(state, service)
    binds = tuple(
        BindInput(ipaddress.ip_network(vip), service.protocol, *parse_range(port))
        for vip in service.vips
        for port in service.ports
    )
    seed = service.seed
    affinity = service.source_affinity
    return ServiceInput(
        name=service.name,
        id=state.ids[service_path(service.name)],
        pool=pool,
        hash_key=_hash_key(service, secret),
        seed=bytes.fromhex(seed) if seed else keys.row_seed(secret, service.pool),
        binds=binds,
        rows=service.table_size,
        hops=service.hops,
        policy=service.policy,
        algorithm=service.algorithm,
        encapsulation=service.encapsulation,
        hash_fields=service.hash_fields,
        unmatched=service.unmatched,
        oversize=service.oversize,
        source_bits_v4=affinity.v4_bits if affinity else 32,
        source_bits_v6=affinity.v6_bits if affinity else 128,
        flow_cache=service.flow_cache == "on",
        udp_timeout=service.udp_timeout_seconds or 0,
        fragments=service.fragments == "follow",
        priors=tuple(_prior(prior, pools[pool], secret) for prior in own),
        alt=_alt(alt, pools, position, secret),
        quic=_quic(state, service, secret),
        gre_key=service.gre_key,
        dscp=service.dscp or 0,
        backend_port=service.backend_port,
        outer_dscp=service.outer_dscp,
        ecn=service.ecn,
        protection=_protection(service),
    )


def _protection(service: Service) -> ProtectionInput | None:
    limits = service.limits or Limits.model_construct()
    if service.limits is None and not lists_of(service):
        return None
    return ProtectionInput(
        packets_per_second=limits.packets_per_second or 0,
        packets_burst=burst_of(limits.packets_per_second, limits.packets_burst),
        flows_per_second=limits.new_flows_per_second or 0,
        flows_burst=burst_of(limits.new_flows_per_second, limits.new_flows_burst),
        block=service.block,
        allow=service.allow,
    )


def offline(document: Document) -> tuple[Desired, bytes]:
    """Return the state and the secret that offline tools compile from a document alone.

    Ids count from 1 in document order, backends without a state are active, the revision is 0. Raises
    DocumentError.
    """
    state = Desired.standalone(document)
    check_whole(state.document)
    return state, bytes.fromhex(document.secret) if document.secret else keys.OFFLINE_SECRET


def offline_health(state: Desired, unhealthy: Sequence[str]) -> dict[int, Health]:
    """Return the health by id in which the backends named in ``unhealthy`` (POOL/BACKEND) are unhealthy.

    Raises InvalidInputError for one that there is not.
    """
    health = {}
    for name in unhealthy:
        pool, _, backend = name.partition("/")
        number = state.ids.get(backend_path(pool, backend))
        if number is None:
            text = f"--unhealthy {name}: the document has no such backend; write POOL/BACKEND"
            raise InvalidInputError(text)
        health[number] = Health.UNHEALTHY
    return health
