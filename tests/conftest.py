"""What every kind of test shares."""

import ctypes
import os
import signal
import socket
import subprocess

CLONE_NEWNET = 0x40000000


def has_ipv6_loopback() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def pytest_configure() -> None:
    # Whoever starts this in the background may have SIGINT ignored, which programs under test would inherit.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    own_network()


def own_network() -> None:
    """Where loopback has no ::1, as in many containers: test in a network namespace of our own."""
    if os.geteuid() != 0 or has_ipv6_loopback():
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "no network namespace can be made")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
