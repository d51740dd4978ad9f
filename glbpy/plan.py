"""What a change would do to connections: which flows move, which can break, why, and what would help.

A pure function of two states: what is in force, and what the change leads to. Both are compiled as for
directors, and compared by the same code that compares snapshots before they go into force.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

from pydantic import Field

from glbpy import _native, guard
from glbpy.compiler import configuration, offline, offline_health
from glbpy.desired import Change, Desired, diff, find_backend, merge
from glbpy.errors import ConflictError
from glbpy.models import HOPS_MAX, Backend, Document, Health, Model, Service, State, check_whole
from glbpy.moves import Moves, moves, same_rows
from glbpy.settling import next_priors
from glbpy.status import Leaver

TRIALS_MAX = 16  # services for which it is tried how many hops would help; each trial compiles a table
Reason = tuple[str, tuple[str, ...]]  # why, and what would prevent it
DRAIN = "drain it first, and go on when it has no connections left"


class Breakage(Model):
    """A backend from which rows go away while connections may live there."""

    backend: str = Field(description="POOL/BACKEND")
    rows: int = Field(
        description="Whose chains it leaves; without second chance, those in which it is first no longer."
    )
    first: int = Field(description="Of these, rows in which it was the first hop.")
    share: float = Field(description="Of the service's flows that began at these rows, 0 to 1.")
    why: str
    prevent: tuple[str, ...] = Field(description="What would keep its connections.")


class ServicePlan(Model):
    """What becomes of one service's flows. Shares are of all its flows, 0 to 1."""

    service: str
    pool: str
    algorithm: str
    change: Literal["added", "removed", "stays"]
    rows: int = Field(description="Of its table, before the change.")
    rows_moved: int = Field(description="Rows whose first hop becomes another backend.")
    share_moved: float = Field(description="Of flows: new ones go to another backend than before.")
    share_moved_between: float = Field(
        description="Of these, between two backends that did not change themselves; 0 with rendezvous."
    )
    second_chance: bool = Field(description="Established connections find a backend anywhere in their chain.")
    share_breaking: float = Field(description="Of connections that can break.")
    breaks: tuple[Breakage, ...]
    notes: tuple[str, ...]


class Plan(Model):
    """What applying a document would do. Nothing was done."""

    revision: int = Field(description="The present revision, with which it was compared.")
    changed: bool
    breaks: bool = Field(description="Some connections can break.")
    changes: tuple[Change, ...] = Field(description="Resource by resource.")
    services: tuple[ServicePlan, ...] = Field(description="Those with rows that move, and new ones.")
    refused: tuple[guard.GuardRail, ...] = Field(
        default=(), description="Guard rails that refuse the change unless it is forced."
    )


@dataclass(frozen=True)
class Side:
    """A state and its snapshot. Without one given (a running one), the state is compiled."""

    desired: Desired
    secret: bytes
    health: Mapping[int, Health]
    running: bytes | None = None

    def compile(self) -> _native.Snapshot:
        data = self.running or _native.compile_snapshot(configuration(self.desired, self.secret, self.health))
        return _native.Snapshot(data)

    def alone(self, service: Service) -> "Side":
        """Return this side with one service and its pool only."""
        pools = (self.desired.pool(service.pool),)
        document = Document(pools=pools, services=(service,))
        return replace(self, desired=replace(self.desired, document=document), running=None)


def make_plan(before: Side, after: Side) -> Plan:
    """Say what the change from ``before`` to ``after`` does. Raises InvalidInputError."""
    comparison = _Comparison(before, after)
    services = comparison.services()
    return Plan(
        revision=before.desired.revision,
        changed=before.desired.document != after.desired.document,
        breaks=any(service.breaks for service in services),
        changes=tuple(diff(before.desired.document, after.desired.document)),
        services=services,
        refused=guard.refusals(
            before.desired, after.desired.document, before.health, comparison.named_leavers()
        ),
    )


def offline_plan(old: Document, given: Document, prune: bool, unhealthy: Sequence[str]) -> Plan:
    """Say what applying ``given`` would do to a cluster that has ``old``.

    Raises InvalidInputError, ConflictError.
    """
    before, secret = offline(old)
    if given.secret is not None and bytes.fromhex(given.secret) != secret and before.document.services:
        raise ConflictError("the secrets of the two documents differ: taking another rehashes every service")
    after = before.successor(merge(before.document, given, prune))
    check_whole(after.document)
    after = replace(after, priors=next_priors(before, after, datetime.now(UTC)))
    if given.secret is not None:
        secret = bytes.fromhex(given.secret)
    health = offline_health(after, unhealthy)
    return make_plan(Side(before, secret, health), Side(after, secret, health))


