"""Packets at random, most of them malformed, through the attached programs by BPF_PROG_TEST_RUN.

Whatever comes: one reason is counted; what is sent on goes to a peer and never back to here, with an index
that moved; what is delivered is what was inside; what is left alone is as it was.
FUZZ_SECONDS says how long, 3 unless told; FUZZ_SEED repeats a run.
"""

import errno
import os
import random
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from . import bpf
from . import packets as p
from .conftest import Redirect
from .netns import Namespace

SECONDS = float(os.environ.get("FUZZ_SECONDS", "3"))
INPUTS_MIN = 3000
SEED = int(os.environ.get("FUZZ_SEED", time.time_ns() % 2**32))
ENDS = {
    4: {"here": "10.77.0.11", "director": "10.77.0.1", "peer": "10.77.0.12"},
    6: {"here": "fd77::11", "director": "fd77::1", "peer": "fd77::12"},
}
# Besides the default: what goes by sockets that are not there, and is sent on.
SERVICES = tuple(
    word
    for vip in ("203.0.113.10", "[2001:db8::10]")
    for text in (
        f"udp:{vip}:54=bound",
        f"udp:{vip}:55=connected",
        f"tcp:{vip}:81=listening",
        f"tcp:{vip}:82=queue<1",
    )
    for word in ("--service", text)
)
CLIENTS = {4: "198.51.100.7", 6: "2001:db8:c::7"}
VIPS = {4: "203.0.113.10", 6: "2001:db8::10"}
# Reasons that every run must have seen, or it has not tried much.
COMMON = (
    "forwarded",
    "forwarded_new",
    "local_syn",
    "local_last_hop",
    "local_tunnel",
    "local_l3dsr",
    "not_allowed",
    "bad_inner",
)
PASSED = (bpf.UNSPEC, 0)


@pytest.fixture(scope="module")
def redirect(bpffs: Path) -> Iterator[Redirect]:
    namespace = Namespace("f")
    namespace.ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
    namespace.ip("link", "set", "eth0", "up")
    for family, vip in VIPS.items():
        namespace.ip(f"-{family}", "route", "add", "local", vip, "dev", "lo")
    redirect = Redirect(namespace, "eth0", bpffs / "glb")
    sources = [ENDS[4]["director"], ENDS[6]["director"]]
    peers = [ENDS[4]["peer"], ENDS[6]["peer"]]
    rewrites = ["--l3dsr", f"7={VIPS[4]}", "--l3dsr", f"7={VIPS[6]}", "--nat", f"tcp:8080={VIPS[4]}:80"]
    options = ["--decap", "gre,ipip", "--last-hop-rate", "0", *SERVICES]
    redirect.attach("--allow", *sources, "--peer", *peers, *options, *rewrites)
    yield redirect
    redirect.detach()
    namespace.delete()


def client_packet(r: random.Random, family: int) -> bytes:
    client, vip = CLIENTS[family], VIPS[family]
    segment = p.tcp(
        client,
        r.randrange(1, 65536),
        vip,
        r.choice([80, 80, 81, 82]),
        r.randrange(64),
        data=r.randbytes(r.randrange(40)),
    )
    kinds: list[Callable[[], bytes]] = [
        lambda: segment,
        lambda: segment,
        lambda: p.udp(client, 5000, vip, r.choice([53, 54, 55]), r.randbytes(r.randrange(40))),
        lambda: p.too_big(client, vip, 1300, p.tcp(vip, 80, client, 40000, p.ACK, data=bytes(20))),
        lambda: p.icmp(client, vip, 8 if family == 4 else 128, 0, bytes(4), b"ping"),
        lambda: p.tcp(client, r.randrange(1, 65536), vip, r.choice([81, 82]), p.SYN),
        lambda: p.ip(client, vip, r.randrange(256), r.randbytes(r.randrange(40))),
    ]
    long = p.tcp(client, 40000, vip, 80, r.choice([p.ACK, p.ACK, p.SYN]), data=r.randbytes(60))
    kinds.append(lambda: r.choice(p.fragments(long, 32, r.randrange(3))))
    if family == 4:
        kinds.append(lambda: p.ipv4(client, vip, 6, r.randbytes(24), fragment=r.randrange(65536)))
        kinds.append(
            lambda: p.ipv4(client, vip, 6, segment[20:], options=bytes([1] * 4 * r.randrange(1, 10)))
        )
    else:
        chain = bytes([6, 0, *bytes(6)])
        kinds.append(lambda: p.ipv6(client, vip, r.choice([0, 43, 44, 60]), chain + segment[40:]))
    return p.with_tos(r.choice(kinds)(), r.randrange(256))


def valid(r: random.Random) -> bytes:
    """A packet as directors send them, nearly."""
    outer, family = r.choice([4, 6]), r.choice([4, 6])
    inner, ends = client_packet(r, family), ENDS[outer]
    source, here = r.choice([ends["director"], ends["director"], ends["peer"], "10.9.9.9"]), ends["here"]
    if p.is_v6(source) != p.is_v6(here):
        source = ends["director"]
    kind = r.randrange(8)
    if kind == 0:
        return p.gre(inner, src=source, dst=here, key=r.choice([None, 7]))
    if kind == 1:
        return p.ip_in_ip(inner, src=source, dst=here)
    if kind == 2:
        return p.with_tos(p.tcp(CLIENTS[outer], 4000, here, 80, p.ACK), 7 << 2)
    hops = [r.choice([ends["peer"], ends["peer"], here, ends["director"]]) for _ in range(r.randrange(8))]
    index = r.choice([0, 0, 0, r.randrange(len(hops) + 1)])
    packet = p.gue(inner, src=source, dst=here, hops=hops, next_hop=index, sum_udp=r.random() < 0.5)
    return p.with_tos(packet, r.choice([0, 1, 2, 3]))


