"""Tell a service manager that we are ready: sd_notify(3)'s protocol, a datagram to $NOTIFY_SOCKET."""

import os
import socket


def send(state: str) -> bool:
    """Send ``state``, for example ``READY=1``; return whether somebody asked for it."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return False
    address = "\0" + path[1:] if path.startswith("@") else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect(address)
        sock.send(state.encode())
    return True
