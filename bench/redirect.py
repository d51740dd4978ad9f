"""What glb-redirect costs a packet in the kernel: BPF_PROG_TEST_RUN, above a program that does nothing.

    .venv/bin/python bench/redirect.py [--rounds N] [--calls]        (root)

64 packets in turn, whose headers are taken off or rewritten. "in a row": packet after packet, as on a busy
backend (turns.c). "alone": a system call before each, which leaves caches and branch predictors cold
(testrun.c). The empty program takes its turn with ours. The figures are differences in nanoseconds, of the
medians, of the fastest tenths, and of the means of the faster halves, which other work disturbs
least. --calls: also programs of one call into the kernel each, which glb-redirect cannot do without.
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


def build_turns(directory: str) -> tuple[str, str]:
    """turns.c and turns.bpf.c, compiled."""
    here, include = Path(__file__).parent, Path(__file__).resolve().parents[1] / "native/include"
    binary, program = f"{directory}/turns", f"{directory}/turns.bpf.o"
    kernel = ["-idirafter", "/usr/include/x86_64-linux-gnu"]
    options = ["-target", "bpf", "-O2", "-g", "-std=gnu11", f"-I{include}", *kernel]
    subprocess.run(["clang", *options, "-c", "-o", program, str(here / "turns.bpf.c")], check=True)
    subprocess.run(["cc", "-O2", "-o", binary, str(here / "turns.c"), "-lbpf"], check=True)
    return binary, program


def in_a_row(way: str, program: int, frames: list[bytes], ifindex: int, rounds: int, allow: Path) -> str:
    """What turns.c prints; runs in the thread's namespace."""
    with tempfile.TemporaryDirectory() as directory:
        binary, harness = build_turns(directory)
        words = [binary, harness, way, str(ifindex), str(rounds), str(program), str(allow)]
        data = b"".join(struct.pack("=I", len(frame)) + frame for frame in frames)
        done = subprocess.run(words, input=data, stdout=subprocess.PIPE, pass_fds=(program,), check=True)
    return done.stdout.decode()


def show(way: str, case: str, what: str, above: list[str]) -> str:
    median, tenth, half = above
    figures = f"median {median} ns, fastest tenth {tenth}, mean of the faster half {half}"
    return f"{way:4} {case:12} {what:16} {figures}"


def measure(way: str, rounds: int, calls: bool) -> None:
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
            print(show(way, case, "alone:", above), f"the empty program {floors}", sep="; ")
            allow = redirect.pin_dir / redirect.name / "allow"
            text = in_a_row(way, program, frames, ifindex if way == "xdp" else 0, max(rounds // 8, 1), allow)
            for line in text.splitlines()[1 : None if calls else 2]:
                name, *tenths_ns = line.split()
                above = [f"{int(each) / 10:6.1f}" for each in tenths_ns]
                print(show(way, case, "in a row:" if name == "glb-redirect" else f"  {name}:", above))
        os.close(program)
        os.close(empty)


def link_address(redirect: Redirect) -> str:
    return redirect.namespace.ip("-o", "link", "show", "eth0").split("link/ether ")[1].split()[0]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--calls", action="store_true")
    options = parser.parse_args()
    PINS.mkdir()
    run("mount", "-t", "bpf", "bpf", str(PINS))
    try:
        for way in ("tc", "xdp"):
            measure(way, options.rounds, options.calls)
    finally:
        run("umount", str(PINS))
        PINS.rmdir()


if __name__ == "__main__":
    main()
