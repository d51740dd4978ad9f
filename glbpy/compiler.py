"""The table compiler as the controller has it: desired state and health in, snapshot out, by libglb.

A pure function of its arguments: equal ones give equal bytes on every director.
"""

import ipaddress
from collections.abc import Mapping, Sequence

from glbpy import _native, keys
from glbpy._native import BackendInput, BindInput, ConfigInput, PoolInput, ServiceInput
from glbpy.desired import Desired, backend_path, service_path
from glbpy.errors import InvalidInputError
from glbpy.models import Document, Health, Pool, Service, check_whole, parse_range
from glbpy.snapshot import Snapshot
from glbpy.status import Leaver


class NativeCompiler:
    """Compiles with libglb. Has no state; any thread."""

    def compile(self, state: Desired, secret: bytes, health: Mapping[int, Health]) -> Snapshot:
        """Return the snapshot of ``state`` with the backends' ``health`` by id. Raises InvalidInputError."""
        return self.open(_native.compile_snapshot(configuration(state, secret, health)))

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
    position = {pool.name: i for i, pool in enumerate(document.pools)}
    return ConfigInput(
        pools=tuple(_pool(state, pool, health) for pool in document.pools),
        services=tuple(_service(state, s, position[s.pool], secret) for s in document.services),
        revision=state.revision,
    )


def _pool(state: Desired, pool: Pool, health: Mapping[int, Health]) -> PoolInput:
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
    return PoolInput(pool.name, tuple(backends))


def _service(state: Desired, service: Service, pool: int, secret: bytes) -> ServiceInput:
    binds = tuple(
        BindInput(ipaddress.ip_network(vip), service.protocol, *parse_range(port))
        for vip in service.vips
        for port in service.ports
    )
    seed, hash_key = service.seed, service.hash_key
    affinity = service.source_affinity
    return ServiceInput(
        name=service.name,
        id=state.ids[service_path(service.name)],
        pool=pool,
        hash_key=bytes.fromhex(hash_key) if hash_key else keys.flow_key(secret, service.name),
        seed=bytes.fromhex(seed) if seed else keys.row_seed(secret, service.pool),
        binds=binds,
        rows=service.table_size,
        hops=service.hops,
        policy=service.policy,
        algorithm=service.algorithm,
        encapsulation=service.encapsulation,
        hash_fields=service.hash_fields,
        unmatched=service.unmatched,
        source_bits_v4=affinity.v4_bits if affinity else 32,
        source_bits_v6=affinity.v6_bits if affinity else 128,
        flow_cache=service.flow_cache == "on",
        gre_key=service.gre_key,
        dscp=service.dscp or 0,
        backend_port=service.backend_port,
        outer_dscp=service.outer_dscp,
        ecn=service.ecn,
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
