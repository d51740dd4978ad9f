"""What glb-redirect costs a packet in the kernel: BPF_PROG_TEST_RUN, above a program that does nothing.

    .venv/bin/python bench/redirect.py [--rounds N]        (root)

Each run gets one packet of 64 and takes off its headers or rewrites them; a run of the empty program comes
before each, and the kernel times both. The figures are differences in nanoseconds, of the medians, of the
fastest tenths, and of the means of the faster halves, which other work on the machine disturbs least. Between
two runs the kernel makes an skb, so caches are not those of a loop over one packet.
"""

import argparse
import contextlib
import ctypes
import os
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from redirect import bpf
from redirect import packets as p
from redirect.conftest import Redirect, know_peers
from redirect.netns import Namespace, run

DIRECTOR, HERE, PEER = "10.77.0.1", "10.77.0.11", "10.77.0.12"
VIP, CLIENT, PORT, FLOWS = "203.0.113.10", "198.51.100.7", 8080, 64
PROG_LOAD, TYPES = 5, {"tc": 3, "xdp": 6}
PINS = Path(f"/run/glbt-redir-{os.getpid()}-bpf")


def empty_program(way: str) -> int:
    """A program that lets everything pass; its descriptor."""
    code = struct.pack("=BBhi", 0xB7, 0, 0, -1 if way == "tc" else bpf.XDP_PASS) + struct.pack(
        "=BBhi", 0x95, 0, 0, 0
    )
    text, name = ctypes.create_string_buffer(code), ctypes.create_string_buffer(b"GPL")
    attributes = struct.pack("=IIQQ", TYPES[way], 2, ctypes.addressof(text), ctypes.addressof(name))
    return bpf._bpf(PROG_LOAD, ctypes.create_string_buffer(attributes, 48))


@contextlib.contextmanager
def backend(way: str) -> Iterator[tuple[Redirect, int, list[int], int]]:
    """A backend with connections to itself: their ports, the interface's index."""
    namespace = Namespace("bench")
    try:
        namespace.ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
        namespace.ip("link", "set", "eth0", "up")
        for address in (VIP, CLIENT):
            namespace.ip("addr", "add", address, "dev", "lo")
        know_peers(namespace, "eth0", PEER)
        redirect = Redirect(namespace, "eth0", PINS / "glb", way)
        redirect.attach("--allow", DIRECTOR, "--peer", PEER)
        with namespace.entered(), contextlib.ExitStack() as stack:
            listener = stack.enter_context(socket.create_server((VIP, PORT), backlog=FLOWS))
            clients = [
                stack.enter_context(socket.create_connection((VIP, PORT), source_address=(CLIENT, 0)))
                for _ in range(FLOWS)
            ]
            servers = [stack.enter_context(listener.accept()[0]) for _ in clients]
            yield (
                redirect,
                socket.if_nametoindex("eth0"),
                [client.getsockname()[1] for client in clients],
                len(servers),
            )
        redirect.detach()
    finally:
        namespace.delete()


def packets(case: str, ports: list[int]) -> list[bytes]:
    def wrap(inner: bytes) -> bytes:
        return p.gue(inner, src=DIRECTOR, dst=HERE, hops=[PEER])

    if case == "established":
        return [wrap(p.tcp(CLIENT, port, VIP, PORT, p.ACK, data=bytes(64))) for port in ports]
    if case == "new":
        return [wrap(p.tcp("198.51.100.8", port, VIP, PORT, p.SYN)) for port in ports]
    if case == "sent on":
        return [wrap(p.tcp("198.51.100.8", port, VIP, PORT, p.ACK, data=bytes(64))) for port in ports]
    return [p.tcp(CLIENT, port, HERE, 443, p.ACK, data=bytes(64)) for port in ports]


VERDICTS = {
    "tc": {"established": bpf.UNSPEC, "new": bpf.UNSPEC, "sent on": bpf.REDIRECT, "not GUE": bpf.UNSPEC},
    "xdp": {
        "established": bpf.XDP_PASS,
        "new": bpf.XDP_PASS,
        "sent on": bpf.XDP_REDIRECT,
        "not GUE": bpf.XDP_PASS,
    },
}


def loop(program: int, empty: int, frames: list[bytes], ifindex: int, rounds: int) -> list[int]:
    """What testrun.c prints; runs in the thread's namespace."""
    with tempfile.TemporaryDirectory() as directory:
        binary = f"{directory}/testrun"
        subprocess.run(["cc", "-O2", "-o", binary, str(Path(__file__).parent / "testrun.c")], check=True)
        words = [binary, str(program), str(empty), str(ifindex), str(rounds)]
        data = b"".join(struct.pack("=I", len(frame)) + frame for frame in frames)
        done = subprocess.run(
            words, input=data, stdout=subprocess.PIPE, pass_fds=(program, empty), check=True
        )
    return [int(word) for word in done.stdout.split()]


def measure(way: str, rounds: int) -> None:
    with backend(way) as (redirect, ifindex, ports, _):
        status = redirect.last_status
        program = bpf._bpf(bpf.PROG_GET_FD_BY_ID, ctypes.create_string_buffer(
            struct.pack("=I", status["program_id" if way == "tc" else "xdp_program_id"]), 16))  # fmt: skip
        empty = empty_program(way)
        own = bytes.fromhex(link_address(redirect).replace(":", "")) if way == "xdp" else p.NO_MAC
        for case in ("established", "new", "sent on", "not GUE"):
            frames = [p.ethernet(packet, dst=own) for packet in packets(case, ports)]
            if way == "tc":
                ran = bpf.run_program(status["program_id"], frames[0])
            else:
                ran = bpf.run_xdp(status["xdp_program_id"], frames[0], ifindex)
            assert ran.verdict == VERDICTS[way][case], case
            times = loop(program, empty, frames, ifindex if way == "xdp" else 0, rounds)
            tenths = list(zip(times[0::2], times[1::2], strict=True))
            above = [f"{(ours - floor) / 10:6.1f}" for ours, floor in tenths]
            floors = ", ".join(f"{floor / 10:.1f}" for _, floor in tenths)
            print(f"{way:4} {case:12} median {above[0]} ns, fastest tenth {above[1]}, ", end="")
            print(f"mean of the faster half {above[2]}; the empty program {floors}")
        os.close(program)
        os.close(empty)


def link_address(redirect: Redirect) -> str:
    return redirect.namespace.ip("-o", "link", "show", "eth0").split("link/ether ")[1].split()[0]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=200)
    rounds = parser.parse_args().rounds
    PINS.mkdir()
    run("mount", "-t", "bpf", "bpf", str(PINS))
    try:
        for way in ("tc", "xdp"):
            measure(way, rounds)
    finally:
        run("umount", str(PINS))
        PINS.rmdir()


if __name__ == "__main__":
    main()