class _Comparison:
    def __init__(self, before: Side, after: Side) -> None:
        self.before, self.after = before, after
        self.was, self.now = before.compile(), after.compile()
        self.trials = TRIALS_MAX
        self.names = {backend.id: backend.name for backend in self.was.backends}
        self.old = {service.name: service for service in before.desired.document.services}
        self.new = {service.name: service for service in after.desired.document.services}
        self.leaving: dict[int, list[_native.Leaver]] = {}
        for leaver in _native.leavers(self.was, self.now):
            self.leaving.setdefault(leaver.service, []).append(leaver)

    def named_leavers(self) -> list[Leaver]:
        services = {service.id: service for service in self.was.services}
        return [
            Leaver(
                service=services[number].name,
                backend=f"{self.old[services[number].name].pool}/{self.names[leaver.backend]}",
                rows=leaver.rows, first=leaver.first,
            )
            for number, leaving in self.leaving.items() for leaver in leaving
        ]  # fmt: skip

    def services(self) -> tuple[ServicePlan, ...]:
        old = {s.id: s for s in self.was.services}
        new = {s.id: s for s in self.now.services}
        seen: dict[tuple[object, ...], Moves] = {}  # services with equal tables and look-ups move alike
        found = []
        for number in sorted(old.keys() | new.keys()):
            if number not in old:
                found.append(self._added(new[number]))
            elif number not in new:
                found.append(self._removed(old[number]))
            else:
                key = (*_lookup(old[number]), *_lookup(new[number]))
                if key not in seen:
                    seen[key] = moves(self.was, old[number], self.now, new[number])
                if seen[key].share or number in self.leaving:
                    found.append(self._stays(old[number], new[number], seen[key]))
        return tuple(sorted(found, key=lambda plan: plan.service))

    def _added(self, info: _native.ServiceInfo) -> ServicePlan:
        service = self.new[info.name]
        return _service_plan(service, "added", self.now.tables[info.table].rows, None, ())

    def _removed(self, info: _native.ServiceInfo) -> ServicePlan:
        service = self.old[info.name]
        rows = self.was.tables[info.table].rows
        all_ = Moves(1.0, 0.0, {}, False)
        return _service_plan(service, "removed", rows, all_, self._breaks(service, None, info, None, all_))

    def _stays(self, old: _native.ServiceInfo, new: _native.ServiceInfo, moved: Moves) -> ServicePlan:
        was, now = self.old[old.name], self.new[new.name]
        rows = self.was.tables[old.table].rows
        return _service_plan(now, "stays", rows, moved, self._breaks(was, now, old, new, moved))

    # ---- what can break ----

    def _breaks(
        self,
        was: Service,
        now: Service | None,
        old: _native.ServiceInfo,
        new: _native.ServiceInfo | None,
        moved: Moves,
    ) -> tuple[Breakage, ...]:
        """Return who loses connections: with second chance those who leave chains, else also first hops."""
        same = new is not None and same_rows(self.was, old, self.now, new)
        rows = self.was.tables[old.table].rows
        leaving = self.leaving.get(old.id, [])

        def breakage(number: int, leaves: int, share: float, *more: str) -> Breakage:
            why, prevent = self._reason(was, now, self.names[number], same)
            return Breakage(
                backend=f"{was.pool}/{self.names[number]}", rows=leaves,
                first=round(share * rows), share=share, why=why, prevent=(*more, *prevent),
            )  # fmt: skip

        if now is None or _second_chance(now):
            hops = self._hops_that_keep(was, now) if leaving else None
            more: tuple[str, ...] = () if hops is None else (f"hops: {hops} keeps it in its chains",)
            if now is not None and now.settle_seconds == 0 and now.policy == "ordered":
                more += ("settle_seconds above 0 keeps it for a time",)
            return tuple(breakage(x.backend, x.rows, min(x.first / rows, 1.0), *more) for x in leaving)
        # Connections live on first hops only, and end with them, though their backend may stay in the chain.
        cached = now.flow_cache == "on"
        there = {backend.id for backend in self.now.backends if backend.state != "inactive"}
        lost = {leaver.backend for leaver in leaving}  # whom connection ids lead to is not among them
        held = was.quic is not None and now.quic is not None
        return tuple(
            breakage(number, round(share * rows), share, *(() if cached else ("flow_cache: on",)))
            for number, share in moved.left.items()
            if (number not in there or not cached) and (number in lost or not held)
        )

    def _reason(self, was: Service, now: Service | None, name: str, same: bool) -> Reason:
        """Return why a backend leaves chains; ``same``: every flow still has the same row number."""
        if now is None:
            return f"service {was.name} is removed", ("keep the service until its connections have ended",)
        if now.pool != was.pool:
            advice = f"add the new backends to pool {was.pool}, then drain the old ones and remove them"
            return f"the service has pool {now.pool} instead of {was.pool}", (advice,)
        one = find_backend(self.before.desired.pool(was.pool), name)
        other = find_backend(self.after.desired.pool(was.pool), name)
        if one is not None:
            changed = _own_change(one, other, was.pool)
            if changed is not None:
                return changed
        if not same or (now.algorithm, now.policy, now.seed) != (was.algorithm, was.policy, was.seed):
            return f"every row is made or found anew: {_changed(was, now, ROW_FIELDS)}", ()
        if now.hops < was.hops:
            return f"chains have {now.hops} hops of their own instead of {was.hops}", ()
        return self._others(was.pool), ()

    def _others(self, pool: str) -> str:
        """Return what the others of a pool did, so that a backend leaves rows without changing itself."""
        was, now = self.before.desired.pool(pool), self.after.desired.pool(pool)
        old = {b.name: b for b in was.backends if b.state != State.INACTIVE}
        new = {b.name: b for b in now.backends if b.state != State.INACTIVE}
        come = [name for name in new if name not in old]
        heavier = [name for name in new if name in old and new[name].weight != old[name].weight]
        other = [name for name in new if name in old and new[name].state != old[name].state]
        texts = [
            text.format(_list(names))
            for text, names in (
                ("{} comes into the pool", come),
                ("the weight of {} changes", heavier),
                ("the state of {} changes", other),
            )
            if names
        ]
        return f"others take its place: {'; '.join(texts)}" if texts else "others take its place"

    def _hops_that_keep(self, was: Service, now: Service | None) -> int | None:
        """Try whether longer chains would keep all backends: how long, or None."""
        if now is None or now.algorithm != "rendezvous" or now.policy != "ordered" or self.trials == 0:
            return None
        self.trials -= 1
        before = self.before.alone(was).compile()
        for hops in range(now.hops + 1, min(max(now.hops, was.hops) + 2, HOPS_MAX) + 1):
            longer = now.model_copy(update={"hops": hops})
            if not _native.leavers(before, self.after.alone(longer).compile()):
                return hops
        return None


