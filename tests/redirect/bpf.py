"""BPF_PROG_TEST_RUN: one packet in, what the program makes of it out. And reading a map of counters."""

import ctypes
import os
import struct
from dataclasses import dataclass
from pathlib import Path

SYS_BPF = 321  # x86-64
MAP_LOOKUP_ELEM, OBJ_GET, PROG_TEST_RUN, PROG_GET_FD_BY_ID, OBJ_GET_INFO = 1, 7, 10, 13, 15
UNSPEC, SHOT, REDIRECT = 0xFFFFFFFF, 2, 7  # what a tc program returns
XDP_DROP, XDP_PASS, XDP_TX, XDP_REDIRECT = 1, 2, 3, 4  # what an XDP program returns
NOTE = b"dblg"  # in front of a frame that XDP has delivered
SKB_CONTEXT = 192  # bytes of struct __sk_buff
GSO_SIZE_AT = 176
STEPS_AT = 216  # in struct bpf_prog_info: verified_insns, since Linux 5.16
_libc = ctypes.CDLL(None, use_errno=True)


def _bpf(command: int, attributes: ctypes.Array[ctypes.c_char]) -> int:
    result = int(_libc.syscall(SYS_BPF, command, attributes, len(attributes)))
    if result < 0:
        raise OSError(ctypes.get_errno(), f"bpf command {command}")
    return result


@dataclass(frozen=True)
class Ran:
    verdict: int
    frame: bytes
    nanoseconds: int


def read_counters(pin: Path, count: int) -> list[int]:
    """The first values of a pinned per-CPU array of 64-bit words, summed over the CPUs."""
    path = ctypes.create_string_buffer(bytes(pin))
    fd = _bpf(OBJ_GET, ctypes.create_string_buffer(struct.pack("=QI", ctypes.addressof(path), 0), 16))
    key = ctypes.c_uint32()
    values = (ctypes.c_uint64 * len(os.listdir("/sys/bus/cpu/devices")))()
    where = struct.pack("=IIQQQ", fd, 0, ctypes.addressof(key), ctypes.addressof(values), 0)
    totals = []
    try:
        for key.value in range(count):
            _bpf(MAP_LOOKUP_ELEM, ctypes.create_string_buffer(where, len(where)))
            totals.append(sum(values))
    finally:
        os.close(fd)
    return totals


def verifier_steps(program_id: int) -> int:
    """How many instructions the verifier looked at before it let the program in."""
    fd = _bpf(PROG_GET_FD_BY_ID, ctypes.create_string_buffer(struct.pack("=I", program_id), 16))
    info = ctypes.create_string_buffer(STEPS_AT + 8)
    try:
        asked = struct.pack("=IIQ", fd, len(info), ctypes.addressof(info))
        _bpf(OBJ_GET_INFO, ctypes.create_string_buffer(asked, 16))
    finally:
        os.close(fd)
    (steps,) = struct.unpack_from("=I", info, STEPS_AT)
    return int(steps)


def run_xdp(program_id: int, frame: bytes, ifindex: int, *, repeat: int = 1) -> Ran:
    """Runs a loaded XDP program on a frame that came in on an interface of the thread's network namespace."""
    fd = _bpf(PROG_GET_FD_BY_ID, ctypes.create_string_buffer(struct.pack("=I", program_id), 16))
    try:
        data = ctypes.create_string_buffer(frame, len(frame))
        out = ctypes.create_string_buffer(len(frame) + 256)
        context = ctypes.create_string_buffer(struct.pack("=IIIIII", 0, len(frame), 0, ifindex, 0, 0), 24)
        attributes = ctypes.create_string_buffer(
            struct.pack(
                "=IIIIQQIIIIQQ", fd, 0, len(frame), len(out), ctypes.addressof(data), ctypes.addressof(out),
                repeat, 0, 24, 0, ctypes.addressof(context), 0,
            ),
            72,
        )  # fmt: skip
        _bpf(PROG_TEST_RUN, attributes)
        _, verdict, _, size, _, _, _, duration = struct.unpack_from("=IIIIQQII", attributes)
        return Ran(verdict, out.raw[:size], duration)
    finally:
        os.close(fd)


def run_program(program_id: int, frame: bytes, *, gso_size: int = 0, repeat: int = 1) -> Ran:
    """Runs a loaded program on a frame, in the calling thread's network namespace, as if the frame came in
    on the loopback device (so its destination MAC is zero)."""
    fd = _bpf(PROG_GET_FD_BY_ID, ctypes.create_string_buffer(struct.pack("=I", program_id), 16))
    try:
        data = ctypes.create_string_buffer(frame, len(frame))
        out = ctypes.create_string_buffer(len(frame) + 256)
        context = ctypes.create_string_buffer(SKB_CONTEXT)
        struct.pack_into("=I", context, GSO_SIZE_AT, gso_size)
        attributes = ctypes.create_string_buffer(
            struct.pack(
                "=IIIIQQIIIIQQ",
                fd,
                0,
                len(frame),
                len(out),
                ctypes.addressof(data),
                ctypes.addressof(out),
                repeat,
                0,
                SKB_CONTEXT,
                0,
                ctypes.addressof(context),
                0,
            ),
            72,
        )
        _bpf(PROG_TEST_RUN, attributes)
        _, verdict, _, size, _, _, _, duration = struct.unpack_from("=IIIIQQII", attributes)
        return Ran(verdict, out.raw[:size], duration)
    finally:
        os.close(fd)
