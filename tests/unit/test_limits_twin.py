"""Limits of services in C against those of tests/oracle: random packets, workers, and sharing out."""

import random
from fractions import Fraction
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from oracle.build import IPV4, ethernet, ipv4, tcp
from oracle.limits import ACK, SYN, Bucket, Limits, Share, share_out

from glbpy import _native as native

VIP, SERVICES, SLOTS, STEPS = "203.0.113.10", 4, 8, 6000
KINDS = ("packets", "flows")
NEAR = Fraction(1, 10**6)  # so near to a whole token, fractions and doubles may differ
FLAGS = (SYN, SYN, ACK, SYN | ACK, SYN | 0x08, 0x11)

ffi, lib = native.ffi, native.lib
Of = list[dict[str, tuple[int, int]]]  # each service's limits: a second, and at once


class Worker:
    """One worker's memory in C, and the same told plainly. Service n has counter slot n + 2."""

    def __init__(self, limits: Of, part: int) -> None:
        self.limiters = ffi.new("struct glb_limiter[][2]", SLOTS)
        self.shares = ffi.new("struct glb_share[][2]", SLOTS)
        self.refused = ffi.new("struct glb_refused[]", SLOTS)
        self.guard = ffi.new("struct glb_guard *", {"limiters": self.limiters, "refused": self.refused})
        self.guard.shares = ffi.cast("struct glb_share (*)[2]", self.shares)
        self.memory = ffi.new("struct glb_path_memory *", {"guard": self.guard})
        self.twins = [Limits(None, None) for _ in limits]
        for n, of in enumerate(limits):
            for kind, (rate, burst) in of.items():
                first = Share(Fraction(rate, part), max(Fraction(1), Fraction(burst, part)))
                setattr(self.twins[n], kind, Bucket(first))
                self.set(n, kind, float(first.rate), float(first.burst))

    def set(self, service: int, kind: str, rate: float, burst: float) -> None:
        place = self.shares[service + 2][KINDS.index(kind)]
        place.rate, place.burst = rate, burst

    def limiter(self, service: int, kind: str) -> Any:
        return self.limiters[service + 2][KINDS.index(kind)]

    def send(self, path: native.PacketPath, frame: bytes, now_ns: int) -> str:
        self.guard.now_ns = now_ns
        data = ffi.from_buffer("uint8_t[]", frame)
        packet = ffi.new("struct glb_packet *")
        packet.data, packet.data_len, packet.frame_len = data, len(frame), len(frame)
        lib.glb_path_burst_with(path._c, self.memory, packet, 1)
        return native.reason_name(packet.reason)


def random_limits(r: random.Random) -> Of:
    """Of each service: below what comes (150 a second), and above it in one of the two; the last has none."""

    def one(*rates: int) -> tuple[int, int]:
        return r.choice(rates), r.choice([1, 2, 10, 50])

    both = {"packets": one(100, 1000, 50_000), "flows": one(7, 20, 1000)}
    return [{"packets": one(1, 7, 50)}, {"flows": one(1, 7, 20)}, both, {}]


def path_of(limits: Of) -> native.PacketPath:
    pool = native.PoolInput("web", (native.BackendInput("web1", 1, ip_address("10.1.0.11")),))
    services = tuple(
        native.ServiceInput(
            name=f"s{n}", id=n + 1, pool=0, hash_key=bytes(16), seed=bytes(16), rows=256,
            binds=(native.BindInput(ip_network(VIP), "tcp", 80 + n, 80 + n),), hash_fields=("src_addr",),
            protection=native.ProtectionInput(*(of.get(kind, (0, 0))[i] for kind in KINDS for i in (0, 1)))
            if of
            else None,
        )
        for n, of in enumerate(limits)
    )  # fmt: skip
    made = native.Snapshot(native.compile_snapshot(native.ConfigInput((pool,), services, 1)))
    director = native.DirectorInput(ip_address("10.0.0.2"), b"\2" + bytes(5), b"\2" + bytes(5))
    path = native.PacketPath(made, director)
    path._slots = ffi.new("uint32_t[]", [n + 2 for n in range(SERVICES)])
    path._c.service_slots = path._slots
    return path


def share(workers: list[Worker], limits: Of, asked: Any, seconds: Fraction) -> None:
    """Share all limits out in C and plainly; both must come to the same. `asked`: until the last time."""
    for n, of in enumerate(limits):
        for kind, (rate, burst) in of.items():
            buckets = [getattr(worker.twins[n], kind) for worker in workers]
            assert [worker.limiter(n, kind).asked for worker in workers] == [each.asked for each in buckets]
            before = asked.setdefault((n, kind), [0] * len(workers))
            since = [each.asked - old for each, old in zip(buckets, before, strict=True)]
            asked[n, kind] = [each.asked for each in buckets]
            out = ffi.new("struct glb_share[]", len(workers))
            lib.glb_limit_share(rate, burst, since, float(seconds), len(workers), out)
            wanted = share_out(rate, burst, since, seconds)
            assert sum(each.rate for each in wanted) == rate
            for worker, bucket, new, got in zip(workers, buckets, wanted, out, strict=True):
                assert got.rate == pytest.approx(float(new.rate), rel=1e-9)
                assert got.burst == pytest.approx(float(new.burst), rel=1e-9)
                bucket.share = new
                worker.set(n, kind, got.rate, got.burst)


def is_close(bucket: Bucket, now_ns: int) -> bool:
    """Whether fractions and doubles may differ on it: almost a whole one, and not just because it is full."""
    level = bucket.level(now_ns)
    return level != bucket.share.burst and abs(level - 1) < NEAR


@pytest.mark.parametrize("seed", range(6))
def test_agrees_with_its_twin(seed: int) -> None:
    r = random.Random(seed)
    limits, count = random_limits(r), 1 + seed % 4
    path, workers = path_of(limits), [Worker(limits, count) for _ in range(count)]
    now, shared, asked, seen, near = 10**12, 10**12, {}, set(), 0
    for _ in range(STEPS):
        now += r.choice([0, 0, 1000, 10**5, r.randrange(2 * 10**7), -1000])
        if now - shared > 10**8:
            share(workers, limits, asked, Fraction(now - shared, 10**9))
            shared = now
        worker = workers[min(r.randrange(count + 2), count - 1)]  # one gets more than the others
        service, flags = r.randrange(SERVICES), r.choice(FLAGS)
        frame = ethernet(ipv4("192.0.2.7", VIP, 6, tcp(4000, 80 + service, flags=flags)), IPV4)
        twin = worker.twins[service]
        close = any(is_close(each, now) for each in (twin.packets, twin.flows) if each)
        got = worker.send(path, frame, now)
        if close:  # either is right: go on from what C has
            near += 1
            follow(worker, service, got)
            continue
        assert got == twin.judge(flags, now)
        seen.add(got)
    assert seen == {"forwarded", "packets_limited", "flows_limited"}
    assert near < STEPS / 20
    for worker in workers:
        for n, twin in enumerate(worker.twins):
            there = worker.refused[n + 2]
            assert twin.refused == {each: getattr(there, each) for each in twin.refused}


def follow(worker: Worker, service: int, got: str) -> None:
    twin = worker.twins[service]
    for kind in KINDS:
        bucket, there = getattr(twin, kind), worker.limiter(service, kind)
        if bucket and there.then_ns:
            bucket.tokens, bucket.asked = Fraction(there.tokens), there.asked
            bucket.then_ns = there.then_ns
    if got != "forwarded":
        twin.refused[got] += 1