ROW_FIELDS = ("hash_fields", "source_affinity", "hash_key", "table_size", "algorithm", "policy", "seed")
KEYS = ("hash_key", "seed")  # not shown


def _own_change(one: Backend, other: Backend | None, pool: str) -> Reason | None:
    """Return what happens to a backend itself, and what it would have needed before."""
    first = DRAIN if one.state != State.DRAINING else "wait until it has no connections left"
    if other is None:
        return f"it is removed from pool {pool}", (first,)
    if other.address != one.address:
        advice = f"add {other.address} under another name, then drain this one and remove it"
        return f"its address becomes {other.address}, which is another server", (advice,)
    if other.state == State.INACTIVE != one.state:
        return "it becomes inactive", (first,)
    if other.state != one.state:
        return f"its state becomes {other.state}", ()
    if other.weight != one.weight:
        return f"its weight becomes {other.weight}", ()
    return None


def _changed(was: Service, now: Service, fields: Sequence[str]) -> str:
    old, new = was.model_dump(mode="json"), now.model_dump(mode="json")
    different = [field for field in fields if old[field] != new[field]]
    texts = [f if f in KEYS else f"{f} {old[f]} -> {new[f]}" for f in different]
    return ", ".join(texts) or "the secret changed"


def _list(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _lookup(service: _native.ServiceInfo) -> tuple[object, ...]:
    return service.table, service.hash_fields, service.hash_key, service.source_bits


def _second_chance(service: Service) -> bool:
    return service.encapsulation == "gue" and service.protocol != "udp"


def _notes(service: Service, moved: Moves) -> tuple[str, ...]:
    notes = []
    if service.encapsulation != "gue":
        notes.append(
            f"second chance is off for the service: {service.encapsulation} carries one hop; "
            "flows that move break unless the flow cache has them"
        )
    elif service.protocol == "udp":
        notes.append("second chance is off for the service: a UDP packet is delivered at its first hop")
    elif service.protocol == "any":
        notes.append("second chance is for TCP: other packets are delivered at their first hop")
    if service.flow_cache == "on":
        notes.append("flow_cache is on: a flow that its director remembers stays while its backend is there")
    if service.quic is not None:
        notes.append("quic: connections stay with the backend that chose their id, whatever the rows are")
    if moved.anew:
        notes.append("flows are spread over rows anew: the shares that move are those to be expected")
    return tuple(notes)


def _service_plan(
    service: Service, change: Literal["added", "removed", "stays"], rows: int, moved: Moves | None,
    breaks: tuple[Breakage, ...],
) -> ServicePlan:  # fmt: skip
    share = moved.share if moved else 0.0
    return ServicePlan(
        service=service.name,
        pool=service.pool,
        algorithm=service.algorithm,
        change=change,
        rows=rows,
        rows_moved=round(share * rows),
        share_moved=round(share, 6),
        share_moved_between=round(moved.between, 6) if moved else 0.0,
        second_chance=_second_chance(service),
        share_breaking=round(min(sum(one.share for one in breaks), 1.0), 6),
        breaks=tuple(sorted(breaks, key=lambda one: one.backend)),
        notes=_notes(service, moved) if moved else (),
    )