def spoiled(r: random.Random, packet: bytes) -> bytes:
    """With some bytes changed, cut off, or added; mostly near the front, where headers are."""
    data = bytearray(packet)
    for _ in range(r.choice([0, 1, 1, 1, 2, 3])):
        at = r.randrange(min(len(data), r.choice([24, 48, 100, 2000])))
        what = r.randrange(6)
        if what == 0:
            data[at] ^= 1 << r.randrange(8)
        elif what == 1:
            data[at] = r.choice([0, 1, 2, 4, 5, 6, 41, 47, 255])
        elif what == 2:
            del data[at + 1 :]
        elif what == 3:
            data[at:at] = r.randbytes(r.randrange(1, 20))
        elif what == 4:
            del data[at : at + r.randrange(1, 20)]
            data = data or bytearray(1)
        else:
            data += r.randbytes(r.randrange(1, 30))
    return bytes(data)


def check_sent_on(before: bytes, after: bytes) -> None:
    """Only addresses, checksums and the index differ. From where it was sent to, it goes to a peer."""
    assert len(after) == len(before)
    v6 = before[0] >> 4 == 6
    size = 40 if v6 else (before[0] & 15) * 4
    at, ends = (8, 16) if v6 else (12, 4), ENDS[6 if v6 else 4]
    addresses = after[at[0] : at[0] + 2 * at[1]]
    here = before[at[0] + at[1] : at[0] + 2 * at[1]]
    assert addresses == here + p.addr(ends["peer"])
    assert here != p.addr(ends["peer"])
    assert v6 or p.checksum(after[:size]) % 0xFFFF == p.checksum(before[:size]) % 0xFFFF
    index, count = size + 8 + 6, before[size + 8 + 7]
    assert before[index] < after[index] <= count <= 7
    wide = 16 if v6 else 4
    hop = size + 8 + 8 + (after[index] - 1) * wide
    assert after[hop : hop + wide] == p.addr(ends["peer"])
    restored = p.put(p.put(after, at[0], before[at[0] : at[0] + 2 * at[1]]), index, before[index : index + 1])
    restored = p.put(restored, size + 6, before[size + 6 : size + 8])
    if not v6:
        restored = p.put(restored, 10, before[10:12])
    assert restored == before
    old, new = (struct.unpack_from("!H", packet, size + 6)[0] for packet in (before, after))
    assert (old == 0) == (new == 0)


def without_ecn(packet: bytes) -> bytes:
    """As it was before marks were merged, and with no header checksum if IPv4."""
    if packet[0] >> 4 == 6:
        return p.put(packet, 1, bytes([packet[1] & 0xCF]))
    return p.put(p.put(packet, 1, bytes([packet[1] & 0xFC])), 10, bytes(2))


def check_passed(before: bytes, after: bytes) -> str:
    """Left alone, or taken out of what it came in, or with the VIP as its destination."""
    if after == before:
        return "left alone"
    if len(after) < len(before):
        assert without_ecn(before[len(before) - len(after) :]) == without_ecn(after)
        return "delivered"
    check_rewritten(before, after)
    return "rewritten"


def check_rewritten(before: bytes, after: bytes) -> None:
    """For the VIP, with DSCP 0 and its ECN; checksums may differ, and nothing else."""
    v6 = before[0] >> 4 == 6
    at, vip = (24, p.addr(VIPS[6])) if v6 else (16, p.addr(VIPS[4]))
    tos = (before[0] << 4 | before[1] >> 4) & 3 if v6 else before[1] & 3
    expected, size = p.with_tos(p.put(before, at, vip), tos), at + len(vip)
    if not v6:
        expected = p.put(expected, 10, after[10:12])
    assert after[:size] == expected[:size]
    changed = [i for i, (old, new) in enumerate(zip(before, after, strict=True)) if i >= size and old != new]
    assert len(changed) <= 2
    assert not changed or changed[-1] - changed[0] <= 1


def check(before: bytes, ran: bpf.Ran) -> str:
    if ran.verdict == bpf.SHOT:
        return "dropped"
    if ran.verdict == bpf.REDIRECT:
        check_sent_on(before, ran.frame[14:])
        return "sent on"
    assert ran.verdict in PASSED
    return check_passed(before, ran.frame[14:])


def test_whatever_comes_in(redirect: Redirect) -> None:
    r, seen = random.Random(SEED), Counter[str]()
    report = redirect.status()
    until = time.monotonic() + SECONDS
    with redirect.namespace.entered():
        while time.monotonic() < until or sum(seen.values()) < INPUTS_MIN:
            for _ in range(100):
                packet = spoiled(r, valid(r))
                try:
                    ran = bpf.run_program(report["program_id"], p.ethernet(packet))
                except OSError as error:  # the kernel itself wants a whole IP header
                    if error.errno == errno.EINVAL and len(packet) < 40:
                        continue
                    raise
                try:
                    seen[check(packet, ran)] += 1
                except (AssertionError, IndexError) as error:
                    raise AssertionError(f"seed {SEED}: {packet.hex()} became {ran}") from error
    print(f"seed {SEED}: {dict(seen)}")
    after = redirect.counters()
    moved = {key: after[key] - count for key, count in report["counters"].items()}
    assert moved["received"] == sum(moved.values()) - moved["received"] - moved["not_gue"]
    assert moved["received"] + moved["not_gue"] >= sum(seen.values())
    assert moved["received"] <= sum(seen.values())
    assert moved["forwarded"] + moved["forwarded_new"] == seen["sent on"]
    assert set(seen) == {"dropped", "sent on", "left alone", "delivered", "rewritten"}
    missing = {reason for reason in COMMON if not moved[reason]}
    assert not missing
