"""Snapshots made with kept tables equal those made from nothing, whatever changed in between."""

import ipaddress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glbpy import _native as native
from glbpy.compiler import NativeCompiler, configuration, offline
from glbpy.models import Document, Health

Backends = tuple[native.BackendInput, ...]
STATES, HEALTHS = ("active", "filling", "draining", "inactive"), ("unknown", "healthy", "unhealthy")


def backend(number: int) -> native.BackendInput:
    return native.BackendInput(f"b{number}", number, ipaddress.ip_address("10.0.0.0") + number)


def service(name: str, number: int, pool: int, **fields: object) -> native.ServiceInput:
    vip = native.BindInput(ipaddress.ip_network(f"203.0.113.{number}"), "tcp", 80, 80)
    plain = native.ServiceInput(
        name=name, id=number, pool=pool, hash_key=bytes(16), seed=bytes([pool] * 16), binds=(vip,),
        rows=256, hops=2,
    )  # fmt: skip
    return replace(plain, **fields)  # type: ignore[arg-type]


def prior(backends: Backends, former: Backends) -> native.PriorInput:
    """Return the former state of a pool's backends: of those that are still listed."""
    at = {one.id: i for i, one in enumerate(backends)}
    members = tuple((at[one.id], one.weight, one.state) for one in former if one.id in at)
    return native.PriorInput(members, seed=bytes(16), hops=2, policy="ordered", algorithm="rendezvous")


def config(backends: Backends, former: Backends, other: Backends, hops: int) -> native.ConfigInput:
    """Return services on a pool that changes, one with its former state, and one on a pool that does not."""
    pools = (native.PoolInput("changing", backends), native.PoolInput("calm", other))
    return native.ConfigInput(
        pools,
        (
            service("own", 1, 0, hops=hops),
            service("settling", 2, 0, priors=(prior(backends, former),)),
            service("maglev", 3, 0, rows=251, algorithm="maglev"),
            service("calm", 4, 1, hops=hops),
        ),
    )


@st.composite
def histories(draw: st.DrawFn) -> list[Backends]:
    """Draw a pool, and what becomes of it in some steps; ids are not used again."""
    number = draw(st.integers(2, 80))
    pool = [backend(n) for n in range(1, number + 1)]
    if draw(st.booleans()):
        pool = [replace(one, weight=draw(st.integers(0, 3))) for one in pool]
    history = [tuple(pool)]
    for _ in range(draw(st.integers(1, 6))):
        for _ in range(draw(st.sampled_from((1, 1, 1, 2, 5)))):
            at = draw(st.integers(0, len(pool) - 1))
            match draw(st.sampled_from(("add", "remove", "last", "move", "weight", "state", "health"))):
                case "add":
                    number += 1
                    pool.insert(at, backend(number))
                case "remove" if len(pool) > 1:
                    del pool[at]
                case "last":
                    pool.append(replace(pool.pop(at), state="inactive"))
                case "move":
                    one = pool.pop(at)
                    pool.insert(draw(st.integers(0, len(pool))), one)
                case "weight":
                    pool[at] = replace(pool[at], weight=draw(st.sampled_from((0, 1, 2, 9, 65535))))
                case "state":
                    pool[at] = replace(pool[at], state=draw(st.sampled_from(STATES)))
                case _:
                    pool[at] = replace(pool[at], health=draw(st.sampled_from(HEALTHS)))
        history.append(tuple(pool))
    return history


@settings(max_examples=150, deadline=None)
@given(histories(), st.integers(1, 4))
def test_tables_that_are_kept_make_no_difference(history: list[Backends], hops: int) -> None:
    cache, former = native.TableCache(), history[0]
    calm = tuple(backend(n) for n in range(1000, 1040))
    for backends in history:
        wanted = config(backends, former, calm, hops)
        plain = native.compile_snapshot(wanted)
        assert native.compile_snapshot(wanted, cache=cache) == plain
        assert native.compile_snapshot(wanted, cache=cache) == plain
        former = backends


def test_a_configuration_that_is_refused_does_no_harm() -> None:
    cache, pool = native.TableCache(), tuple(backend(n) for n in range(1, 50))
    wanted = config(pool, pool, (backend(1000),), 2)
    plain = native.compile_snapshot(wanted)
    wrong = replace(wanted, services=(*wanted.services, service("own", 9, 0)))
    for _ in range(2):
        with pytest.raises(native.InvalidInputError):
            native.compile_snapshot(wrong, cache=cache)
        assert native.compile_snapshot(wanted, cache=cache) == plain


def test_the_controllers_compiler_keeps_tables() -> None:
    """Health that comes and goes, as the controller has it."""
    backends = [{"name": f"b{n}", "address": f"10.0.0.{n}"} for n in range(1, 60)]
    services = [{"name": "www", "vips": ["203.0.113.1"], "protocol": "tcp", "ports": [80], "pool": "web"}]
    given_ = Document.model_validate({"pools": [{"name": "web", "backends": backends}], "services": services})
    state, secret = offline(given_)
    compiler = NativeCompiler()
    for sick in ((), (7,), (7, 20), (20,), ()):
        health = dict.fromkeys(sick, Health.UNHEALTHY)
        expected = native.compile_snapshot(configuration(state, secret, health))
        assert compiler.compile(state, secret, health).data == expected
