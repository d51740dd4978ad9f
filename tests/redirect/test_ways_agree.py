"""Packets at random, most of them malformed, by every way in: the same reason, and the same packet out.

Those of test_fuzzed. FUZZ_SECONDS says how long, 3 unless told; FUZZ_SEED repeats a run.
"""

import contextlib
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import packets as p
from .conftest import Redirect, know_peers
from .netns import Namespace
from .test_fuzzed import ENDS, SECONDS, SEED, SERVICES, spoiled, valid

WAYS = ("tc", "xdp", "nfqueue")
HEADER_MIN = 40  # bytes; the kernel's test run wants a whole IP header


@pytest.fixture(scope="module")
def redirects(bpffs: Path) -> Iterator[list[Redirect]]:
    with contextlib.ExitStack() as stack:
        made = []
        for way in WAYS:
            namespace = Namespace(f"a-{way}")
            stack.callback(namespace.delete)
            namespace.ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
            namespace.ip("link", "set", "eth0", "up")
            peers = [ENDS[4]["peer"], ENDS[6]["peer"]]
            know_peers(namespace, "eth0", *peers)
            redirect = Redirect(namespace, "eth0", bpffs / "glb", way)
            sources = [ENDS[4]["director"], ENDS[6]["director"]]
            options = ["--decap", "gre,ipip", "--last-hop-rate", "0", *SERVICES]
            redirect.attach("--allow", *sources, "--peer", *peers, *options)
            stack.callback(redirect.detach)
            made.append(redirect)
        yield made


def test_one_decision(redirects: list[Redirect]) -> None:
    r, seen = random.Random(SEED), Counter[str]()
    tc, xdp, nfqueue = redirects
    until = time.monotonic() + SECONDS
    while time.monotonic() < until or sum(seen.values()) < 500:
        packet = spoiled(r, valid(r))
        if len(packet) < HEADER_MIN or packet[0] >> 4 not in (4, 6):
            continue
        want, reason = tc.feed(packet)
        try:
            ran, by_xdp = xdp.feed(packet)
            assert (by_xdp, ran.verdict) == (reason, want.verdict)
            if reason.startswith(("local", "forwarded")):
                assert ran.frame == want.frame
            ran, by_process = nfqueue.feed(packet)
            assert (by_process, ran.verdict) == (reason, want.verdict)
            if reason.startswith(("local", "forwarded")):  # without what lies behind the packet in its frame
                assert want.frame.startswith(ran.frame)
                assert len(ran.frame) > len(p.NO_MAC) * 2
        except AssertionError as error:
            raise AssertionError(f"seed {SEED}: {packet.hex()}: {reason} by tc") from error
        seen[reason] += 1
    print(f"seed {SEED}: {dict(seen)}")
    missing = {
        "forwarded",
        "local_syn",
        "local_last_hop",
        "local_tunnel",
        "not_allowed",
        "not_gue",
    } - set(seen)
    assert not missing
